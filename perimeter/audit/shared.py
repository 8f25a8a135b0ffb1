"""A file to which several worker processes append lines at the same time.

Linux appends each ``write(2)`` to a regular file as a whole, so lines of several writers do not mix. The differences to
`perimeter.audit.rolling`:

* One process rolls the file, under a lock (``flock`` on ``access.log.lock``). The others find the new file before they write
  their first line of the next day, and otherwise within a second. Until then they write their lines to the old file, where lines
  of that time belong. A file that is rolled by size may exceed the limit, by at most a 64th of the limit for each process.
* An incomplete line (the disk is full) is not removed, because another process may have written after it. The process ends it
  with a newline, and writes the whole line as soon as this is possible. It informs the other processes that the file ends in an
  incomplete line, so that they begin with a newline. Readers skip incomplete lines.
* A pipe takes `select.PIPE_BUF` bytes of a write as a whole, and may take a part of a longer one. Each write to a pipe is made
  under a lock on the pipe itself, so that no other line comes between its parts.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from perimeter.audit.old_files import day_bounds
from perimeter.audit.rolling import RollingFile, Unwritten
from perimeter.config.site.audit import Roll

LOCK_WAIT: Final = 0.25
"""Seconds for which a process waits while another one rolls the file. Then it continues with its present file."""

PIPE_WAIT: Final = 0.02
"""Seconds for which a process waits while another one writes to a pipe. Then its write fails."""

_LOCK_PAUSE: Final = 0.0005
_CHECKS: Final = 64
"""After each such part of the largest size, a process reads the size of the file, and whether another process has rolled it."""


class SharedFile(RollingFile):
    """A `RollingFile` with several writers. ``torn`` is called when this process has left an incomplete line at the end."""

    # an incomplete line that another process is writing is not torn
    _pauses: Sequence[float] = (0.0, 0.001, 0.005)

    def __init__(
        self, path: Path, roll: Roll | int, keep: int, seconds: Callable[[], float], torn: Callable[[], None] = lambda: None
    ) -> None:
        super().__init__(path, roll, keep, seconds)
        self._tell_torn = torn
        self._pipe = False

    def begin_anew(self) -> None:
        """Another process has left an incomplete line at the end of the file: the next write begins with a newline."""
        self._torn = True

    # -- writing

    def _attach(self, pauses: Sequence[float]) -> None:
        super()._attach(pauses)
        self._pipe = stat.S_ISFIFO(os.fstat(self._fd).st_mode)

    def write(self, lines: bytes) -> None:
        """See `RollingFile`."""
        if not self._pipe or self._fd < 0:
            super().write(lines)
            return
        try:
            _lock(self._fd, self._name, PIPE_WAIT)
        except OSError as error:
            self._failed(error)
            raise Unwritten(error, lines) from error
        try:
            super().write(lines)
        except Unwritten:
            if self._torn:
                self._tell_torn()
            raise
        finally:
            if self._fd >= 0:
                fcntl.flock(self._fd, fcntl.LOCK_UN)

    def _complete(self, lines: bytes, done: int) -> None:
        if self._pipe:
            super()._complete(lines, done)
            return
        whole = lines.rfind(b"\n", 0, done) + 1
        self._torn = done > whole
        self._mend(lines[whole:])

    def _mend(self, lines: bytes) -> None:
        """Write ``lines`` in one piece, after a newline if the file ends in an incomplete line."""
        if self._pipe:
            super()._mend(lines)
            return
        start = b"\n" if self._torn else b""
        done = 0
        try:
            done = os.write(self._fd, start + lines)
        except OSError as error:
            self._failed(error)
            problem = error
        else:
            self._size += done
            if done == len(start) + len(lines):
                self._torn = False
                return
            problem = OSError(errno.EIO, "only a part of the lines could be written")
        written = max(0, done - len(start))
        whole = lines.rfind(b"\n", 0, written) + 1
        if done >= len(start):
            self._torn = written > whole
        if self._torn:
            self._tell_torn()
        raise Unwritten(problem, lines[whole:])

    def _take_back(self, size: int) -> None:
        """Remove nothing from the file: another process may append to it at any time."""

    # -- rolling

    def _measured(self, size: int) -> None:
        super()._measured(size)
        if self._limit and self._regular:
            self._full_at = min(self._full_at, size + self._limit // _CHECKS)

    def _overflow(self, now: float, more: int) -> None:
        if self._is_moved():
            self._attach(self._pauses)
        elif self._size + more > self._limit:
            super()._overflow(now, more)

    def _roll(self, now: float) -> None:
        with self._locked() as marks:
            if self._is_moved():
                self._attach(self._pauses)
                if not self._due(now):
                    return
            today = day_bounds(now)
            if not self._limit and marks.first_day(self._identity) == today[0]:
                self._day = today  # its last line may seem to be of yesterday: the time of a file is a few milliseconds late
                return
            super()._roll(now)
            if not self._limit:
                marks.set_first_day(self._identity, today[0])

    @contextlib.contextmanager
    def _locked(self) -> Iterator[_Marks]:
        """Only one process is in this block. Raises OSError if another one is in it for too long."""
        fd = os.open(f"{self._name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            _lock(fd, self._name, LOCK_WAIT)
            yield _Marks(fd)
        finally:
            os.close(fd)


class _Marks:
    """The content of the lock file: the identity of a file, and the day on which its lines begin."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def first_day(self, identity: tuple[int, int]) -> float | None:
        """The first second of the day on which the lines of the file begin, or None if that is not known."""
        words = os.pread(self._fd, 100, 0).split()
        known = len(words) == 3 and words[:2] == [b"%d" % number for number in identity] and words[2].isdigit()
        return float(words[2]) if known else None

    def set_first_day(self, identity: tuple[int, int], day: float) -> None:
        """The lines of the file begin on ``day``."""
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, b"%d %d %d\n" % (*identity, day), 0)


def _lock(fd: int, name: str, wait: float) -> None:
    """Take the lock on ``fd``, or raise OSError after ``wait`` seconds."""
    end = time.monotonic() + wait
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= end:
                raise OSError(errno.EAGAIN, "another process has the lock for too long", name) from None
            time.sleep(_LOCK_PAUSE)
