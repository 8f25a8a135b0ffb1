"""``perimeter session``: list and end sessions of browsers, through the gateway if one runs."""

from __future__ import annotations

from pathlib import Path

import click

from perimeter.cli.site import Site, check_names, explained, gateway_options
from perimeter.cli.state import gateway_or_store, print_lines


@click.group("session")
def command() -> None:
    """List and end the sessions of users who have signed in with a browser."""


@command.command("list")
@gateway_options
@click.option("--user", metavar="NAME", help="Only the sessions of this user.")
@click.option("--realm", metavar="REALM", help="Only the sessions of users of this realm.")
def list_(file: Path, state_dir: Path | None, user: str | None, realm: str | None) -> None:
    """List the sessions, the oldest first, with user, sign-in time, address and last use."""
    with explained(), gateway_or_store(Site(file, state_dir)) as ask:
        print_lines(ask, {"command": "sessions", "user": user, "realm": realm})


@command.command("end")
@gateway_options
@click.option("--id", "ids", multiple=True, metavar="ID", help="The session with this id (perimeter session list).")
@click.option("--user", metavar="NAME", help="Every session of this user, with --realm.")
@click.option("--realm", metavar="REALM", help="The realm that knows the user.")
def end(file: Path, state_dir: Path | None, ids: tuple[str, ...], user: str | None, realm: str | None) -> None:
    """End sessions at once. The user can sign in again; to prevent this, delete the user from the directory or file."""
    if (user is None) != (realm is None) or not (ids or user):
        raise click.UsageError("one of these is needed: --id, --user with --realm")
    check_names(("--user", user), ("--realm", realm))
    question = {"command": "end_sessions", "ids": list(ids), "user": user, "realm": realm}
    with explained(), gateway_or_store(Site(file, state_dir)) as ask:
        ended = ask(question)["sessions"]
    click.echo(f"ended: {ended} session{'' if ended == 1 else 's'}")
