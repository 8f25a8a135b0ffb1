"""``perimeter check``: check a configuration (`perimeter.cli.checking`)."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from perimeter.cli.site import config_option, existing, explained


@click.command("check")
@click.argument("given", required=False, type=click.Path(path_type=Path), metavar="")
@config_option
@click.option("--no-files", is_flag=True, help="Do not read the files that the configuration names: they are on another machine.")
@click.option("--explain", nargs=2, metavar="METHOD URL", hidden=True)
@click.option("--user", metavar="NAME", hidden=True)
def command(given: Path | None, file: Path, no_files: bool, explain: tuple[str, str] | None, user: str | None) -> None:
    """Check the configuration and the files that it names.

    Prints every problem with its line, or the routes as a table, in the order in which they are matched. Opens no port and asks
    no server. The exit status is 1 if there is a problem.
    """
    if user is not None and explain is None:
        raise click.UsageError("--user is only allowed with --explain")
    if given is not None:
        file = given
    from perimeter.audit.escaping import escape_line

    with explained():
        existing(file)
    if explain is None:
        from perimeter.cli.checking import run_check

        status, text = run_check(file, files=not no_files)
    else:
        from perimeter.cli.explaining import run_explain

        status, text = run_explain(file, *explain, user=user)
    # names and paths come from files and users
    click.echo("\n".join(map(escape_line, text.split("\n"))))
    sys.exit(status)
