"""``perimeter completion``: completes names of commands and options in a shell. Click writes the scripts."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, NamedTuple

import click

SHELLS: Final = ("bash", "zsh", "fish")


class _Place(NamedTuple):
    """Where a shell looks for completions: below the user's data directory (fish: configuration directory), and for all users."""

    own: str
    all_users: str


_PLACES: Final = {
    "bash": _Place("bash-completion/completions/perimeter", "/usr/local/share/bash-completion/completions/perimeter"),
    "zsh": _Place("zsh/site-functions/_perimeter", "/usr/local/share/zsh/site-functions/_perimeter"),
    "fish": _Place("fish/completions/perimeter.fish", "/usr/local/share/fish/vendor_completions.d/perimeter.fish"),
}


@click.command("completion")
@click.argument("shell", required=False, type=click.Choice(SHELLS))
@click.option("--all-users", is_flag=True, help="Write it for all users of this machine, as root.")
@click.option("--print", "to_print", is_flag=True, help="Print the script, and write no file.")
@click.pass_context
def command(context: click.Context, shell: str | None, all_users: bool, to_print: bool) -> None:
    """Complete the names of commands and options with the Tab key, in bash, zsh or fish.

    Without a shell, it is your own ($SHELL). The command writes one file, where the shell looks for completions, and prints the
    remaining steps. To undo it, remove the file.
    """
    chosen = shell or Path(os.environ.get("SHELL", "")).name
    if chosen not in SHELLS:
        raise click.UsageError(f"name the shell: {', '.join(SHELLS)}")
    text = script(context.find_root().command, chosen)
    if to_print:
        click.echo(text, nl=False)
        return
    path = Path(_PLACES[chosen].all_users) if all_users else own_place(chosen)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    except OSError as error:
        raise click.ClickException(f"{path} cannot be written: {error.strerror}") from None
    click.echo(f"wrote {path}")
    click.echo(_next_step(chosen, path.parent, all_users))


def script(main: click.Command, shell: str) -> str:
    """The script for a shell."""
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    assert found is not None
    completion = found(main, {}, "perimeter", "_PERIMETER_COMPLETE")
    return completion.source_template % completion.source_vars()


def own_place(shell: str) -> Path:
    """The user's own file."""
    home = Path.home()
    if shell == "fish":
        base = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
    else:
        base = Path(os.environ.get("XDG_DATA_HOME") or home / ".local" / "share")
    return base / _PLACES[shell].own


def _next_step(shell: str, directory: Path, all_users: bool) -> str:
    if shell == "zsh" and not all_users:
        return f"To use it, put this line into ~/.zshrc, before compinit, and start a new shell: fpath=({directory} $fpath)"
    if shell == "bash":
        return "To use it, start a new shell. It needs the package bash-completion."
    return "To use it, start a new shell."
