"""``perimeter explain``: what would happen to a request (`perimeter.cli.explaining`)."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from perimeter.cli.site import config_option, existing, explained


@click.command("explain")
@click.argument("method")
@click.argument("url")
@config_option
@click.option("--user", metavar="NAME", help="The request of this user, with the roles that they have now.")
@click.option("--address", metavar="ADDRESS", default="", help="The client's address; otherwise one that the route allows.")
def command(method: str, url: str, file: Path, user: str | None, address: str) -> None:
    """Show the route of a request, and whether the request would be admitted and why.

    URL is absolute, or a path. The request is not sent, and no gateway has to run. The exit status is 1 if the request would be
    refused.
    """
    from perimeter.audit.escaping import escape_line
    from perimeter.cli.explaining import run_explain

    with explained():
        existing(file)
    status, text = run_explain(file, method, url, user=user, address=address)
    # names and paths come from files and users
    click.echo("\n".join(map(escape_line, text.split("\n"))))
    sys.exit(status)
