"""``perimeter ecflowrc``: the entry of a user in ``.ecflowapirc``, from which ecFlow's client takes its credentials.

The client goes through the ``tokens`` in their order and takes the first one whose ``server``, a regular expression, matches the
whole of ``https://host:port``. A bearer entry needs ``url``, ``key`` and ``email``, a basic one ``username`` and ``password``.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from perimeter.auth.text import unfit_for_name
from perimeter.cli.issuing import access_token
from perimeter.cli.site import Duration, config_option, explained, read_site
from perimeter.config.site.config import SiteConfig
from perimeter.config.site.listener import Serve
from perimeter.model import Principal

VERSION = 1
_LARGEST = 1 << 20


class RcError(Exception):
    """A ``.ecflowapirc`` that cannot be used. The text holds nothing of its content."""


def pattern(url: str) -> str:
    """A regular expression that matches ``url`` and nothing else, in the dialect of C++ (ECMAScript's) and in Python's."""
    return re.sub(r"([.\[\]])", r"\\\1", url)


def merged(text: str, entry: dict[str, Any], url: str | None) -> str:
    """A file with ``entry`` in it: in the place of one for the same ``server``, else where the client finds it for ``url``.

    ``text`` is the file so far, ``url`` the gateway's own, or None where ``server`` is a pattern of the user's. Everything else
    stays as it is. Raises `RcError`.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        raise RcError("is not JSON") from None
    if not isinstance(document, dict) or document.get("version") != VERSION:
        raise RcError(f"is not of version {VERSION}")
    tokens = document.setdefault("tokens", [])
    if not isinstance(tokens, list) or not all(isinstance(token, dict) for token in tokens):
        raise RcError("has no list of tokens")
    for index, token in enumerate(tokens):
        if token.get("server") == entry["server"]:
            tokens[index] = entry
            break
    else:
        tokens.insert(_place(tokens, url), entry)
    return rendered(document)


def _place(tokens: list[dict[str, Any]], url: str | None) -> int:
    """Before the first entry that would win (``.*``, say): an entry behind it would never be used."""
    for index, token in enumerate(tokens):
        with contextlib.suppress(re.error):
            if url is not None and re.fullmatch(str(token.get("server")), url):
                return index
    return len(tokens)


def rendered(document: dict[str, Any]) -> str:
    """The text of a file."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def gateway_url(site: SiteConfig, host: str | None) -> str:
    """``https://host:port`` of the gateway as clients see it. Raises `click.UsageError` where the configuration cannot tell."""
    listener = next((one for one in site.listeners if one.tls and one.serve is Serve.GATEWAY), None)
    if listener is None:
        raise click.UsageError("the configuration has no [listener …] with tls and the routes: say --server")
    if host is None:
        host = next((urlsplit(url).hostname for url in site.perimeter.announce), None)
    if host is None:
        raise click.UsageError("the configuration has no announce that would tell the gateway's name: say --host or --server")
    return f"https://{f'[{host}]' if ':' in host and not host.startswith('[') else host}:{listener.port}"


@click.command("ecflowrc")
@config_option
@click.option("--user", required=True, metavar="NAME", help="Whose entry it is.")
@click.option("--type", "kind", type=click.Choice(["basic", "bearer"]), default="basic", show_default=True, help="What it holds.")
@click.option("--stdin", "from_stdin", is_flag=True, help="Read the password, or the key, from the first line of standard input.")
@click.option("--host", metavar="NAME", help="The gateway's name as clients use it; default: that of announce.")
@click.option("--server", metavar="REGEX", help="Which servers the entry is for; default: this gateway alone.")
@click.option("--realm", metavar="REALM", help="bearer: the realm that knows the user; default: the only one there is.")
@click.option("--role", "roles", multiple=True, metavar="ROLE", help="bearer: a role of the user; may be given several times.")
@click.option("--lifetime", type=Duration(), help="bearer: how long the token is good for; default: lifetime of [token].")
@click.option("--email", metavar="ADDRESS", help="bearer: the client wants one; default: the user's name.")
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path(".ecflowapirc"),
    show_default=True,
    help="Where to.",
)
@click.option("--merge", is_flag=True, help="Put the entry into a file that exists, and leave the others in it alone.")
@click.option("--print", "to_print", is_flag=True, help="Print the entry, secret and all, and write no file.")
def command(
    file: Path,
    user: str,
    kind: str,
    from_stdin: bool,
    host: str | None,
    server: str | None,
    realm: str | None,
    roles: tuple[str, ...],
    lifetime: float | None,
    email: str | None,
    output: Path,
    merge: bool,
    to_print: bool,
) -> None:
    """Write an entry for NAME into a .ecflowapirc, readable for its owner alone.

    basic keeps the user's password. bearer keeps a key: one that is read by --stdin, or else an access token of this gateway,
    issued now. Nothing secret is printed unless --print is given.
    """
    if not user or unfit_for_name(user) or (kind == "basic" and ":" in user):
        raise click.BadParameter("expected a name without a colon or control characters", param_hint="--user")
    with explained():
        site = read_site(file)
    url = None if server is not None else gateway_url(site, host)
    existing = None if to_print else _existing(output, merge)
    if kind == "basic":
        password = _first_line() if from_stdin else click.prompt("Password", hide_input=True, err=True)
        api = {"username": user, "password": password}
    else:
        key = _first_line() if from_stdin else _issued(site, user, realm, roles, lifetime)
        api = {"url": url or _any_url(site, host), "key": key, "email": email or user}
    entry = {"server": pattern(url) if url is not None else server, "type": kind, "api": api}
    if to_print:
        click.echo(json.dumps(entry, indent=2, ensure_ascii=False))
        return
    try:
        text = rendered({"version": VERSION, "tokens": [entry]}) if existing is None else merged(existing, entry, url)
        write_private(output, text)
    except RcError as error:
        raise click.ClickException(f"{output} {error}") from None
    except OSError as error:
        raise click.ClickException(f"{output} cannot be written: {error.strerror}") from None
    click.echo(f"{output}: {kind} entry of {user} for {entry['server']}")


