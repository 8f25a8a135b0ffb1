"""``perimeter login``: try a user name and a password on the authenticators of a configuration, and print each step."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from perimeter.cli.site import config_option, explained, read_site, realms_exist


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
@click.option("--stdin", "from_stdin", is_flag=True, help="Read the password from the first line of standard input.")
def command(file: Path, user: str, realms: tuple[str, ...], from_stdin: bool) -> None:
    """Ask the authenticators in their order who NAME is, as the gateway would, and print what each of them does.

    Wrong passwords are not counted, no secret is printed, and no gateway has to run. The exit status is 0 if the login succeeds,
    1 if it fails, and 5 if an authenticator could not be asked.
    """
    from perimeter.audit.escaping import escape_line

    with explained():
        site = read_site(file)
    realms_exist(site, realms)
    password = sys.stdin.readline().rstrip("\r\n") if from_stdin else click.prompt("Password", hide_input=True, err=True)

    def say(line: str) -> None:
        # No step holds the password. A search for it would only show where its letters are in these words.
        click.echo(escape_line(line))

    from twisted.internet.defer import Deferred
    from twisted.internet.task import react

    from perimeter.cli.trying import try_login
    from perimeter.model import BasicCredentials

    def main(reactor: Any) -> Deferred[None]:
        return Deferred.fromCoroutine(try_login(reactor, site, BasicCredentials(user, password), frozenset(realms), say))

    react(main, ())
