"""``perimeter login``: try a user name and a password on the authenticators of a configuration, and print each step."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Any

import click

from perimeter.cli.exits import Exit
from perimeter.cli.site import config_option, explained, json_option, print_json, read_site, realms_exist

_RESULTS = {Exit.DONE: "succeeds", Exit.NO: "fails", Exit.UNDECIDED: "undecided"}


@click.command("login")
@config_option
@click.option("--user", required=True, metavar="NAME", help="The user name.")
@click.option(
    "--realm",
    "realms",
    multiple=True,
    metavar="REALM",
    help="Exclude users of other realms, as X-Auth-Realm does; may be given several times.",
)
@json_option
@click.option("--stdin", "from_stdin", is_flag=True, help="Read the password from the first line of standard input.")
def command(file: Path, user: str, realms: tuple[str, ...], as_json: bool, from_stdin: bool) -> None:
    """Verify NAME and a password with the authenticators in their order, as the gateway does, and print each step.

    Wrong passwords are not counted, no secret is printed, and no gateway has to run. The exit status is 0 if the login succeeds,
    1 if it fails, and 5 if an authenticator did not answer.
    """
    from perimeter.audit.escaping import escape_line

    with explained():
        site = read_site(file)
    realms_exist(site, realms)
    password = sys.stdin.readline().rstrip("\r\n") if from_stdin else click.prompt("Password", hide_input=True, err=True)

    steps: list[str] = []

    def say(line: str) -> None:
        # No step holds the password. A search for it would only show where its letters are in these words.
        if as_json:
            steps.append(line)
        else:
            click.echo(escape_line(line))

    from twisted.internet.defer import Deferred
    from twisted.internet.task import react

    from perimeter.cli.trying import try_login
    from perimeter.model import BasicCredentials

    outcome: list[Exit] = []

    async def trying(reactor: Any) -> None:
        outcome.append(await try_login(reactor, site, BasicCredentials(user, password), frozenset(realms), say))

    with contextlib.suppress(SystemExit):
        react(lambda reactor: Deferred.fromCoroutine(trying(reactor)), ())
    status = outcome[0] if outcome else Exit.NO  # without one, react has printed what failed
    if as_json:
        print_json({"result": _RESULTS[status], "steps": steps})
    sys.exit(status)