def _any_url(site: SiteConfig, host: str | None) -> str:
    """What a bearer entry names as ``url`` where ``server`` is a pattern; the client only demands that there is one."""
    try:
        return gateway_url(site, host)
    except click.UsageError:
        return ""


def _first_line() -> str:
    line = sys.stdin.readline().rstrip("\r\n")
    if not line:
        raise click.ClickException("there is nothing on standard input")
    return line


def _existing(path: Path, merge: bool) -> str | None:
    """The file so far, or None where there is none."""
    try:
        with path.open("rb") as file:
            octets = file.read(_LARGEST + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise click.ClickException(f"{path} cannot be read: {error.strerror}") from None
    if not merge:
        raise click.ClickException(f"{path} is there already: --merge adds to it")
    if len(octets) > _LARGEST:
        raise click.ClickException(f"{path} is larger than {_LARGEST >> 20} MiB")
    try:
        return octets.decode()
    except UnicodeDecodeError:
        raise click.ClickException(f"{path} is not UTF-8 text") from None


def _issued(site: SiteConfig, user: str, realm: str | None, roles: tuple[str, ...], lifetime: float | None) -> str:
    """An access token of the gateway."""
    realms = sorted({one.realm for one in site.authenticators})
    if realm is None and len(realms) == 1:
        realm = realms[0]
    if realm not in realms:
        raise click.BadParameter(f"expected one of the realms {', '.join(realms) or '(there is none)'}", param_hint="--realm")
    for role in roles:
        if not role or unfit_for_name(role):
            raise click.BadParameter("expected a name without control characters", param_hint="--role")
    return access_token(site, Principal(user, realm, roles), lifetime)


def write_private(path: Path, text: str) -> None:
    """Replace ``path`` by a file with mode 0600, whole or not at all. It stays its owner's where root writes for a user."""
    path = path.resolve()  # a link goes on leading to the file
    descriptor, beside = tempfile.mkstemp(dir=path.parent, prefix=f"{path.name}.")  # 0600
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            with contextlib.suppress(FileNotFoundError):
                before = path.stat()
                if os.geteuid() == 0:
                    os.fchown(descriptor, before.st_uid, before.st_gid)
            os.fsync(descriptor)
        os.replace(beside, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(beside)
        raise
