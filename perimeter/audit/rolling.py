"""A file that lines are appended to. It is rolled by day or by size. A roll splits, overwrites and loses no line.

The names are those of logrotate. ``daily``: at local midnight ``access.log`` becomes ``access.log.2026-11-22``, where the date is
the day of its lines. If that name exists already (the clock was set back), it becomes ``access.log.2026-11-22.1`` and so on. By
size: ``access.log.1`` is the newest old file and ``access.log.KEEP`` the oldest. With a ``keep`` of 0 all old files are kept.

Each call does one ``write(2)`` with O_APPEND. As soon as `RollingFile.write` has returned, the line survives a crash of this
process (but not a power failure: nothing waits for the disk). Another process may move the file away at any time. This is
noticed within a second, or at once by `RollingFile.reopen`. `perimeter.audit.log` reports failed writes and keeps their lines.
This is the only I/O on the reactor thread: a record has to be written before its response is sent.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
from collections.abc import Callable, Sequence
from math import inf
from pathlib import Path

from twisted.logger import Logger

from perimeter.audit.old_files import OldFiles, day_bounds
from perimeter.config.site.audit import Roll

_log = Logger(namespace="perimeter.audit")

_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
_MODE = 0o640
#: seconds between two checks whether the file is still the one at its path, and whether its day is over
_LOOK = 1.0
#: seconds before each look at the end of a file that does not end in a whole line
_PAUSES = (0.0, 0.005, 0.02)


class Unwritten(Exception):
    """Writing failed. ``rest`` holds the lines that are not in the file, whole lines only. ``error`` is the reason.

    A part of a line that was written is removed again, if the file is a regular one.
    """

    def __init__(self, error: OSError, rest: bytes) -> None:
        super().__init__(str(error))
        self.error = error
        self.rest = rest


class RollingFile:
    """An append-only file and its old files. ``roll`` is `Roll.DAILY` or a size in bytes; ``seconds`` returns the time (epoch).

    The owner calls `open` first and `close` last. Not thread-safe. With several processes, see `perimeter.audit.shared`.
    """

    #: seconds before each look at the end of a file that is opened while others are in use
    _pauses: Sequence[float] = (0.0,)

    def __init__(self, path: Path, roll: Roll | int, keep: int, seconds: Callable[[], float]) -> None:
        self.path = path
        self._name = os.fspath(path)
        self._limit = 0 if roll is Roll.DAILY else roll
        self._old = OldFiles(path, bool(self._limit), keep)
        self._seconds = seconds
        self._fd = -1
        self._regular = True
        self._identity = (0, 0)
        self._size = 0
        #: a file that is larger is rolled
        self._full_at: float = inf
        #: the file ends in the middle of a line: the next write begins with a newline
        self._torn = False
        self._day = (0.0, 0.0)
        self._looked = self._next_look = 0.0
        self._rolling_fails = False
        self._failed_at = 0.0

    # -- opening and closing

    def open(self) -> None:
        """Open or create the file, and roll it if it is from an earlier day. Raises OSError.

        Takes up to 25 ms if the file ends in a torn line. At a reload it is called in a thread, while the configuration in force
        still writes to the file: an incomplete line that a process is writing does not count as torn.
        """
        self._attach(_PAUSES)
        now = self._seconds()
        if self._size and self._due(now):
            self._roll(now)
        if self._regular:
            self._old.prune()
        self._plan(now)

    def reopen(self) -> None:
        """Switch to the file that is at the path now. Raises OSError, and then keeps the old file open if there is one."""
        self._attach(self._pauses)
        self._plan(self._seconds())

    def close(self) -> None:
        """Close the file. `open` opens it again."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            with contextlib.suppress(OSError):
                os.close(fd)

    def _attach(self, pauses: Sequence[float]) -> None:
        try:
            fd = os.open(self._name, _FLAGS)
        except FileNotFoundError:
            fd = self._create()
        try:
            self._regular = stat.S_ISREG(os.fstat(fd).st_mode)
            if self._regular:  # a pipe cannot be read; it ends as this process has left it
                self._torn = self._ends_torn(fd, pauses)
            found = os.fstat(fd)
        except OSError:
            os.close(fd)
            raise
        self.close()
        self._fd = fd
        self._identity = (found.st_dev, found.st_ino)
        self._measured(found.st_size)
        # the gateway may have been down at midnight: the file belongs to the day of its last line
        self._day = day_bounds(found.st_mtime if found.st_size else self._seconds())

    def _create(self) -> int:
        try:
            fd = os.open(self._name, _FLAGS | os.O_CREAT | os.O_EXCL, _MODE)
        except FileExistsError:
            return os.open(self._name, _FLAGS)
        # a daemon's umask is usually 077; without this, the group of a log reader could not read the file
        with contextlib.suppress(OSError):
            os.fchmod(fd, _MODE)
        return fd

    def _ends_torn(self, fd: int, pauses: Sequence[float]) -> bool:
        """Whether the last line of the file is torn at each of several checks, with ``pauses`` (seconds) before the checks."""
        for pause in pauses:
            time.sleep(pause)
            found = os.fstat(fd)
            if not found.st_size or self._ends_in_newline(found):
                return False
        return True

    def _ends_in_newline(self, found: os.stat_result) -> bool:
        try:
            fd = os.open(self._name, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            # we may write to the file but not read it: at worst this adds an empty line
            return False
        try:
            # another process may have rolled the file meanwhile; it ends in a whole line then
            return not os.path.samestat(os.fstat(fd), found) or os.pread(fd, 1, found.st_size - 1) == b"\n"
        finally:
            os.close(fd)

    # -- writing

    def write(self, lines: bytes) -> None:
        """Append whole lines in one ``write(2)``. Raises `Unwritten`."""
        now = self._seconds()
        try:
            if not self._looked <= now < self._next_look:
                self._look(now)
            if self._limit and self._size + len(lines) > self._full_at:
                self._overflow(now, len(lines))
        except OSError as error:
            raise Unwritten(error, lines) from error
        if self._torn:
            self._mend(lines)
            return
        try:
            done = os.write(self._fd, lines)
        except OSError as error:
            self._failed(error)
            raise Unwritten(error, lines) from error
        self._size += done
        if done != len(lines):
            self._complete(lines, done)

    def _complete(self, lines: bytes, done: int) -> None:
        """Write the rest of ``lines``: the file took only ``done`` bytes of them. Raises `Unwritten`."""
        self._torn = done > 0 and lines[done - 1 : done] != b"\n"
        self._write_all(lines[done:], lines[lines.rfind(b"\n", 0, done) + 1 :])

    def _mend(self, lines: bytes) -> None:
        """End the torn line, and write ``lines``. Raises `Unwritten`."""
        self._write_all(b"\n" + lines, lines)

    def _write_all(self, data: bytes, lines: bytes) -> None:
        """Write ``data`` piece by piece. It is the end of the whole lines ``lines``, or a newline followed by ``lines``."""
        while data:
            try:
                done = os.write(self._fd, data)
                if not done:
                    raise OSError(errno.EIO, os.strerror(errno.EIO))
            except OSError as error:
                written = max(0, len(lines) - len(data))
                whole = lines.rfind(b"\n", 0, written) + 1
                self._take_back(written - whole)
                self._failed(error)
                raise Unwritten(error, lines[whole:]) from error
            self._size += done
            self._torn = data[done - 1 : done] != b"\n"
            data = data[done:]

    def _take_back(self, size: int) -> None:
        """Remove the last ``size`` bytes, the torn start of a line, unless another process has written behind them."""
        if not size or not self._regular:
            return
        with contextlib.suppress(OSError):
            end = os.lseek(self._fd, 0, os.SEEK_CUR)
            if os.fstat(self._fd).st_size == end:
                os.ftruncate(self._fd, end - size)
                self._size -= size
                self._torn = False

    def _failed(self, error: OSError) -> None:
        if error.errno == errno.EBADF:
            # the descriptor is closed already: closing it again could close another file with the same number
            self._fd = -1

    def _look(self, now: float) -> None:
        """Once a second, check the day, and whether the file is still the one at its path. Raises OSError if it has no path."""
        if not self._regular:
            self._plan(now)
            return
        if self._is_moved():
            try:
                self._attach(self._pauses)
            except OSError:
                # writing to a file with another name is better than nothing, but a deleted file would lose the lines
                if self._fd < 0 or not os.fstat(self._fd).st_nlink:
                    raise
        if self._due(now):
            self._try_to_roll(now)
        self._plan(now)

    def _is_moved(self) -> bool:
        """Whether the path now has another file. If not, the size of the file is now known."""
        try:
            there = os.stat(self._name)
        except FileNotFoundError:
            return True
        if (there.st_dev, there.st_ino) != self._identity:
            return True
        self._measured(there.st_size)
        return False

    def _measured(self, size: int) -> None:
        """The file has ``size`` bytes."""
        self._size = size
        self._full_at = self._limit if self._limit and self._regular else inf

    def _plan(self, now: float) -> None:
        self._looked = now
        self._next_look = now + _LOOK
        if not self._limit and self._regular and self._day[0] <= now < self._day[1]:
            self._next_look = min(self._next_look, self._day[1])

    # -- rolling

    def _due(self, now: float) -> bool:
        return not self._limit and self._regular and not self._day[0] <= now < self._day[1]

    def _overflow(self, now: float, more: int) -> None:
        """The file would be larger than `_full_at` with ``more`` bytes. Raises OSError."""
        if self._size:
            self._try_to_roll(now)

    def _try_to_roll(self, now: float) -> None:
        """Roll the file. If that fails, log it once and go on with the present file; try again after a second."""
        if self._rolling_fails and self._failed_at <= now < self._failed_at + _LOOK:
            return
        try:
            self._roll(now)
        except OSError as error:
            if not self._rolling_fails:
                _log.error("{path} cannot be rolled and stays in use: {error}", path=self._name, error=error)
            self._rolling_fails = True
            self._failed_at = now
            return
        self._rolling_fails = False
        if self._regular:
            self._old.prune()

    def _roll(self, now: float) -> None:
        if self._size == 0:
            self._day = day_bounds(now)
            return
        self._old.move_aside(self._day)
        self._attach(self._pauses)
