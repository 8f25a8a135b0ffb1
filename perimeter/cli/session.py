"""``perimeter session``: list and end sessions of browsers, through the gateway if one runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from perimeter.cli.site import explained, gateway_of, gateway_options
from perimeter.cli.state import check_owner, gateway_or_store, print_all, written
from perimeter.config.site.config import SiteConfig
from perimeter.errors import StartupError
from perimeter.run.session_operations import end_sessions, list_sessions
from perimeter.sessions.stored import SESSIONS
from perimeter.state.direct import DirectState


@click.group("session")
def command() -> None:
    """List and end the sessions of users who have signed in with a browser."""


@command.command("list")
@gateway_options
@click.option("--user", metavar="NAME", help="Only the sessions of this user.")
@click.option("--realm", metavar="REALM", help="Only the sessions of users of this realm.")
def list_(file: Path | None, state_dir: Path | None, user: str | None, realm: str | None) -> None:
    """List the sessions, the oldest first, with user, sign-in time, address and last use."""
    with explained(), gateway_or_store(*gateway_of(file, state_dir), _answer) as ask:
        print_all(ask, {"command": "sessions", "user": user, "realm": realm})


@command.command("end")
@gateway_options
@click.option("--id", "ids", multiple=True, metavar="ID", help="The session with this id (perimeter session list).")
@click.option("--user", metavar="NAME", help="Every session of this user, with --realm.")
@click.option("--realm", metavar="REALM", help="The realm that knows the user.")
def end(file: Path | None, state_dir: Path | None, ids: tuple[str, ...], user: str | None, realm: str | None) -> None:
    """End sessions at once. The user can sign in again; to prevent this, delete the user from the directory or file."""
    if (user is None) != (realm is None) or not (ids or user):
        raise click.UsageError("one of these is needed: --id, --user with --realm")
    check_owner(user, realm)
    question = {"command": "end_sessions", "ids": list(ids), "user": user, "realm": realm}
    with explained(), gateway_or_store(*gateway_of(file, state_dir), _answer) as ask:
        ended = ask(question)["sessions"]
    click.echo(f"ended: {ended} session{'' if ended == 1 else 's'}")


def _answer(site: SiteConfig | None, state: DirectState, question: Mapping[str, Any]) -> Mapping[str, Any]:
    """The answer without a gateway."""
    stored, user, realm = state.view(SESSIONS), question["user"], question["realm"]
    realms = [] if site is None else [one.realm for one in site.authenticators]
    if question["command"] == "sessions":
        try:
            return list_sessions(realms, stored, user, realm, question["first"])
        except ValueError as error:
            raise StartupError(str(error)) from None
    ended: Mapping[str, Any] = written(end_sessions(realms, stored, question["ids"], (realm, user) if user else None))
    return ended
