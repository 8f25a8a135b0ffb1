"""``perimeter token``: issue and show access tokens; list and revoke tokens, through the gateway if one runs."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from perimeter.cli.site import (
    Duration,
    Nested,
    Site,
    WallClock,
    check_names,
    config_option,
    explained,
    gateway_options,
    json_option,
    print_json,
    read_site,
    realms_exist,
)
from perimeter.cli.state import gateway_or_store, print_list

_HEADING = ("ID", "USER", "REALM", "NAME", "CREATED", "EXPIRES", "ONLY FOR")


@click.group("token", cls=Nested)
def command() -> None:
    """Issue, show, list and revoke tokens."""


@command.command("issue")
@config_option
@click.option("--user", required=True, metavar="NAME", help="The owner of the token.")
@click.option("--realm", required=True, metavar="REALM", help="The realm that knows the user.")
@click.option("--role", "roles", multiple=True, metavar="ROLE", help="A role of the user; may be given several times.")
@click.option("--lifetime", type=Duration(), help="Lifetime, such as 1h; default: lifetime of [token].")
def issue(file: Path, user: str, realm: str, roles: tuple[str, ...], lifetime: float | None) -> None:
    """Print an access token, for a service or for a test. No password is needed."""
    from perimeter.cli.issuing import access_token
    from perimeter.model import Principal

    check_names(("--user", user), ("--realm", realm), *(("--role", role) for role in roles))
    with explained():
        site = read_site(file)
    realms_exist(site, [realm])
    click.echo(access_token(site, Principal(user, realm, roles), lifetime))


@command.command("show")
@config_option
def show(file: Path) -> None:
    """Verify the access token on standard input as the gateway does, and print its claims (not the token)."""
    from perimeter.errors import InvalidToken
    from perimeter.tokens.keyring import Keyring
    from perimeter.tokens.verifier import TokenVerifier

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
@gateway_options
@click.option("--user", metavar="NAME", help="Only the tokens of this user.")
@click.option("--realm", metavar="REALM", help="Only those of users of this realm.")
@json_option
@click.option("--all", "passing", is_flag=True, help="Also the tokens from GET /token, which live for an hour.")
def list_(file: Path, state_dir: Path | None, user: str | None, realm: str | None, as_json: bool, passing: bool) -> None:
    """List the API tokens: their owners, names and restrictions.

    The gateway does not know the tokens themselves. --json prints one JSON object per line.
    """
    with explained(), gateway_or_store(Site(file, state_dir)) as ask:
        question = {"command": "tokens", "user": user, "realm": realm, "passing": passing}
        print_list(ask, question, as_json, _HEADING, _row)


@command.command("revoke")
@gateway_options
@click.option("--id", "ids", multiple=True, metavar="ID", help="The API token with this id (perimeter token list).")
@click.option("--user", metavar="NAME", help="Every token and session of this user, with --realm.")
@click.option("--realm", metavar="REALM", help="The realm that knows the user.")
@click.option("--stdin", "given", is_flag=True, help="The token on standard input, of either kind.")
@json_option
def revoke(
    file: Path, state_dir: Path | None, ids: tuple[str, ...], user: str | None, realm: str | None, given: bool, as_json: bool
) -> None:
    """Revoke tokens at once: one token, or all tokens and sessions of a user.

    When the command returns, the gateway refuses them. If no gateway runs, the command changes its database. A password stays
    valid: change it in its directory or file.
    """
    if (user is None) != (realm is None) or not (ids or user or given):
        raise click.UsageError("one of these is needed: --id, --user with --realm, --stdin")
    check_names(("--user", user), ("--realm", realm))
    question: dict[str, Any] = {"command": "revoke", "ids": list(ids), "user": user, "realm": realm}
    if given:
        question["token"] = _standard_input()
    with explained(), gateway_or_store(Site(file, state_dir)) as ask:
        ended = ask(question)
    if as_json:
        print_json(ended)
    else:
        click.echo(_ended(ended, user, realm))


def _row(token: Mapping[str, Any]) -> tuple[str, ...]:
    limits = [*token["routes"], *token["methods"], *token["networks"]]
    only = ", ".join(limits) or "-"
    return (token["id"], token["username"], token["realm"], token["name"] or "-", token["created"], token["expires"], only)


def _ended(ended: Mapping[str, Any], user: str | None, realm: str | None) -> str:
    """What was revoked, in words."""
    counts = [(ended["api_tokens"], "API token"), (ended["access_tokens"], "access token")]
    counts.append((ended["sessions"], "session"))
    parts = [f"{count} {noun}{'' if count == 1 else 's'}" for count, noun in counts if count or (user and noun == "API token")]
    if user:
        parts.append(f"every access token that was issued to {user} of realm {realm} until now")
    return f"revoked: {', '.join(parts)}"


def _standard_input() -> str:
    """The token on standard input, alone or as the value of an Authorization header."""
    from perimeter.tokens.format import MAX_TOKEN

    token = sys.stdin.buffer.readline(2 * MAX_TOKEN).decode("ascii", "replace").strip()
    return token[7:].strip() if token[:7].lower() == "bearer " else token
