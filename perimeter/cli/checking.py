"""Checks a site.ini without opening ports or writing files, for ``perimeter check`` and ``twistd perimeter --check``.

The files that it names are read as a start reads them (`perimeter.run.build.inspection`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from perimeter.config.language.net_types import Network
from perimeter.config.site.authorization import DROP
from perimeter.config.site.config import SiteConfig
from perimeter.config.site.route import RouteSettings
from perimeter.config.site.route_matching import ANY_HOST, matching_order, prefix_of
from perimeter.config.site.rule import Rule
from perimeter.errors import StartupError
from perimeter.plugin.kinds import PluginKinds

_COLUMNS = ("HOST", "PATH", "TARGET", "AUTH", "RULES", "IDENTITY")


def run_check(path: Path, *, kinds: PluginKinds | None = None, files: bool = True) -> tuple[int, str]:
    """An exit status and the text to print: 1 and every problem on a line of its own, or 0, the warnings and the routes.

    ``kinds`` replaces the kinds that are installed. Without ``files``, the files that the configuration names need not exist.
    """
    # Finding plug-ins imports them, which costs time: only commands that read a configuration do it.
    from perimeter.auth.registry import installed_kinds

    known = installed_kinds() if kinds is None else kinds
    from perimeter.run.build.inspection import inspected

    reactor: Any = None
    if files:
        from twisted.internet import reactor as installed

        reactor = installed
    try:
        found = inspected(path, known, reactor)
    except StartupError as error:
        return 1, str(error)
    warnings = [f"warning: {warning}" for warning in found.warnings]
    return 0, "\n".join([*warnings, *([""] if warnings else []), *_table(found.config)])


def _table(config: SiteConfig) -> list[str]:
    """The routes in columns, in the order in which they are matched, with a row for each of their hosts."""
    if not config.routes:
        return ["There are no routes."]
    found = [(host, route) for route in config.routes for host in route.hosts or (ANY_HOST,)]
    rows = [_COLUMNS, *(_row(route, host, config) for host, route in sorted(found, key=_matching_order))]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _matching_order(one: tuple[str, RouteSettings]) -> tuple[tuple[int, str], int, str]:
    host, route = one
    return matching_order(host, prefix_of(route.path))


def _row(route: RouteSettings, host: str, config: SiteConfig) -> tuple[str, ...]:
    auth = config.auth_in_words(route)
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
