"""The help of a command, as a value: the source of the reference page (`perimeter.cli.manual`) and of the man pages
(`perimeter.cli.man`)."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import attrs
import click

from perimeter.cli.commands import COMMANDS, Entry


@attrs.frozen
class Described:
    """A command. ``name`` is the whole name (``perimeter token list``), ``usage`` its arguments.

    ``paragraphs`` are those of its help; ``options`` are pairs of a spelling (with its value) and a help text; ``commands`` are
    its subcommands.
    """

    name: str
    usage: str
    paragraphs: tuple[str, ...]
    options: tuple[tuple[str, str], ...]
    commands: tuple[Described, ...] = ()


def described(command: click.Command, name: str) -> Described:
    """The description of a command and its subcommands."""
    context = click.Context(command, info_name=name)
    pieces = [piece for piece in command.collect_usage_pieces(context) if piece and piece != "COMMAND [ARGS]..."]
    subcommands: tuple[Described, ...] = ()
    if isinstance(command, click.Group):
        pieces.append("COMMAND …")
        names = command.list_commands(context)
        found = [(one, command.get_command(context, one)) for one in names]
        subcommands = tuple(described(below, f"{name} {one}") for one, below in found if below is not None and not below.hidden)
    paragraphs = inspect.cleandoc(command.help or "").split("\n\n")
    return Described(
        name,
        " ".join(pieces),
        tuple(" ".join(one.split()) for one in paragraphs),
        tuple(_options(command, context)),
        subcommands,
    )


def _options(command: click.Command, context: click.Context) -> Iterator[tuple[str, str]]:
    for option in command.get_params(context):
        record = option.get_help_record(context) if isinstance(option, click.Option) else None
        if record is not None and "--help" not in record[0]:
            yield record[0], " ".join(record[1].split())


def every_command(main: click.Group) -> list[tuple[str, list[tuple[Entry, Described]]]]:
    """All subcommands of ``perimeter`` under the headings of the table."""
    context = click.Context(main)
    found = []
    for heading, entries in COMMANDS.items():
        below = []
        for entry in entries:
            command = main.get_command(context, entry.name)
            assert command is not None
            below.append((entry, described(command, f"perimeter {entry.name}")))
        found.append((heading, below))
    return found
