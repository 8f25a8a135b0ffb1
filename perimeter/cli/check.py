"""``perimeter check``: check a configuration (`perimeter.cli.checking`)."""

from __future__ import annotations

import sys
from pathlib import Path

import click
from click.core import ParameterSource

from perimeter.cli.exits import Exit
from perimeter.cli.site import config_option, existing, explained, json_option, print_json, print_text


@click.command("check")
@click.argument("given", required=False, type=click.Path(path_type=Path), metavar="")
@config_option
@json_option
@click.option(
    "--no-files",
    is_flag=True,
    help="Do not read the files that the configuration names, for example because they are on another machine.",
)
@click.option("--explain", nargs=2, metavar="METHOD URL", hidden=True)
@click.option("--user", metavar="NAME", hidden=True)
def command(
    given: Path | None, file: Path, as_json: bool, no_files: bool, explain: tuple[str, str] | None, user: str | None
) -> None:
    """Check the configuration and the files that it names.

    Prints every problem with its line, or a table of the routes, in the order in which the gateway tries them. Opens no port,
    contacts no server and creates no file. The exit status is 1 if there is a problem.
    """
    if user is not None and explain is None:
        raise click.UsageError("--user is only allowed with --explain")
    if given is not None and click.get_current_context().get_parameter_source("file") is ParameterSource.COMMANDLINE:
        raise click.UsageError("the configuration is named twice: use -c FILE alone")
    with explained():
        path = existing(file if given is None else given)
    if explain is not None:
        from perimeter.cli.explaining import run_explain

        status, text = run_explain(path, *explain, user=user)
        print_text(text)
        sys.exit(status)
    from perimeter.cli.checking import checked

    found = checked(path, files=not no_files)
    if as_json:
        print_json(found.members)
    else:
        print_text(found.text)
    sys.exit(Exit.NO if found.problems else Exit.DONE)
