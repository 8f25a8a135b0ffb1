"""``perimeter token``: issue an access token by hand, or see what one says. Needs the gateway's state directory."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from perimeter.auth.text import unfit_for_name
from perimeter.commands.site import Duration, WallClock, config_option, explained, read_site
from perimeter.errors import InternalError, InvalidToken
from perimeter.model import Principal
from perimeter.tokens.format import MAX_TOKEN
from perimeter.tokens.issuer import TokenIssuer
from perimeter.tokens.keyring import Keyring
from perimeter.tokens.verifier import TokenVerifier


@click.group("token")
def command() -> None:
    """Issue an access token, or see what one says."""


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
        clock = WallClock()
        keyring = Keyring.open(site.perimeter.state_dir, site.token, clock)
        issuer = TokenIssuer(keyring, site.token, clock)
        try:
            issued = issuer.issue(Principal(user, realm, roles), site.token.lifetime if lifetime is None else lifetime)
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--lifetime") from None
        except InternalError as error:
            raise click.ClickException(error.detail) from None
    click.echo(issued.access_token)


@command.command("show")
@config_option
def show(file: Path) -> None:
    """Judge the access token on standard input as the gateway does, and print its claims (not the token)."""
    token = sys.stdin.buffer.readline(2 * MAX_TOKEN).decode("ascii", "replace").strip()
    if token[:7].lower() == "bearer ":
        token = token[7:].strip()
    with explained():
        site = read_site(file)
        clock = WallClock()
        verifier = TokenVerifier(Keyring.read(site.perimeter.state_dir, site.token, clock), site.token, clock)
    try:
        claims = verifier.claims(token)
    except InvalidToken as error:
        raise click.ClickException(f"{error.phrase} ({error.detail})") from None
    click.echo(json.dumps(claims, indent=2))
