"""Searches audit logs from their ends backwards: for the operator's page, in a thread.

A question reads at most `MOST_READ` bytes, takes at most `LONGEST` seconds and finds at most `MOST_LINES` lines. What is left is
searched by another question, with the cursor of the answer. Lines are looked at only if they contain the text that was asked
for, and the thread pauses in between, so that the reactor thread never waits long for the interpreter.

Compressed files (`.gz`, `.bz2`, `.xz`) cannot be read backwards: their lines come in parts from the beginning of the file.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from json.encoder import encode_basestring_ascii as quote
from pathlib import Path
from typing import IO, Any, Final

import attrs

from perimeter.audit.escaping import escape_text
from perimeter.audit.formats import user_column
from perimeter.audit.reading import Line, parse_line
from perimeter.descriptors import system_reason

BLOCK: Final = 32 * 1024
"""Bytes that are read at a time. Between two pauses no more are looked through."""

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
#: After so many successive lines from before the wanted time, all further lines are older. One older line is no proof: the line
#: of a tunnel has the time when the tunnel began.
_OLD_ENOUGH = 10_000
#: Bytes of the content of a compressed file that a question passes over, which takes about a second.
_MOST_SKIPPED = 256 * 1024 * 1024
_OPENERS: dict[str, Callable[[Path], Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}


@attrs.frozen
class Wanted:
    """What a line must have. An empty value, or None, stands for any.

    ``user`` is a user's name (``-``: no user), also that of a login that failed; ``path`` is how the target begins; ``status`` is
    a number, or a class like ``4xx``; ``reason`` is a code; times are epoch seconds.
    """

    user: str = ""
    path: str = ""
    status: str = ""
    reason: str = ""
    since: float | None = None
    until: float | None = None

    def matches(self, line: Line) -> bool:
        """Whether ``line`` has it all."""
        if self.user and _column(self.user) not in (line.user, line.attempted):
            return False
        if self.path and not line.target.startswith((self.path, escape_text(self.path).decode())):
            return False
        if self.status and line.status != self.status and not (self.status[1:] == "xx" and line.status[0] == self.status[0]):
            return False
        if self.reason and line.reason != self.reason:
            return False
        moment = line.time.timestamp()
        return (self.since is None or moment >= self.since) and (self.until is None or moment < self.until)

    def needles(self) -> tuple[bytes, ...]:
        """Texts of which each line that matches has one, in any of the formats; () if any line may match."""
        if self.user:
            if self.user == "-":
                return b'"user":null', b" - ["
            name = quote(self.user).encode("ascii")
            return b'"user":' + name, b'"attempted_user":' + name, b" " + user_column(self.user) + b" ["
        if self.reason:
            return (b'"reason":' + quote(self.reason).encode("ascii"),)
        if self.path:
            return b'"target":' + quote(self.path).encode("ascii")[:-1], b" " + escape_text(self.path)
        if self.status:
            digits = self.status.removesuffix("xx").encode("ascii", "replace")
            return b'"status":' + digits, b'" ' + digits
        return ()


def _column(user: str) -> bytes:
    return user_column(None if user == "-" else user)


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


def log_files(path: Path) -> list[Path]:
    """The audit log ``path`` and its old files, the newest first: those that the gateway or logrotate has made."""
    pattern = re.compile(re.escape(path.name) + r"(?:[.-][0-9][0-9.-]*)?(?:\.(?:gz|bz2|xz|zst))?")
    found: list[tuple[float, Path]] = []
    for entry in os.scandir(path.parent):
        if pattern.fullmatch(entry.name) and entry.is_file():
            found.append((float("inf") if entry.name == path.name else entry.stat().st_mtime, Path(entry.path)))
    return [file for _, file in sorted(found, key=lambda one: (-one[0], one[1]))]


def search(path: Path, wanted: Wanted, cursor: str = "", seconds: Callable[[], float] = time.monotonic) -> Answer:
    """The lines of the log ``path`` and its old files that match ``wanted``. Blocks: for a thread.

    Raises `StaleCursor`, and OSError if the directory of the log cannot be read.
    """
    return _Search(wanted, seconds).run(log_files(path), cursor)


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
            opener = _OPENERS.get(path.suffix)
            if path.suffix == ".zst":
                self._remarks.append(f"{path}: cannot be searched, because it is compressed with zstd")
            elif opener is None:
                with path.open("rb") as file:
                    self._backwards(file, found.st_ino, found.st_size if place is None else min(place, found.st_size))
            else:
                with opener(path) as file:
                    self._forwards(path, file, found.st_ino, place or 0)
        except (OSError, EOFError, lzma.LZMAError) as error:
            self._remarks.append(f"{path}: {system_reason(error) if isinstance(error, OSError) else 'is damaged'}")

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
            for at, line in reversed(list(self._candidates(lines))):
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
        file.seek(place)
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
                for at, line in self._candidates(block[:whole]):
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

    def _candidates(self, lines: bytes) -> Iterator[tuple[int, bytes]]:
        """The lines that may match, in their order: where each begins, and its text without the newline."""
        if not self._needles:
            at = 0
            for line in lines.splitlines(keepends=True):
                if line.endswith(b"\n"):
                    yield at, line[:-1]
                at += len(line)
            return
        for start in sorted({begin for needle in self._needles for begin in _lines_with(needle, lines)}):
            end = lines.find(b"\n", start)
            if end >= 0:
                yield start, lines[start:end]

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


def _lines_with(needle: bytes, lines: bytes) -> Iterator[int]:
    """Where the lines begin that contain ``needle``."""
    at = lines.find(needle)
    while at >= 0:
        yield lines.rfind(b"\n", 0, at) + 1
        end = lines.find(b"\n", at)
        at = lines.find(needle, end) if end >= 0 else -1


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


def at(text: str) -> float | None:
    """The epoch seconds of a time like ``2026-11-22``, ``2026-11-22T13:30`` or ``…+01:00`` (UTC without zone).

    None for "". Raises ValueError and OverflowError.
    """
    if not text:
        return None
    moment = datetime.fromisoformat(text)
    return (moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment).timestamp()
