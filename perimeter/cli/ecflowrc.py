"""``perimeter ecflowrc``: write the entry of a user into ``.ecflowapirc`` (`perimeter.tokens.ecflow_file`)."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click

from perimeter.cli.site import Duration, check_names, config_option, explained, read_site, realms_exist

if TYPE_CHECKING:
    from perimeter.config.site.config import SiteConfig

_LARGEST = 1 << 20


def gateway_url(site: SiteConfig, host: str | None) -> str:
    """``https://host:port`` of the gateway as clients see it. Raises `click.UsageError` if the configuration does not say it."""
    from perimeter.config.site.listener import Serve

    listener = next((one for one in site.listeners if one.tls and one.serve is Serve.GATEWAY and not one.socket_path), None)
    if listener is None:
        raise click.UsageError("the configuration has no [listener …] with tls and the routes: use --server")
    if host is None:
        host = next((urlsplit(url).hostname for url in site.perimeter.announce), None)
    if host is None:
        raise click.UsageError("the configuration has no announce with the gateway's name: use --host or --server")
    return f"https://{f'[{host}]' if ':' in host and not host.startswith('[') else host}:{listener.port}"


@click.command("ecflowrc")
@config_option
@click.option("--user", required=True, metavar="NAME", help="The user of the entry.")
@click.option(
    "--type", "kind", type=click.Choice(["basic", "bearer"]), default="basic", show_default=True, help="The kind of credentials."
)
@click.option("--stdin", "from_stdin", is_flag=True, help="Read the password, or the key, from the first line of standard input.")
@click.option("--host", metavar="NAME", help="The gateway's name as clients use it; default: that of announce.")
@click.option("--server", metavar="REGEX", help="The servers that the entry is for; default: this gateway only.")
@click.option("--realm", metavar="REALM", help="bearer: the realm of the user; can be left out if there is only one.")
@click.option("--role", "roles", multiple=True, metavar="ROLE", help="bearer: a role of the user; may be given several times.")
@click.option("--lifetime", type=Duration(), help="bearer: lifetime of the token; default: lifetime of [token].")
@click.option("--email", metavar="ADDRESS", help="bearer: an address, which the client requires; default: the user name.")
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path(".ecflowapirc"),
    show_default=True,
    help="The file to write.",
)
@click.option("--merge", is_flag=True, help="Add the entry to a file that exists, and keep its other entries.")
@click.option("--print", "to_print", is_flag=True, help="Print the entry with its secret, and write no file.")
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
    """Write an entry for NAME into a .ecflowapirc, readable for its owner only.

    basic holds the user's password. bearer holds a key: one that --stdin reads, or an access token that is issued now. No secret
    is printed unless --print is given.
    """
    from perimeter.auth.text import unfit_for_name
    from perimeter.tokens.ecflow_file import RcError, basic_entry, bearer_entry, document, merged, pattern

    if not user or unfit_for_name(user) or (kind == "basic" and ":" in user):
        raise click.BadParameter("expected a name without a colon or control characters", param_hint="--user")
    with explained():
        site = read_site(file)
    url = None if server is not None else gateway_url(site, host)
    existing = None if to_print else _existing(output, merge)
    servers = pattern(url) if url is not None else str(server)
    if kind == "basic":
        password = _first_line() if from_stdin else click.prompt("Password", hide_input=True, err=True)
        entry = basic_entry(servers, user, password)
    else:
        key = _first_line() if from_stdin else _issued(site, user, realm, roles, lifetime)
        entry = bearer_entry(servers, url or _any_url(site, host), key, email or user)
    if to_print:
        click.echo(json.dumps(entry, indent=2, ensure_ascii=False))
        return
    try:
        text = document(entry) if existing is None else merged(existing, entry, url)
        write_private(output, text)
    except RcError as error:
        raise click.ClickException(f"{output} {error}") from None
    except OSError as error:
        raise click.ClickException(f"{output} cannot be written: {error.strerror}") from None
    click.echo(f"{output}: {kind} entry of {user} for {entry['server']}")


def _any_url(site: SiteConfig, host: str | None) -> str:
    """The ``url`` of a bearer entry if ``server`` is a pattern. The client only requires that there is one."""
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
    """The file so far, or None if there is none."""
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise click.ClickException(f"{path} cannot be read: {error.strerror}") from None
    if not merge:
        raise click.ClickException(f"{path} exists already: --merge adds to it")
    if len(data) > _LARGEST:
        raise click.ClickException(f"{path} is larger than {_LARGEST >> 20} MiB")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise click.ClickException(f"{path} is not UTF-8 text") from None


def _issued(site: SiteConfig, user: str, realm: str | None, roles: tuple[str, ...], lifetime: float | None) -> str:
    """An access token of the gateway."""
    from perimeter.cli.issuing import access_token
    from perimeter.model import Principal

    realms = sorted({one.realm for one in site.authenticators})
    if realm is None and len(realms) == 1:
        realm = realms[0]
    if realm is None:
        raise click.BadParameter(f"expected one of the realms {', '.join(realms) or '(there is none)'}", param_hint="--realm")
    realms_exist(site, [realm])
    check_names(*(("--role", role) for role in roles))
    return access_token(site, Principal(user, realm, roles), lifetime)


def write_private(path: Path, text: str) -> None:
    """Replace ``path`` atomically by a file with mode 0600. Its owner does not change if root writes for a user."""
    path = path.resolve()  # so that a link still points to the file
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
