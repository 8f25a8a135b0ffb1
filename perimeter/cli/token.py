"""``perimeter token``: issue an access token by hand, see what one says; list and revoke. Needs the gateway's state directory."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from perimeter.auth.text import unfit_for_name
from perimeter.cli.issuing import access_token
from perimeter.cli.site import Duration, WallClock, config_option, explained, read_site
from perimeter.config.site.config import SiteConfig
from perimeter.errors import InvalidToken, StartupError, Unavailable
from perimeter.model import TOKEN_PREFIX, Principal
from perimeter.run.control import ask
from perimeter.state.changes import Held, Removed, RevokedGrant, RevokedUser
from perimeter.state.sqlite import SqliteStore
from perimeter.tokens.api_token import digest_of
from perimeter.tokens.format import MAX_TOKEN
from perimeter.tokens.keyring import Keyring
from perimeter.tokens.verifier import TokenVerifier
from perimeter.web.endpoints.api_tokens import described


@click.group("token")
def command() -> None:
    """Issue, show, list and revoke tokens."""


@command.command("issue")
@config_option
@click.option("--user", required=True, metavar="NAME", help="Whose token it is.")
@click.option("--realm", required=True, metavar="REALM", help="The realm that knows the user.")
@click.option("--role", "roles", multiple=True, metavar="ROLE", help="A role of the user; may be given several times.")
@click.option("--lifetime", type=Duration(), help="How long it is good for, such as 1h; default: lifetime of [token].")
def issue(file: Path, user: str, realm: str, roles: tuple[str, ...], lifetime: float | None) -> None:
    """Print an access token, for a service or for a test. Nobody is asked for a password."""
    for option, value in (("--user", user), ("--realm", realm), *(("--role", role) for role in roles)):
        if not value or unfit_for_name(value):
            raise click.BadParameter("expected a name without control characters", param_hint=option)
    with explained():
        site = read_site(file)
    click.echo(access_token(site, Principal(user, realm, roles), lifetime))


@command.command("show")
@config_option
def show(file: Path) -> None:
    """Judge the access token on standard input as the gateway does, and print its claims (not the token)."""
    token = _standard_input()
    with explained():
        site = read_site(file)
        clock = WallClock()
        verifier = TokenVerifier(Keyring.read(site.perimeter.state_dir, site.token, clock), site.token, clock)
    try:
        claims = verifier.claims(token)
    except InvalidToken as error:
        raise click.ClickException(f"{error.phrase} ({error.detail})") from None
    click.echo(json.dumps(claims, indent=2))


@command.command("list")
@config_option
@click.option("--user", metavar="NAME", help="Only the tokens of this user.")
@click.option("--realm", metavar="REALM", help="Only those of users of this realm.")
@click.option("--all", "passing", is_flag=True, help="Those of an hour, from GET /token, too.")
def list_(file: Path, user: str | None, realm: str | None, passing: bool) -> None:
    """List the API tokens: who has them, and what for. The tokens themselves are told to nobody."""
    with explained():
        site = read_site(file)
        held = _store(site).load()
    now = WallClock().seconds()
    for token in held.tokens:
        owner = token.owner
        if (
            token.expires > now
            and user in (None, owner.username)
            and realm in (None, owner.realm)
            and (passing or not token.passing)
        ):
            click.echo(json.dumps({"username": owner.username, "realm": owner.realm, **described(token)}))


@command.command("revoke")
@config_option
@click.option("--id", "ids", multiple=True, metavar="ID", help="The API token of this id (perimeter token list).")
@click.option("--user", metavar="NAME", help="Every token of this user, with --realm: API tokens and access tokens.")
@click.option("--realm", metavar="REALM", help="The realm that knows the user.")
@click.option("--stdin", "given", is_flag=True, help="The token on standard input, of either kind.")
def revoke(file: Path, ids: tuple[str, ...], user: str | None, realm: str | None, given: bool) -> None:
    """End tokens before their time, in the running gateway too. A password stays good: change it where it is kept."""
    if (user is None) != (realm is None) or not (ids or user or given):
        raise click.UsageError("say which: --id, --user with --realm, or --stdin")
    for option, value in (("--user", user), ("--realm", realm)):
        if value is not None and (not value or unfit_for_name(value)):
            raise click.BadParameter("expected a name without control characters", param_hint=option)
    with explained():
        site = read_site(file)
        store = _store(site)
        changes = _revocations(site, store.load(), ids, (realm, user) if realm and user else None, given)
        try:
            store.write(changes)
        except Unavailable as error:
            raise click.ClickException(error.detail) from None
        finally:
            store.close()
    click.echo(f"{len(changes)} revoked" if not user else f"every token of {user} in {realm} is revoked")
    try:
        ask(site.perimeter.state_dir, {"command": "look"})
    except StartupError:
        click.echo("no gateway answers here; one that runs takes it over within seconds, another one when it starts", err=True)


def _store(site: SiteConfig) -> SqliteStore:
    if site.perimeter.state != "sqlite":
        raise click.ClickException("[perimeter] state = memory: the tokens are in the memory of the gateway alone")
    return SqliteStore(site.perimeter.state_dir)


def _revocations(
    site: SiteConfig, held: Held, ids: tuple[str, ...], owner: tuple[str, str] | None, given: bool
) -> list[Removed | RevokedGrant | RevokedUser]:
    clock = WallClock()
    known = {token.id: token for token in held.tokens}
    missing = [id for id in ids if id not in known]
    if missing:
        raise click.ClickException(f"there is no API token {missing[0]}")
    changes: list[Removed | RevokedGrant | RevokedUser] = [Removed(id) for id in dict.fromkeys(ids)]
    if owner is not None:
        changes.append(RevokedUser(*owner, clock.seconds()))
    if given:
        token = _standard_input()
        if token.startswith(TOKEN_PREFIX):
            changes += [Removed(kept.id) for kept in held.tokens if kept.digest == digest_of(token)]
        else:
            verifier = TokenVerifier(Keyring.read(site.perimeter.state_dir, site.token, clock), site.token, clock)
            try:
                claims = verifier.claims(token)
            except InvalidToken as error:
                raise click.ClickException(f"{error.phrase} ({error.detail})") from None
            changes.append(RevokedGrant(claims["jti"], float(claims["exp"])))
    if not changes:
        raise click.ClickException("there is no such token")
    return changes


def _standard_input() -> str:
    """The token on standard input, perhaps as it stands in a header field."""
    token = sys.stdin.buffer.readline(2 * MAX_TOKEN).decode("ascii", "replace").strip()
    return token[7:].strip() if token[:7].lower() == "bearer " else token
