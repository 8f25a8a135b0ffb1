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
import re
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from twisted.logger import Logger

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


def day_bounds(moment: float) -> tuple[float, float]:
    """Return the first second of the local day that contains ``moment``, and of the next day (seconds since the epoch)."""
    year, month, day = time.localtime(moment)[:3]
    # mktime knows that the 32nd of a month is the 1st of the next, and which days have 23 or 25 hours
    return time.mktime((year, month, day, 0, 0, 0, 0, 0, -1)), time.mktime((year, month, day + 1, 0, 0, 0, 0, 0, -1))


class RollingFile:
    """An append-only file and its old files. ``roll`` is `Roll.DAILY` or a size in bytes; ``seconds`` returns the time (epoch).

    The owner calls `open` first and `close` last. Not thread-safe.
    """

    def __init__(self, path: Path, roll: Roll | int, keep: int, seconds: Callable[[], float]) -> None:
        self.path = path
        self._name = os.fspath(path)
        self._limit = 0 if roll is Roll.DAILY else roll
        self._keep = keep
        self._seconds = seconds
        self._fd = -1
        self._regular = True
        self._identity = (0, 0)
        self._size = 0
        #: the file ends in the middle of a line: the next write begins with a newline
        self._torn = False
        self._day = (0.0, 0.0)
        self._looked = self._next_look = 0.0
        self._rolling_fails = False

    # -- opening and closing

    def open(self) -> None:
        """Open or create the file, and roll it if it is from an earlier day. Raises OSError.

        Takes up to 25 ms if the file ends in a torn line. At a reload it is called in a thread, while the configuration in force
        still writes to the file: a line that is just being written does not count as torn.
        """
        self._attach(_PAUSES)
        now = self._seconds()
        if self._size and self._due(now):
            self._roll(now)
        self._prune()
        self._plan(now)

    def reopen(self) -> None:
        """Switch to the file that is at the path now. Raises OSError, and then keeps the old file open if there is one."""
        self._attach()
        self._plan(self._seconds())

    def close(self) -> None:
        """Close the file. `open` opens it again."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            with contextlib.suppress(OSError):
                os.close(fd)

    def _attach(self, pauses: Sequence[float] = (0.0,)) -> None:
        try:
            fd = os.open(self._name, _FLAGS)
        except FileNotFoundError:
            fd = self._create()
        try:
            self._regular = stat.S_ISREG(os.fstat(fd).st_mode)
            self._torn = self._regular and self._ends_torn(fd, pauses)
            found = os.fstat(fd)
        except OSError:
            os.close(fd)
            raise
        self.close()
        self._fd = fd
        self._identity = (found.st_dev, found.st_ino)
        self._size = found.st_size
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
        """Whether the last line of the file is torn: it is torn at each check, with ``pauses`` (seconds) before the checks."""
        for pause in pauses:
            time.sleep(pause)
            size = os.fstat(fd).st_size
            if not size or self._ends_in_newline(size):
                return False
        return True

    def _ends_in_newline(self, size: int) -> bool:
        try:
            fd = os.open(self._name, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            # we may write to the file but not read it: at worst this adds an empty line
            return False
        try:
            return os.pread(fd, 1, size - 1) == b"\n"
        finally:
            os.close(fd)

    # -- writing

    def write(self, lines: bytes) -> None:
        """Append whole lines in one ``write(2)``. Raises `Unwritten`."""
        now = self._seconds()
        try:
            if not self._looked <= now < self._next_look:
                self._look(now)
            if self._limit and self._regular and self._size and self._size + len(lines) > self._limit:
                self._try_to_roll(now)
        except OSError as error:
            raise Unwritten(error, lines) from error
        if self._torn:
            self._write_all(b"\n" + lines, lines)
            return
        try:
            done = os.write(self._fd, lines)
        except OSError as error:
            self._failed(error)
            raise Unwritten(error, lines) from error
        self._size += done
        if done != len(lines):
            self._torn = done > 0 and lines[done - 1 : done] != b"\n"
            self._write_all(lines[done:], lines[lines.rfind(b"\n", 0, done) + 1 :])

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
        try:
            there = os.stat(self._name)
            moved = (there.st_dev, there.st_ino) != self._identity
        except FileNotFoundError:
            moved = True
        if moved:
            try:
                self._attach()
            except OSError:
                # writing to a file with another name is better than nothing, but a deleted file would lose the lines
                if self._fd < 0 or not os.fstat(self._fd).st_nlink:
                    raise
        elif self._due(now):
            self._try_to_roll(now)
        else:
            self._size = there.st_size
        self._plan(now)

    def _plan(self, now: float) -> None:
        self._looked = now
        self._next_look = now + _LOOK
        if not self._limit and self._regular and self._day[0] <= now < self._day[1]:
            self._next_look = min(self._next_look, self._day[1])

    # -- rolling

    def _due(self, now: float) -> bool:
        return not self._limit and self._regular and not self._day[0] <= now < self._day[1]

    def _try_to_roll(self, now: float) -> None:
        """Roll the file. If that fails, log it once and go on with the present file."""
        try:
            self._roll(now)
        except OSError as error:
            if not self._rolling_fails:
                _log.error("{path} cannot be rolled and stays in use: {error}", path=self._name, error=error)
            self._rolling_fails = True
            return
        self._rolling_fails = False
        self._prune()

    def _roll(self, now: float) -> None:
        if self._size == 0:
            self._day = day_bounds(now)
            return
        if self._limit:
            self._shift()
            self._move_aside(iter([f"{self._name}.1"]))
        else:
            self._move_aside(self._dated_names())
        self._attach()

    def _dated_names(self) -> Iterator[str]:
        # noon, because not every day has a midnight
        day = time.strftime("%Y-%m-%d", time.localtime((self._day[0] + self._day[1]) / 2))
        yield f"{self._name}.{day}"
        for number in range(1, 10000):
            yield f"{self._name}.{day}.{number}"

    def _move_aside(self, names: Iterator[str]) -> None:
        """Rename the file to the first of ``names`` that is free. Never replaces another file."""
        for name in names:
            try:
                # link and unlink, because rename would replace a file that another process has made in the meantime
                os.link(self._name, name, follow_symlinks=False)
            except FileExistsError:
                # a crash between link and unlink leaves one file with both names
                if not os.path.samefile(self._name, name):
                    continue
            except OSError:
                if os.path.lexists(name):
                    continue
                os.rename(self._name, name)
                return
            os.unlink(self._name)
            return
        raise FileExistsError(errno.EEXIST, "no free name to roll to", self._name)

    def _shift(self) -> None:
        """Free ``.1``: increase each number up to the first gap by one, and drop the file numbered ``keep``."""
        free = 1
        while os.path.lexists(f"{self._name}.{free}") and (not self._keep or free < self._keep):
            free += 1
        for number in range(free, 1, -1):
            os.replace(f"{self._name}.{number - 1}", f"{self._name}.{number}")
        if self._keep == 1:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{self._name}.1")

    def _prune(self) -> None:
        """Remove files older than the newest ``keep`` days, or numbered above ``keep``. Compressed files too."""
        if not self._keep or not self._regular:
            return
        kind = r"([0-9]+)" if self._limit else r"([0-9]{4}-[0-9]{2}-[0-9]{2})(?:\.[0-9]+)?"
        pattern = re.compile(re.escape(self.path.name) + r"\." + kind + r"(?:\.(?:gz|bz2|xz|zst))?")
        try:
            found = [(match[1], name) for name in os.listdir(self.path.parent) if (match := pattern.fullmatch(name))]
            if self._limit:
                old = [name for number, name in found if int(number) > self._keep]
            else:
                kept = sorted({day for day, _ in found})[-self._keep :]
                old = [name for day, name in found if day not in kept]
            for name in old:
                (self.path.parent / name).unlink()
        except OSError as error:
            _log.warn("old files of {path} cannot be removed: {error}", path=self._name, error=error)
