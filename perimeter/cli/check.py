"""``perimeter check F`` and ``twistd perimeter --config F --check``: check a site.ini without opening ports or writing files."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import click

from perimeter.config.language.net_types import Network
from perimeter.config.site.authorization import DROP
from perimeter.config.site.config import SiteConfig
from perimeter.config.site.load import load_site
from perimeter.config.site.route import Auth, RouteSettings, Rule
from perimeter.errors import StartupError
from perimeter.plugin.kinds import PluginKinds

_COLUMNS = ("HOST", "PATH", "TARGET", "AUTH", "RULES", "IDENTITY")


@click.command("check")
@click.argument("file", type=click.Path(path_type=Path))
def command(file: Path) -> None:
    """Check the configuration FILE: print every problem with its line, or the routes as a table."""
    status, text = run_check(file)
    click.echo(text)
    sys.exit(status)


def run_check(path: Path, *, kinds: PluginKinds | None = None) -> tuple[int, str]:
    """An exit status and the text to print: 1 and every problem on a line of its own, or 0, the warnings and the routes.

    ``kinds`` replaces the kinds that are installed.
    """
    # Finding plug-ins imports them, which costs time: only commands that read a configuration do it.
    from perimeter.auth.kinds.realm_file import RealmFileError
    from perimeter.auth.registry import installed_kinds

    try:
        config = load_site(path, kinds=installed_kinds() if kinds is None else kinds)
    except StartupError as error:
        return 1, str(error)
    try:
        found = (*config.warnings, *_realm_files(config))
    except RealmFileError as error:
        return 1, str(error)
    warnings = [f"warning: {warning}" for warning in found]
    return 0, "\n".join([*warnings, *([""] if warnings else []), *_table(config)])


def _realm_files(config: SiteConfig) -> list[str]:
    """Warnings about the realm files that exist.

    Raises `perimeter.auth.kinds.realm_file.RealmFileError` for one that the gateway would refuse.
    """
    from perimeter.auth.kinds.realm_file import RealmFileSettings, realm_file_warnings

    settings = [one.settings for one in config.authenticators]
    paths = [one.path for one in settings if isinstance(one, RealmFileSettings) and one.path.exists()]
    return [warning for path in paths for warning in realm_file_warnings(path)]


def _table(config: SiteConfig) -> list[str]:
    """The routes in columns, with a row for each of their hosts."""
    if not config.routes:
        return ["There are no routes."]
    rows = [_COLUMNS, *(_row(route, host, config) for route in config.routes for host in route.hosts or ("*",))]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _row(route: RouteSettings, host: str, config: SiteConfig) -> tuple[str, ...]:
    auth = route.auth if config.perimeter.enabled or route.auth is Auth.NONE else "off"
    identity = ", ".join(route.identity) or "none"
    if route.authorization != DROP:
        identity += f"; authorization {route.authorization.word}"
    return (host, route.path, _target(route, config), auth, _rules(route), identity if route.upstream else "-")


def _target(route: RouteSettings, config: SiteConfig) -> str:
    if route.static is not None:
        return str(route.static)
    servers = next(upstream.servers for upstream in config.upstreams if upstream.name == route.upstream)
    places = ", ".join(server.url for server in servers)
    return f"{route.upstream} ({places})" + (f" as {route.rewrite}" if route.rewrite else "")


def _rules(route: RouteSettings) -> str:
    parts = [
        ("allow", _terms(route.allow or ())),
        ("deny", _terms(route.deny)),
        ("from", _terms(route.networks)),
    ]
    return "; ".join(f"{word} {terms}" for word, terms in parts if terms) or "-"


def _terms(values: Sequence[Rule] | Sequence[Network]) -> str:
    return ", ".join(str(value) for value in values)
