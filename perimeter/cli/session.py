"""``perimeter session``: list and end sessions of browsers, through the gateway if one runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from perimeter.cli.site import Nested, Site, check_names, explained, gateway_options, json_option, print_json
from perimeter.cli.state import gateway_or_store, print_list

_HEADING = ("ID", "USER", "REALM", "SIGNED IN", "LAST USED", "EXPIRES", "ADDRESS")


@click.group("session", cls=Nested)
def command() -> None:
    """List and end the sessions of users who have signed in with a browser."""


@command.command("list")
@gateway_options
@click.option("--user", metavar="NAME", help="Only the sessions of this user.")
@click.option("--realm", metavar="REALM", help="Only the sessions of users of this realm.")
@json_option
def list_(file: Path, state_dir: Path | None, user: str | None, realm: str | None, as_json: bool) -> None:
    """List the sessions, the oldest first. A session that is not used before EXPIRES ends then.

    --json prints one JSON object per line, with the browser ("agent") too.
    """
    with explained(), gateway_or_store(Site(file, state_dir)) as ask:
        print_list(ask, {"command": "sessions", "user": user, "realm": realm}, as_json, _HEADING, _row)


@command.command("end")
@gateway_options
@click.option("--id", "ids", multiple=True, metavar="ID", help="The session with this id (perimeter session list).")
@click.option("--user", metavar="NAME", help="Every session of this user, with --realm.")
@click.option("--realm", metavar="REALM", help="The realm that knows the user.")
@json_option
def end(file: Path, state_dir: Path | None, ids: tuple[str, ...], user: str | None, realm: str | None, as_json: bool) -> None:
    """End sessions at once. The user can sign in again; to prevent this, delete the user from the directory or file."""
    if (user is None) != (realm is None) or not (ids or user):
        raise click.UsageError("one of these is needed: --id, --user with --realm")
    check_names(("--user", user), ("--realm", realm))
    question = {"command": "end_sessions", "ids": list(ids), "user": user, "realm": realm}
    with explained(), gateway_or_store(Site(file, state_dir)) as ask:
        answer = ask(question)
    ended = answer["sessions"]
    if as_json:
        print_json(answer)
        return
    click.echo(f"ended: {ended} session{'' if ended == 1 else 's'}")


def _row(session: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(session[name] for name in ("id", "username", "realm", "created", "seen", "expires", "address"))
