"""The start of the daemon, for the process that asked for it: in the foreground, or in the background.

`detach` forks in place of twistd. twistd's own parent never returns if the daemon exits before it is ready: it waits for a byte
from a pipe whose other end it holds open itself. Here the end of the daemon, however it comes, ends the wait. Until the daemon is
ready it keeps the standard error of its parent, so that the reason is read where the command was given.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
from pathlib import Path
from typing import Final, NoReturn

from twisted.logger import Logger

_log = Logger()

TIMEOUT: Final = 90.0
"""Seconds that a daemon in the background may take until it is ready. After that it is killed, and the start has failed."""

_READY: Final = b"0"


class Launch:
    """Reports how the start ends. ``waiting`` is the pipe to the process that waits for a daemon in the background, or None.

    ``pidfile`` is removed if the start fails; "" for none.
    """

    def __init__(self, waiting: int | None = None, pidfile: str = "") -> None:
        self.waiting = waiting
        self.pidfile = pidfile

    def ready(self) -> None:
        """The daemon serves."""
        if self.waiting is not None:
            _to_null(2)
            with contextlib.suppress(OSError):  # the starter has ended
                os.write(self.waiting, _READY)
            os.close(self.waiting)
            self.waiting = None

    def failed(self, reason: str) -> NoReturn:
        """The daemon cannot start. Logs ``reason`` and exits with status 1."""
        _log.critical("{error}", error=reason)
        if self.waiting is not None:
            with contextlib.suppress(OSError):
                os.write(2, f"{reason}\n".encode("utf-8", "backslashreplace"))
        if self.pidfile:
            with contextlib.suppress(OSError):
                os.unlink(self.pidfile)
        sys.exit(1)


def detach(pidfile: str = "", log: str = "") -> Launch:
    """Go on in the background, in a session of its own; the calling process exits when the daemon is ready or has ended.

    Its exit status is 0 or 1. ``log`` is named if the daemon ends without a word. No threads may run yet.
    """
    reading, writing = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    leader = os.fork()
    if leader:
        os.close(writing)
        os._exit(_await(reading, leader, log))
    os.close(reading)
    os.setsid()
    if os.fork():
        os._exit(0)
    _to_null(0, 1)
    return Launch(writing, pidfile)


def _await(reading: int, leader: int, log: str) -> int:
    """The exit status of the calling process. ``leader`` is the process group of the daemon."""
    try:
        readable, _, _ = select.select([reading], [], [], TIMEOUT)
        if readable and os.read(reading, 1) == _READY:
            return 0
        problem = "the gateway was not started" if readable else f"the gateway was not ready after {TIMEOUT:.0f} seconds"
    except KeyboardInterrupt:
        readable, problem = [], "interrupted"
    if not readable:
        with contextlib.suppress(OSError):
            os.killpg(leader, signal.SIGKILL)
    print(f"{problem}{f'; see {log}' if log else ''}", file=sys.stderr, flush=True)
    return 1


def _to_null(*descriptors: int) -> None:
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for descriptor in descriptors:
        os.dup2(null, descriptor)
    os.close(null)


def forget_own_pid(pidfile: Path) -> None:
    """Remove ``pidfile`` if it has the number of this very process.

    It is left over: in a container each start gets the number of the one before, mostly 1. twistd takes it for another daemon.
    """
    with contextlib.suppress(OSError, ValueError):
        if int(pidfile.read_text()) == os.getpid():
            pidfile.unlink()
