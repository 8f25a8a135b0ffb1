"""``perimeter unban``: forget wrong passwords."""

from __future__ import annotations

from pathlib import Path

import click

from perimeter.cli.site import Site, explained, gateway_options, json_option, print_json


@click.command("unban")
@gateway_options
@json_option
@click.argument("what", metavar="NAME|ADDRESS")
def command(file: Path, state_dir: Path | None, as_json: bool, what: str) -> None:
    """Forget the wrong passwords for a user name, in any of its spellings, or from an address.

    The exit status is 1 if there were none.
    """
    from perimeter.audit.escaping import escape_line

    with explained():
        released = Site(file, state_dir).ask({"command": "unban", "what": what})["released"]
    if as_json:
        print_json({"released": released})
    if not released:
        raise click.ClickException(f"there were no wrong passwords for {what!r}")
    if not as_json:
        for one in released:
            click.echo(escape_line(f"{one} may try again"))
