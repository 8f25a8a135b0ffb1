"""One worker process, for the manager: starts it, sends it questions, watches it and ends it."""

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
"""Seconds to prepare a configuration. A start or a reload takes at most twice this time, since one worker is first."""

COMMIT: Final = 5.0
"""Seconds to put a prepared configuration in force."""

SILENT: Final = 5
"""If the heartbeat of a worker has not changed for this many seconds, the manager ends the worker."""

BEHIND: Final = 5
"""If a worker does not apply a change of the state for this many seconds, the manager ends it: it may admit a revoked token."""

ABORTED: Final = 2.0
"""Seconds from SIGABRT, at which a worker writes the stacks of its threads, to SIGKILL."""

FAULTS: Final = (Refused, ChannelClosed, TimeoutError, OSError)
"""Exceptions if a worker cannot be started, or cannot use a configuration."""

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
    """The worker process in slot ``number``. ``handlers`` answer its questions.

    ``told`` is set when the manager has sent ``commit``, ``status`` is the answer of the worker; ``ended`` fires with the way it
    ended, and ``closed`` when everything that it has sent was read.
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
        """Whether it serves, or will serve. A worker that drains, for example after SIGTERM, does not serve."""
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
        """Put the prepared configuration in force. Fails as `Channel.ask` does; then the worker has to be replaced."""
        self.told = True
        self.status = await self.channel.ask("commit", COMMIT)

    # -- watch and end

    def watch(self) -> None:
        """To be called once a second: ends a worker that hangs (its heartbeat stops) or does not apply changes of the state.

        A heartbeat is compared with the one before, not with a clock, so a pause of the whole machine ends no worker.
        """
        if not self.status or self._ending:
            return
        row = self._page.slots[self.number]
        self._watched += 1  # counts calls: it does not jump when the clock is set, or when the manager was stopped for a while
        self._unchanged = self._unchanged + 1 if row.heartbeat == self._heartbeat else 0
        self._heartbeat = row.heartbeat
        if self._unchanged > SILENT:
            self._give_up("hangs")
        elif self._lag.look(row.applied, self._page.committed, self._watched) > BEHIND:  # a worker that drains may admit, too
            self._give_up("does not apply changes of the state")

    def _give_up(self, why: str) -> None:
        _log.error("worker {slot} (pid {pid}) {why}: it is ended", slot=self.number, pid=self.pid, why=why, counted=True)
        self.end()

    def end(self) -> None:
        """End the process at once: with SIGABRT, so that it writes the stacks of its threads, then with SIGKILL."""
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
        """The process has ended, and its exit status was read."""
        self._ending = True
        self._page.clear(self.number, SlotState.EMPTY)
        value: Any = reason.value
        number = value.signal
        self.ended.callback(f"by {signal.Signals(number).name}" if number else f"with status {value.exitCode}")
