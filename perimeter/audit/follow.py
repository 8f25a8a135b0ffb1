"""Follows an audit log that is being written, also after rolls, as ``tail -F`` does. Never blocks for long."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import attrs

from perimeter.audit.files import is_compressed, log_files
from perimeter.audit.forward import BLOCK, LONGEST_LINE

LINGER: Final = 3.0
"""Seconds for which a rolled file is still read: a process that has not noticed the roll may write to it for a second."""


@attrs.define
class _Open:
    """A file that is read. ``at`` is the offset of the next read; ``until`` is when to close it, None for the present file."""

    file: io.FileIO
    inode: int
    at: int
    rest: bytes = b""
    dropping: bool = False
    until: float | None = None


class Followed:
    """The log at ``path``. It need not exist yet."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._files: list[_Open] = []
        #: the inodes of known files: files that existed at the beginning, and files that were opened
        self._known: set[int] = set()

    def begin(self) -> str:
        """Begin after the last line that is whole now. Returns a cursor for `perimeter.audit.search`, for the lines before.

        The cursor is "" if there is no file.
        """
        self._known.update(inode for _, inode in self._uncompressed())
        opened = self._open(self.path, at_end=True)
        return "" if opened is None else f"{opened.inode}:{opened.at}"

    def lines(self, now: float) -> Iterator[bytes]:
        """The lines that are new and whole, with their newlines. ``now`` is in seconds of any clock."""
        self._look(now)
        for one in list(self._files):
            yield from self._read(one)
            if one.until is not None and now >= one.until:
                one.file.close()
                self._files.remove(one)

    def close(self) -> None:
        """Close the files."""
        for one in self._files:
            one.file.close()
        self._files.clear()

    def _look(self, now: float) -> None:
        """Open the file that is at the path now, if it is a new one, and close the earlier one soon."""
        try:
            inode = os.stat(self.path).st_ino
        except OSError:
            return  # between a roll and the next line
        present = next((one for one in self._files if one.until is None), None)
        if present is not None and present.inode == inode:
            return
        if present is not None:
            present.until = now + LINGER
            for path, between in self._uncompressed():  # several rolls since the last look
                if between not in self._known and between != inode and (opened := self._open(path)) is not None:
                    opened.until = now + LINGER
        self._open(self.path)

    def _uncompressed(self) -> list[tuple[Path, int]]:
        """The log and its old files, the oldest first, with their inodes."""
        try:
            return [(path, path.stat().st_ino) for path in log_files(self.path)[::-1] if not is_compressed(path)]
        except OSError:
            return []  # rolled at this moment: the next look finds them

    def _open(self, path: Path, *, at_end: bool = False) -> _Open | None:
        try:
            if not stat.S_ISREG(os.stat(path).st_mode):
                return None  # other programs read a pipe, such as /dev/stdout
            file = io.FileIO(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
        except OSError:
            return None
        status = os.fstat(file.fileno())
        opened = _Open(file, status.st_ino, _last_line_end(file, status.st_size) if at_end else 0)
        self._files.append(opened)
        self._known.add(opened.inode)
        return opened

    def _read(self, one: _Open) -> Iterator[bytes]:
        size = os.fstat(one.file.fileno()).st_size
        if size < one.at:  # copied and truncated (logrotate's copytruncate)
            one.at, one.rest, one.dropping = 0, b"", False
        while one.at < size:
            one.file.seek(one.at)
            data = one.file.read(min(BLOCK, size - one.at))
            if not data:
                return
            one.at += len(data)
            *lines, one.rest = (one.rest + data).split(b"\n")
            if lines and one.dropping:
                del lines[0]
                one.dropping = False
            if len(one.rest) > LONGEST_LINE:
                one.rest, one.dropping = b"", True
            for line in lines:
                yield line + b"\n"


def _last_line_end(file: io.FileIO, size: int) -> int:
    """The offset after the last newline. A line that has no end within `LONGEST_LINE` counts as none."""
    end = size
    while end > max(0, size - LONGEST_LINE):
        start = max(0, end - BLOCK)
        file.seek(start)
        found = file.read(end - start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return size if end else 0
