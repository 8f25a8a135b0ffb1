"""Workers that the earlier program has started in this process, before an upgrade executed the present program."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from twisted.internet.protocol import Factory

from perimeter.manager.child import Child
from perimeter.manager.handover import InheritedWorker
from perimeter.workers.channel import Handler
from perimeter.workers.page import SharedPage, SlotState
from perimeter.workers.sums import Counts

REAP: Final = 0.05
"""Seconds between two checks whether such a worker has ended, after its connection is closed."""


def handed_over(child: Child, leaving: bool, counts: Counts) -> InheritedWorker:
    """Data of ``child`` for the next program, which adopts it, with its last ``counts``. Its connection is inherited."""
    channel = child.channel
    descriptor, unread, asked = channel.transport.fileno(), channel.unread.hex(), channel.asked
    return InheritedWorker(child.number, child.pid, child.since, child.status, leaving, descriptor, unread, asked, counts)


class Adopted(Child):
    """A worker of the earlier program: still a child of this process, but Twisted does not know it."""

    def __init__(self, worker: InheritedWorker, page: SharedPage, handlers: Mapping[str, Handler], reactor: Any) -> None:
        super().__init__(worker.slot, page, handlers, reactor)
        self._pid = worker.pid
        self._worker = worker
        self.since = worker.since
        self.status = worker.status
        self.told = not worker.leaving
        self.closed.addCallback(lambda _: self._reap())

    def adopt(self) -> None:
        """Take over the connection."""
        worker = self._worker
        self.channel.asked = worker.asked
        with socket.socket(fileno=worker.channel) as ours:
            ours.setblocking(False)
            self._reactor.adoptStreamConnection(ours.fileno(), socket.AF_UNIX, Factory.forProtocol(lambda: self.channel))
        self.channel.dataReceived(bytes.fromhex(worker.unread))  # type: ignore[no-untyped-call]

    @property
    def pid(self) -> int:
        """The process, 0 if there is none."""
        return self._pid

    def signal(self, number: int) -> None:
        """Send a signal, unless the process has ended."""
        if self._pid:
            with suppress(ProcessLookupError):
                os.kill(self._pid, number)

    def _reap(self) -> None:
        """The connection is closed: wait until the process ends, which takes little time."""
        status = reaped(self._pid)
        if status is None:
            self._reactor.callLater(REAP, self._reap)
            return
        self._pid = 0
        self._ending = True
        self._page.clear(self.number, SlotState.EMPTY)
        self.ended.callback(f"by {signal.Signals(-status).name}" if status < 0 else f"with status {status}")


def reaped(pid: int) -> int | None:
    """The exit status of a child process that has ended (negative: the signal that ended it), 0 if there is no such process.

    None if it runs.
    """
    try:
        found, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return 0
    return os.waitstatus_to_exitcode(status) if found else None
