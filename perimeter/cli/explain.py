"""``perimeter explain``: how the gateway would answer a request (`perimeter.cli.explaining`)."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from perimeter.cli.exits import Exit
from perimeter.cli.site import config_option, existing, explained, json_option, print_json, print_text


@click.command("explain")
@click.argument("method")
@click.argument("url")
@config_option
@json_option
@click.option("--user", metavar="NAME", help="The request of this user, with the roles that they have now.")
@click.option("--address", metavar="ADDRESS", default="", help="The client's address; otherwise one that the route allows.")
@click.option("--header", "headers", metavar="'NAME: VALUE'", multiple=True, help="A header of the request; several times.")
@click.option("--second-factor", "second", is_flag=True, help="With --user: the user has just shown a second factor.")
def command(
    method: str, url: str, file: Path, as_json: bool, user: str | None, address: str, headers: tuple[str, ...], second: bool
) -> None:
    """Show the route of a request, and whether the request would be admitted and why.

    URL is absolute, or a path. The request is not sent, and no gateway has to run. The exit status is 1 if the request would be
    refused.
    """
    from perimeter.cli.explaining import explained_request

    if second and user is None:
        raise click.UsageError("--second-factor needs --user")
    with explained():
        answer = explained_request(existing(file), method, url, user=user, address=address, headers=headers, second=second)
    if as_json:
        print_json(answer.members)
    else:
        print_text(answer.text)
    sys.exit(Exit.DONE if answer.admitted else Exit.NO)
