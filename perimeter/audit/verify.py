"""Checks the lines of audit logs: whole, torn, or written by another program. Bounded memory. Blocks.

The gateway writes whole lines. A line may be torn if the machine lost its power, or the disk was full. The gateway escapes all
control characters, so it has not written a line that has one.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Final

import attrs

from perimeter.audit.files import UNREADABLE, why_unreadable
from perimeter.audit.forward import Forward
from perimeter.audit.reading import parse_line

MOST_PLACES: Final = 20
"""The number of odd lines of a file whose line numbers are kept."""

_CONTROL = re.compile(rb"[\x00-\x09\x0b-\x1f\x7f]")
_BEGINNING = re.compile(rb'\{"|\S+ (?:- )?\S+ \[')


class Oddity(StrEnum):
    """The faults of a line."""

    TORN = "torn"
    UNKNOWN = "unknown"
    CONTROL = "control characters"
    EMPTY = "empty"
    TOO_LONG = "too long"


@attrs.define
class Verdict:
    """The result for one file. ``places`` are the numbers of the first odd lines, and their faults.

    ``open_end``: the file ends without a newline, so its last line is torn, or is being written. ``fault`` is the reason why the
    file, or its rest, could not be read, otherwise "".
    """

    path: Path
    lines: int = 0
    good: int = 0
    odd: dict[Oddity, int] = attrs.field(factory=dict)
    places: list[tuple[int, Oddity]] = attrs.field(factory=list)
    open_end: bool = False
    fault: str = ""

    @property
    def clean(self) -> bool:
        """Whether the file has only lines of the gateway, which writes an empty one after a line that may be torn."""
        return not (self.odd.keys() - {Oddity.EMPTY}) and not self.fault

    def note(self, oddity: Oddity, count: int = 1) -> None:
        """Count odd lines, of which the first is line ``lines``."""
        self.odd[oddity] = self.odd.get(oddity, 0) + count
        if len(self.places) < MOST_PLACES:
            self.places.append((self.lines, oddity))


def judged(line: bytes) -> Oddity | None:
    """The fault of a line (without its newline); None if the gateway writes such lines."""
    if not line:
        return Oddity.EMPTY
    if _CONTROL.search(line):
        return Oddity.CONTROL
    if parse_line(line) is not None:
        return None
    return Oddity.TORN if _BEGINNING.match(line) else Oddity.UNKNOWN


def verify(path: Path, progress: Callable[[int], object] = lambda done: None, *, last: bool = True) -> Verdict:
    """Look at each line of a file. ``progress`` is called with the bytes that were read. Does not raise.

    Without ``last``, the file is an old one, which has no writer: a last line without a newline is torn.
    """
    verdict, reader, too_long = Verdict(path), Forward(path), 0
    try:
        for block in reader.blocks():
            progress(reader.done)
            _too_long(verdict, reader.too_long - too_long)
            too_long = reader.too_long
            _block(verdict, block)
    except UNREADABLE as error:
        verdict.fault = why_unreadable(error)
    _too_long(verdict, reader.too_long - too_long)
    if reader.rest:
        verdict.open_end = True
        if not last:
            verdict.lines += 1
            verdict.note(Oddity.TORN)
    return verdict


def _too_long(verdict: Verdict, count: int) -> None:
    if count:
        verdict.lines += count
        verdict.note(Oddity.TOO_LONG, count)


def _block(verdict: Verdict, block: bytes) -> None:
    if not block.strip(b"\n"):  # many empty lines take no longer than a few
        verdict.lines += 1
        verdict.note(Oddity.EMPTY, len(block))
        verdict.lines += len(block) - 1
        return
    for line in block[:-1].split(b"\n"):
        verdict.lines += 1
        oddity = judged(line)
        if oddity is None:
            verdict.good += 1
        else:
            verdict.note(oddity)
