"""The text of a site.ini as sections and options, each with its line.

The grammar is that of `configparser.RawConfigParser` with interpolation off and ``;`` and ``#`` as inline comment prefixes (a
property test compares the two). It is scanned here because configparser keeps no line numbers and stops at
the first fault. What the names and values mean is left to `perimeter.config.language.section`.
"""

from __future__ import annotations

import io
import re

import attrs

_COMMENT = re.compile(r"(?:^|(?<=\s))[;#]")
_HEADER = re.compile(r"\[([^\]]+)\]$")
_OPTION = re.compile(r"(.*?)\s*[=:]\s*(.*)$")
# No configuration needs control characters, and they would appear in headers, logs and file names.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")


@attrs.frozen
class ScannedOption:
    """An option as written: its name in lower case, and the rows of its value with their line numbers.

    ``cut`` has the lines of those rows from which a comment was removed. ``columns`` are the columns in which the texts of the
    rows begin, counted from 1.
    """

    name: str
    line: int
    rows: tuple[tuple[int, str], ...]
    cut: frozenset[int] = frozenset()
    columns: tuple[int, ...] = ()

    @property
    def value(self) -> str:
        """The value as configparser gives it: rows joined by newlines."""
        return "\n".join(text for _, text in self.rows).rstrip()

    def place(self, offset: int) -> tuple[int, int]:
        """Line and column in the file of the character at ``offset`` of `value`; the column is 0 if it is not known."""
        row = self.value.count("\n", 0, offset)
        start = self.value.rfind("\n", 0, offset) + 1
        column = self.columns[row] + offset - start if row < len(self.columns) else 0
        return self.rows[row][0], column


@attrs.frozen
class ScannedSection:
    """A section as written. ``header`` is the text between the brackets, with its white space reduced to single blanks."""

    header: str
    line: int
    options: tuple[ScannedOption, ...]


@attrs.frozen
class Fault:
    """A violation of the grammar. It does not contain the text of the line, which may be a secret."""

    line: int
    section: str
    option: str
    message: str


class _Scan:
    """The state of one pass over the lines."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        #: name -> line and rows of an option; a row is its line, its text, and the column where that begins
        self.sections: list[tuple[str, int, dict[str, tuple[int, list[tuple[int, str, int]]]]]] = []
        self.seen: dict[str, int] = {}
        self.header = ""
        #: the rows of the option that a continuation line belongs to; those of a faulty one are collected and dropped
        self.rows: list[tuple[int, str, int]] | None = None
        self.indent = 0
        #: the lines in which a comment follows other text
        self.cut: set[int] = set()

    def fault(self, line: int, message: str, option: str = "") -> None:
        self.faults.append(Fault(line, self.header, option, message))

    def line(self, number: int, line: str) -> None:
        comment = _COMMENT.search(line)
        text = (line[: comment.start()] if comment else line).strip()
        if not text:
            if comment is None and self.rows is not None:
                self.rows.append((number, "", 0))
            return
        if comment:
            self.cut.add(number)
        if _CONTROL.search(text):
            self.fault(number, "there is a control character in this line")
        indent = len(line) - len(line.lstrip())
        if self.rows is not None and indent > self.indent:
            self.rows.append((number, text, indent + 1))
            return
        self.indent = indent
        if text.startswith("["):
            self._header(number, text)
        else:
            self._option(number, text, indent)

    def _header(self, number: int, text: str) -> None:
        self.rows = None
        match = _HEADER.match(text)
        self.header = " ".join(match[1].split()) if match else ""
        if not self.header:
            self.fault(number, "a section is written [kind] or [kind name], alone on its line")
        elif self.header in self.seen:
            self.fault(number, f"this section already begins in line {self.seen[self.header]}")
        self.seen.setdefault(self.header, number)
        self.sections.append((self.header, number, {}))

    def _option(self, number: int, text: str, indent: int) -> None:
        rows: list[tuple[int, str, int]] = []
        self.rows = rows
        match = _OPTION.match(text)
        if not self.sections:
            self.rows = None
            if not self.faults:
                self.fault(number, "the file must begin with a [section]")
            return
        if match is None or not match[1]:
            self.fault(number, "this line is neither a [section] nor an option = value")
            return
        name = match[1].lower()
        rows.append((number, match[2].strip(), indent + match.start(2) + 1))
        options = self.sections[-1][2]
        if name in options:
            self.fault(number, f"this option is already set in line {options[name][0]}", name)
            return
        options[name] = (number, rows)


def scan(text: str) -> tuple[list[ScannedSection], list[Fault]]:
    """The sections of ``text`` in order, and every fault of its grammar.

    A section that was begun twice is there twice, so that the options of both can be judged.
    """
    state = _Scan()
    for number, line in enumerate(io.StringIO(text, newline=None), start=1):
        state.line(number, line)
    sections = [
        ScannedSection(
            header,
            line,
            tuple(
                ScannedOption(
                    name,
                    number,
                    tuple((row, text) for row, text, _ in rows),
                    frozenset(row for row, _, _ in rows if row in state.cut),
                    tuple(column for _, _, column in rows),
                )
                for name, (number, rows) in options.items()
            ),
        )
        for header, line, options in state.sections
        if header
    ]
    return sections, state.faults
