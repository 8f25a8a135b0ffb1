"""The daemon's log of a gateway with several workers: all processes write to one place.

Each process writes whole lines at the end of the file. One of them renames a full file, and the others follow.
"""

from __future__ import annotations

import fcntl
import os
import sys
import syslog
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, Final

import attrs
from twisted.python.logfile import LogFile

from perimeter.config.site.logging import LoggingSettings
from perimeter.run.logs import DaemonLog

FULL: Final = 1_000_000
"""Bytes of a full file, as twistd's."""


@attrs.frozen
class LogTarget:
    """The file ``path``, or syslog with ``prefix``; standard output if both are empty."""

    path: str = ""
    prefix: str = ""

    def open(self, slot: int | None = None) -> DaemonLog:
        """The daemon's log of this process, which is the worker of ``slot``. Raises OSError.

        What the interpreter itself writes to its standard error follows the log of a worker to its file.
        """
        outfile: Any = sys.stdout
        if self.prefix:
            outfile = SyslogFile(self.prefix)
        elif self.path:
            outfile = SharedLogFile(Path(self.path), stderr=slot is not None)
        return DaemonLog(LoggingSettings(), outfile, slot=slot)


class SharedLogFile(LogFile):
    """twistd's log file, which becomes ``path.1`` when it is full, for several processes. ``stderr`` goes there, too."""

    _file: BinaryIO

    def __init__(self, path: Path, *, stderr: bool = False, full: int = FULL) -> None:
        self._stderr = stderr
        self._full = full
        super().__init__(path.name, str(path.parent), rotateLength=full)  # type: ignore[no-untyped-call]

    def _openFile(self) -> None:
        self.closed = False
        self._file = open(self.path, "ab", 0)  # noqa: SIM115
        if self._stderr:
            os.dup2(self._file.fileno(), 2)

    def write(self, data: str | bytes) -> None:
        """Add whole lines."""
        if self._is_full():
            self.rotate()
        self._file.write(data.encode() if isinstance(data, str) else data)

    def _is_full(self) -> bool:
        """Whether the file is full. Follows it first if another process, or the operator, has renamed it."""
        own = os.fstat(self._file.fileno())
        try:
            there = os.stat(self.path)
        except FileNotFoundError:
            there = None
        if there is None or (own.st_dev, own.st_ino) != (there.st_dev, there.st_ino):
            with suppress(OSError):  # without a new file, write to the renamed one
                before = self._file
                self._openFile()
                before.close()
            return False
        return there.st_size >= self._full

    def rotate(self) -> None:
        """Rename the file, unless another process does."""
        with open(os.dup(self._file.fileno()), "ab") as locked, suppress(BlockingIOError):
            fcntl.flock(locked, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if self._is_full():  # still, now that no other process can rename it
                super().rotate()  # type: ignore[no-untyped-call]


class SyslogFile:
    """Writes each line to the system's log."""

    encoding: Final = "utf-8"

    def __init__(self, prefix: str) -> None:
        syslog.openlog(prefix, syslog.LOG_PID)

    def write(self, text: str) -> None:
        """Add whole lines."""
        for line in text.splitlines():
            syslog.syslog(line)

    def flush(self) -> None:
        """There is nothing to flush."""
