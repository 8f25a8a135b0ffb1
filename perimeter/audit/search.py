"""Searches audit logs from their ends backwards: for the operator's page, in a thread.

A question reads at most `MOST_READ` bytes, takes at most `LONGEST` seconds and finds at most `MOST_LINES` lines. What is left is
searched by another question, with the cursor of the answer. Lines are looked at only if they contain the text that was asked
for, and the thread pauses in between, so that the reactor thread never waits long for the interpreter.

Compressed files (`.gz`, `.bz2`, `.xz`) cannot be read backwards: their lines come in parts from the beginning of the file.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Final

import attrs

from perimeter.audit.files import UNREADABLE, is_compressed, log_files, opened, pass_over, why_unreadable
from perimeter.audit.reading import Line, parse_line
from perimeter.audit.wanted import Wanted, candidates

BLOCK: Final = 32 * 1024
"""Bytes that are read and searched between two pauses."""

MOST_READ: Final = 64 * 1024 * 1024
"""Bytes that one question reads, after decompression."""

LONGEST: Final = 2.0
"""Seconds that one question takes."""

MOST_LINES: Final = 200
"""Lines in one answer."""

#: Lines that are looked at between two pauses (some 5 µs each), and the seconds of a pause: the reactor thread, which needs the
#: interpreter again after each of its system calls, waits for a tenth of a millisecond.
_SLICE = 20
_PAUSE = 0.0002
#: Longer lines are left out; the gateway writes none (`perimeter.config.site.limits`).
_LONGEST_LINE = 1024 * 1024
#: After this many successive lines from before the wanted time, all further lines are taken to be older. One older line is not
#: enough: the line of a tunnel has the time when the tunnel began.
_OLD_ENOUGH = 10_000
#: Bytes of the content of a compressed file that a question passes over, which takes about a second.
_MOST_SKIPPED = 256 * 1024 * 1024


@attrs.frozen
class Hit:
    """A line that was found: its parts, and the whole of it, escaped as in the file and without its newline."""

    line: Line
    text: str


@attrs.frozen
class Answer:
    """The lines that were found, in general the newest first. ``cursor`` goes on with the search; "" if there is no more.

    ``read`` is how many bytes were read. ``remarks`` name the files that could not be searched, and why.
    """

    hits: tuple[Hit, ...]
    cursor: str
    read: int
    remarks: tuple[str, ...]


class StaleCursor(ValueError):
    """The file that a cursor names is gone: the search has to begin again."""


def search(path: Path, wanted: Wanted, cursor: str = "", seconds: Callable[[], float] = time.monotonic) -> Answer:
    """The lines of the log ``path`` and its old files that match ``wanted``. Blocks: for a thread.

    Raises `StaleCursor`, and OSError if the directory of the log cannot be read.
    """
    return search_files(log_files(path), wanted, cursor, seconds)


def search_files(
    files: Sequence[Path], wanted: Wanted, cursor: str = "", seconds: Callable[[], float] = time.monotonic
) -> Answer:
    """`search` of ``files``, the newest first. Raises `StaleCursor`."""
    return _Search(wanted, seconds).run(files, cursor)


class _Over(Exception):
    """The question has read, taken or found enough."""


class _Search:
    """One question."""

    def __init__(self, wanted: Wanted, seconds: Callable[[], float]) -> None:
        self._wanted = wanted
        self._needles = wanted.needles()
        self._seconds = seconds
        self._end = seconds() + LONGEST
        self._hits: list[Hit] = []
        self._remarks: list[str] = []
        self._read = 0
        self._looked_at = 0
        self._older = 0
        #: where to go on: the inode of a file, and how much of it is still to be searched (or, if compressed, was searched)
        self._cursor = ""

    def run(self, files: Sequence[Path], cursor: str) -> Answer:
        try:
            for path, place in _from(files, cursor):
                self._file(path, place)
            self._cursor = ""
        except _Over:
            pass
        return Answer(tuple(self._hits), self._cursor, self._read, tuple(self._remarks))

    def _file(self, path: Path, place: int | None) -> None:
        try:
            found = path.stat()
            if self._wanted.since is not None and found.st_mtime < self._wanted.since:
                return
            if is_compressed(path):
                with opened(path) as content:
                    self._forwards(path, content.file, found.st_ino, place or 0)
            else:
                with path.open("rb") as file:
                    self._backwards(file, found.st_ino, found.st_size if place is None else min(place, found.st_size))
        except UNREADABLE as error:
            self._remarks.append(f"{path}: {why_unreadable(error)}")

    # -- a file that is not compressed

    def _backwards(self, file: IO[bytes], inode: int, end: int) -> None:
        """Search from the offset ``end`` to the start. What follows the last newline is still being written."""
        rest = b""
        while end:
            self._cursor = f"{inode}:{end + len(rest)}"
            self._check()
            start = max(0, end - BLOCK)
            file.seek(start)
            block = file.read(end - start) + rest
            self._read += end - start
            whole = 0 if not start else block.find(b"\n") + 1
            if start and not whole and len(block) > _LONGEST_LINE:
                block, whole = b"", 0
            lines = block[whole:] if whole or not start else b""
            for at, line in reversed(list(candidates(lines, self._needles))):
                self._look_at(line, f"{inode}:{start + whole + at}")
            rest = block[:whole] if whole else block if start else b""
            end = start

    # -- a compressed file

    def _forwards(self, path: Path, file: IO[bytes], inode: int, place: int) -> None:
        """Search from the offset ``place`` of the content to the end. What was found last comes first in the answer."""
        self._cursor = f"{inode}:{place}"
        if place > _MOST_SKIPPED:
            self._remarks.append(f"{path}: the rest is not searched, because the file is too large for a compressed one")
            return
        pass_over(file, place)
        rest, before = b"", len(self._hits)
        try:
            while True:
                self._check()
                data = file.read(BLOCK)
                if not data:
                    return
                self._read += len(data)
                block = rest + data
                whole = block.rfind(b"\n") + 1
                for at, line in candidates(block[:whole], self._needles):
                    self._look_at(line, f"{inode}:{place + at + len(line) + 1}")
                place += whole
                self._cursor = f"{inode}:{place}"
                rest = block[whole:]
                if len(rest) > _LONGEST_LINE:
                    place += len(rest)
                    rest = b""
        finally:
            self._hits[before:] = reversed(self._hits[before:])

    # -- lines

    def _look_at(self, text: bytes, place: str) -> None:
        self._looked_at += 1
        if not self._looked_at % _SLICE:
            self._check()
        line = parse_line(text)
        if line is None:
            return
        since = self._wanted.since
        self._older = self._older + 1 if since is not None and line.time.timestamp() < since else 0
        if self._wanted.matches(line):
            self._hits.append(Hit(line, text.decode("utf-8", "backslashreplace")))
            self._cursor = place
            if len(self._hits) == MOST_LINES:
                raise _Over

    def _check(self) -> None:
        time.sleep(_PAUSE)
        if self._older >= _OLD_ENOUGH:
            self._cursor = ""
            raise _Over
        if self._read >= MOST_READ or self._seconds() >= self._end:
            raise _Over


def _from(files: Iterable[Path], cursor: str) -> Iterator[tuple[Path, int | None]]:
    """The files to search, each with the place to begin at (None: where it always begins)."""
    if not cursor:
        for path in files:
            yield path, None
        return
    inode, _, place = cursor.partition(":")
    if not (inode.isascii() and inode.isdecimal() and place.isascii() and place.isdecimal() and len(cursor) < 64):
        raise StaleCursor("not a cursor")
    rest = list(files)
    while rest:
        path = rest.pop(0)
        try:
            if path.stat().st_ino == int(inode):
                yield path, int(place)
                yield from ((other, None) for other in rest)
                return
        except FileNotFoundError:
            continue
    raise StaleCursor("the file is gone")
