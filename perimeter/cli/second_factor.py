"""``perimeter second-factor``: list and reset second factors, and make codes for first ones."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from perimeter.cli.site import Nested, Site, check_names, explained, gateway_options, json_option, print_json
from perimeter.cli.state import gateway_or_store, print_list

_HEADING = ("USER", "REALM", "KIND", "NAME", "REGISTERED", "LAST USED", "RECOVERY CODES")


@click.group("second-factor", cls=Nested)
def command() -> None:
    """List and reset the second factors of users, and make codes for first ones."""


@command.command("list")
@gateway_options
@click.option("--user", metavar="NAME", help="Only the second factors of this user.")
@click.option("--realm", metavar="REALM", help="Only the second factors of users of this realm.")
@json_option
def list_(file: Path, state_dir: Path | None, user: str | None, realm: str | None, as_json: bool) -> None:
    """List the second factors, with the number of recovery codes that the user has left.

    --json prints one JSON object per line.
    """
    with explained(), gateway_or_store(Site(file, state_dir)) as ask:
        print_list(ask, {"command": "factors", "user": user, "realm": realm}, as_json, _HEADING, _row)


@command.command("reset")
@gateway_options
@click.option("--user", metavar="NAME", required=True, help="The user.")
@click.option("--realm", metavar="REALM", required=True, help="The realm that knows the user.")
@json_option
def reset(file: Path, state_dir: Path | None, user: str, realm: str, as_json: bool) -> None:
    """Remove all second factors and recovery codes of a user, such as one who has lost the phone.

    The user registers a new one at the next sign-in. Sessions go on: perimeter session end ends them.
    """
    answer = _of_user({"command": "reset_factors"}, file, state_dir, user, realm)
    if as_json:
        print_json(answer)
        return
    count = answer["factors"]
    click.echo(f"removed: {count} second factor{'' if count == 1 else 's'} of {user} of realm {realm}, and all recovery codes")


@command.command("code")
@gateway_options
@click.option("--user", metavar="NAME", required=True, help="The user.")
@click.option("--realm", metavar="REALM", required=True, help="The realm that knows the user.")
@json_option
def code(file: Path, state_dir: Path | None, user: str, realm: str, as_json: bool) -> None:
    """Print a code with which a user can register a first second factor, if [second_factor] has enroll = code.

    The code is good once, for a day. It replaces an earlier one. Give it to the user on a way that you trust.
    """
    answer = _of_user({"command": "enroll_code"}, file, state_dir, user, realm)
    if as_json:
        print_json(answer)
        return
    click.echo(answer["code"])
    click.echo(f"for {user} of realm {realm}, until {answer['expires']}", err=True)


def _of_user(question: Mapping[str, Any], file: Path, state_dir: Path | None, user: str, realm: str) -> Mapping[str, Any]:
    """The answer to a question about one user."""
    check_names(("--user", user), ("--realm", realm))
    with explained(), gateway_or_store(Site(file, state_dir)) as ask:
        answer: Mapping[str, Any] = ask({**question, "user": user, "realm": realm})
    return answer


def _row(factor: Mapping[str, Any]) -> tuple[str, ...]:
    shown = tuple(factor[name] for name in ("username", "realm", "kind", "name", "created"))
    return (*shown, factor["used"] or "-", str(factor["recovery_codes"]))
