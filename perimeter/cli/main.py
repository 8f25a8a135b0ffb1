"""The ``perimeter`` command. Its subcommands are those of `perimeter.cli.commands`, each imported when it is used."""

from __future__ import annotations

import gc
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

import click

import perimeter
from perimeter.cli.commands import COMMANDS, find

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


_OBJECTS: Final = 50_000
"""New objects before the collector looks for garbage. With Python's default, imports take a tenth longer."""


class Subcommands(click.Group):
    """The group of all subcommands."""

    def main(self, *args: Any, **extra: Any) -> Any:
        """Run a command, as click does, with fewer garbage collections."""
        before = gc.get_threshold()
        gc.set_threshold(_OBJECTS, *before[1:])
        try:
            return super().main(*args, **extra)
        finally:
            gc.set_threshold(*before)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in the order of the help."""
        return [entry.name for entries in COMMANDS.values() for entry in entries]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a subcommand."""
        entry = find(cmd_name)
        if entry is None:
            return None
        command = getattr(import_module(f"perimeter.cli.{entry.module}"), entry.attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list in the help: made from the table, without importing a subcommand."""
        for heading, entries in COMMANDS.items():
            with formatter.section(heading):
                formatter.write_dl([(entry.name, entry.help) for entry in entries], col_max=13)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """The subcommand that the arguments begin with. The error for an unknown one has the closest name."""
        name = args[0]
        if find(name) is None and not name.startswith("-") and not ctx.resilient_parsing:
            from difflib import get_close_matches

            near = get_close_matches(name, self.list_commands(ctx), 1)
            hint = f"did you mean {near[0]}?" if near else "perimeter --help lists the commands."
            ctx.fail(f"There is no command {name!r}: {hint}")
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """The subcommands and options that begin with ``incomplete``, for a shell. Imports no subcommand."""
        from click.shell_completion import CompletionItem

        found = [entry for entries in COMMANDS.values() for entry in entries if entry.name.startswith(incomplete)]
        options = click.Command.shell_complete(self, ctx, incomplete)
        return [*(CompletionItem(entry.name, help=entry.help) for entry in found), *options]


@click.group(cls=Subcommands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(perimeter.__version__, prog_name="perimeter")
def main() -> None:
    """Run and operate a Perimeter gateway.

    Commands find the configuration by -c FILE, else by the environment variable PERIMETER_CONFIG, else it is
    /etc/perimeter/site.ini. "perimeter COMMAND --help" shows the options of a command.
    """
