"""One worker process, as the manager sees it: how it is started, asked, watched and ended."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessExitedAlready, ProcessTerminated
from twisted.internet.protocol import Factory, ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from perimeter.manager.handover import environment, python
from perimeter.manager.listening import Sockets
from perimeter.run.log_target import LogTarget
from perimeter.workers.channel import Channel, ChannelClosed, Handler, Refused
from perimeter.workers.lag import Lag
from perimeter.workers.page import SharedPage, SlotState
from perimeter.workers.plan import Plan

_log = Logger()

PREPARE: Final = 40.0
"""Seconds to prepare a configuration. A start, and a reload, take this time twice at most: once for the first worker."""

COMMIT: Final = 5.0
"""Seconds to put a prepared configuration in force."""

SILENT: Final = 5
"""A worker whose heartbeat has not changed for so many seconds is ended."""

BEHIND: Final = 5
"""A worker in which a change of the state is not in force for so many seconds is ended: it may admit what was revoked."""

ABORTED: Final = 2.0
"""Seconds from SIGABRT, at which a worker writes where it is, to SIGKILL."""

FAULTS: Final = (Refused, ChannelClosed, TimeoutError, OSError)
"""What fails when a worker cannot be started, or cannot use a configuration."""

CHANNEL: Final = 3
PAGE: Final = 4
WAKERS: Final = 5
"""The descriptors of a worker: the connection to the manager, the shared page, and from here on the eventfd of each slot."""

_OURS: Final = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")
"""Variables of systemd that are meant for the manager alone."""


@attrs.frozen(eq=False)
class Generation:
    """A configuration and its ``number``: 1 at the start, 1 more at each reload. ``text`` is the descriptor of site.ini."""

    number: int
    text: int
    plan: Plan
    sockets: Sockets


class Child(ProcessProtocol):
    """The worker process in slot ``number``. ``handlers`` answer what it asks.

    ``told`` is set when it is told to serve, ``status`` is what it then says of itself; ``ended`` fires with the way it ended,
    and ``closed`` when everything that it has sent was read.
    """

    def __init__(self, number: int, page: SharedPage, handlers: Mapping[str, Handler], reactor: Any) -> None:
        self.number = number
        self.told = False
        self.status = ""
        self.since = reactor.seconds()
        self.ended: Deferred[str] = Deferred()
        self.closed: Deferred[None] = Deferred()
        self.channel = Channel(handlers, reactor, lambda: self.closed.callback(None))
        self._page = page
        self._reactor = reactor
        self._heartbeat = self._unchanged = self._watched = 0
        self._lag = Lag()
        self._ending = False

    @property
    def pid(self) -> int:
        """The process, 0 if there is none."""
        return int(getattr(self.transport, "pid", None) or 0)

    @property
    def serving(self) -> bool:
        """Whether it is to serve, or serves already. A worker that was sent SIGTERM serves no more."""
        return self.told and not self._ending and self._page.slots[self.number].state is not SlotState.DRAINING

    # -- start

    def spawn(self, file: Path, log: LogTarget) -> None:
        """Start the process. Raises OSError."""
        self._page.clear(self.number, SlotState.STARTING)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with ours, theirs:
            ours.setblocking(False)
            theirs.setblocking(False)
            self._reactor.adoptStreamConnection(ours.fileno(), socket.AF_UNIX, Factory.forProtocol(lambda: self.channel))
            descriptors = {0: 0, 1: 1, 2: 2, CHANNEL: theirs.fileno(), PAGE: self._page.descriptor}
            descriptors |= {WAKERS + slot: waker for slot, waker in enumerate(self._page.wakers)}
            command = python("perimeter.run.worker_process", str(self.number), str(file), json.dumps(attrs.asdict(log)))
            environ = {name: value for name, value in environment(os.environ).items() if name not in _OURS}
            try:
                self._reactor.spawnProcess(self, command[0], command, env=environ, childFDs=descriptors)
            except OSError:
                self.processEnded(Failure(ProcessTerminated(exitCode=1)))
                raise

    def pin(self, cores: set[int]) -> None:
        """Let all threads of the process run on these processors only."""
        for thread in os.listdir(f"/proc/{self.pid}/task"):
            os.sched_setaffinity(int(thread), cores)

    # -- a configuration

    def prepare(self, generation: Generation) -> Deferred[Any]:
        """Let the worker read a configuration and open what it needs, while the present one stays in force.

        Fails as `Channel.ask` does: with `Refused` if the worker cannot use it.
        """
        for one in generation.sockets.values():
            self.channel.send_descriptor(one.fileno())
        self.channel.send_descriptor(generation.text)
        names = [address.name for address in generation.sockets]
        return self.channel.ask("prepare", PREPARE, generation=generation.number, listeners=names)

    async def commit(self) -> None:
        """Put in force what was prepared. Fails as `Channel.ask` does; the worker is of no more use then."""
        self.told = True
        self.status = await self.channel.ask("commit", COMMIT)

    # -- watch and end

    def watch(self) -> None:
        """To be called once a second: ends a worker that hangs, which its heartbeat shows, or that does not follow the state.

        A heartbeat is compared with the one before, not with a clock: after a pause of the whole machine no worker is blamed.
        """
        if not self.status or self._ending:
            return
        row = self._page.slots[self.number]
        self._watched += 1  # counts calls: it does not jump when the clock is set, or when the manager was stopped for a while
        self._unchanged = self._unchanged + 1 if row.heartbeat == self._heartbeat else 0
        self._heartbeat = row.heartbeat
        if self._unchanged > SILENT:
            self._give_up("hangs")
        elif self._lag.look(row.applied, self._page.committed, self._watched) > BEHIND:  # also while it drains: it may admit
            self._give_up("does not see what was revoked")

    def _give_up(self, why: str) -> None:
        _log.error("worker {slot} (pid {pid}) {why}: it is ended", slot=self.number, pid=self.pid, why=why, counted=True)
        self.end()

    def end(self) -> None:
        """End the process at once: with SIGABRT, so that it writes where it was, then with SIGKILL."""
        if not self._ending:
            self._ending = True
            self.signal(signal.SIGABRT)
            kill = self._reactor.callLater(ABORTED, self.signal, signal.SIGKILL)
            self.ended.addBoth(lambda how: (kill.active() and kill.cancel(), how)[1])

    def leave(self, *, now: bool = False) -> None:
        """Let the worker finish its requests and end, or end ``now``."""
        self.told = False
        self.channel.tell("stop", now=now)

    def signal(self, number: int) -> None:
        """Send a signal, unless the process has ended."""
        if self.transport is not None:
            with suppress(ProcessExitedAlready):
                self.transport.signalProcess(number)

    def processEnded(self, reason: Failure) -> None:
        """The process has ended, and was waited for."""
        self._ending = True
        self._page.clear(self.number, SlotState.EMPTY)
        value: Any = reason.value
        number = value.signal
        self.ended.callback(f"by {signal.Signals(number).name}" if number else f"with status {value.exitCode}")
