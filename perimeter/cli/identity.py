"""``perimeter identity``: list and release the user names that are bound to identities of providers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from perimeter.cli.site import Nested, Site, check_names, explained, gateway_options, json_option, print_json
from perimeter.cli.state import gateway_or_store, print_list

_HEADING = ("USER", "REALM", "SINCE", "ISSUER", "SUBJECT")


@click.group("identity", cls=Nested)
def command() -> None:
    """List and release the user names of people who sign in at a provider.

    A name belongs to the account of the provider that has signed in with it first. Another account with the same name is refused.
    """


@command.command("list")
@gateway_options
@click.option("--user", metavar="NAME", help="Only this user name.")
@click.option("--realm", metavar="REALM", help="Only user names of this realm.")
@json_option
def list_(file: Path, state_dir: Path | None, user: str | None, realm: str | None, as_json: bool) -> None:
    """List the user names, each with the issuer and the subject that it belongs to.

    --json prints one JSON object per line.
    """
    with explained(), gateway_or_store(Site(file, state_dir)) as ask:
        print_list(ask, {"command": "identities", "user": user, "realm": realm}, as_json, _HEADING, _row)


@command.command("release")
@gateway_options
@click.option("--user", metavar="NAME", required=True, help="The user name.")
@click.option("--realm", metavar="REALM", required=True, help="The realm of the user name.")
@json_option
def release(file: Path, state_dir: Path | None, user: str, realm: str, as_json: bool) -> None:
    """Let the user name belong to the account that signs in with it next.

    All sessions and tokens of the user end, since the next account would get them. Use this when a person has a new account, or
    when a name has a new holder.
    """
    check_names(("--user", user), ("--realm", realm))
    with explained(), gateway_or_store(Site(file, state_dir)) as ask:
        answer = ask({"command": "release_identity", "user": user, "realm": realm})
    if as_json:
        print_json(answer)
        return
    ended = [
        f"{count} {what}{'' if count == 1 else 's'}"
        for count, what in ((answer["sessions"], "session"), (answer["api_tokens"], "API token"))
    ]
    click.echo(f"released: {answer['username']} was {answer['subject']} of {answer['issuer']}; ended: {', '.join(ended)}")


def _row(identity: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(identity[name] for name in ("username", "realm", "created", "issuer", "subject"))
