"""The man pages, made from the help of the commands: ``python -m perimeter.cli.man docs/man``.

A test compares the pages with the output of this module. click-man is not used: its pages have the date of the day, and no
section on exit statuses, files and the environment.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from perimeter.cli.commands import Entry
from perimeter.cli.described import Described, described, every_command
from perimeter.cli.examples import EXAMPLES
from perimeter.cli.exits import MEANINGS
from perimeter.cli.main import main
from perimeter.cli.site import DEFAULT, VARIABLE

_FILES = (
    (str(DEFAULT), "The configuration, unless -c FILE or the environment names another one."),
    ("STATE_DIR/control", "The socket on which the running gateway answers commands. Only its own user and root may use it."),
)
_SIGNALS = (
    ("SIGHUP", "Load the configuration, as perimeter reload does. A file with a fault changes nothing."),
    ("SIGUSR1", "Open the audit logs again, after you have moved the files yourself."),
    ("SIGUSR2", "Upgrade, as perimeter upgrade does."),
    ("SIGTERM, SIGINT", "Stop, as perimeter stop does. A second signal cuts open requests off."),
)


def pages() -> dict[str, str]:
    """The text of each page by the name of its file."""
    found = {"perimeter.1": _main_page()}
    for _, commands in every_command(main):
        for entry, command in commands:
            found[f"perimeter-{entry.name}.1"] = _page(entry, command)
    return found


def _main_page() -> str:
    whole = described(main, "perimeter")
    lines = [*_head("perimeter", "run and operate a Perimeter gateway"), *_synopsis(whole), ".SH DESCRIPTION"]
    lines += _paragraphs(whole.paragraphs)
    lines.append(".SH COMMANDS")
    for heading, commands in every_command(main):
        lines += [f".SS {_text(heading)}", *_terms((f"perimeter {entry.name}", entry.help) for entry, _ in commands)]
    lines += [".SH OPTIONS", *_terms(whole.options)]
    lines += [".SH ENVIRONMENT", *_terms([(VARIABLE, "The configuration, unless -c FILE names another one.")])]
    lines += [".SH FILES", *_terms(_FILES), ".SH SIGNALS", *_terms(_SIGNALS), *_statuses()]
    names = [f"perimeter-{entry.name}" for _, commands in every_command(main) for entry, _ in commands]
    lines += [".SH SEE ALSO", *_see(*names)]
    return _joined(lines)


def _page(entry: Entry, command: Described) -> str:
    lines = [*_head(f"perimeter-{entry.name}", _lower(entry.help.removesuffix("."))), *_synopsis(command), ".SH DESCRIPTION"]
    lines += _paragraphs(command.paragraphs)
    if command.options:
        lines += [".SH OPTIONS", *_terms(command.options)]
    if command.commands:
        lines.append(".SH COMMANDS")
        for below in command.commands:
            lines += [f".SS {_text(below.name)} {_text(below.usage)}", *_paragraphs(below.paragraphs), *_terms(below.options)]
    if entry.name in EXAMPLES:
        lines.append(".SH EXAMPLES")
        lines += [line for example in EXAMPLES[entry.name] for line in (".PP", ".EX", _text(example), ".EE")]
    return _joined([*lines, *_statuses(), ".SH SEE ALSO", *_see("perimeter")])


def _head(name: str, summary: str) -> list[str]:
    return [
        '.\\" Made by python -m perimeter.cli.man docs/man from the help of the commands',
        f'.TH {_text(name.upper())} 1 "" Perimeter "User Commands"',
        ".SH NAME",
        f"{_text(name)} \\- {_text(summary)}",
    ]


def _synopsis(command: Described) -> list[str]:
    return [".SH SYNOPSIS", f"\\fB{_text(command.name)}\\fR {_text(command.usage)}"]


def _paragraphs(paragraphs: Iterable[str]) -> Iterator[str]:
    for one in paragraphs:
        yield from (".PP", _text(one))


def _terms(pairs: Iterable[tuple[str, str]]) -> Iterator[str]:
    for term, meaning in pairs:
        yield from (".TP", f"\\fB{_text(term)}\\fR", _text(meaning))


def _statuses() -> list[str]:
    return [".SH EXIT STATUS", *_terms((str(int(status)), meaning) for status, meaning in MEANINGS.items())]


def _see(*names: str) -> list[str]:
    return [", ".join(f"\\fB{_text(name)}\\fR(1)" for name in names)]


def _lower(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]


def _text(text: str) -> str:
    """``text`` for roff: no character of it is an instruction."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace("…", "...")
    return f"\\&{escaped}" if escaped.startswith((".", "'")) else escaped


def _joined(lines: Iterable[str]) -> str:
    return "\n".join(lines) + "\n"


def write(directory: Path) -> None:
    """Write all pages into ``directory``, and remove those of commands that are gone."""
    directory.mkdir(parents=True, exist_ok=True)
    made = pages()
    for path in directory.glob("*.1"):
        if path.name not in made:
            path.unlink()
    for name, text in made.items():
        (directory / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
