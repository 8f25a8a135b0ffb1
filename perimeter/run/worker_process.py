"""``python -m perimeter.run.worker_process SLOT FILE LOG``: one of several workers, which the manager has started.

Descriptors: 3 is the connection to the manager, 4 the shared page, from 5 on the eventfd of each slot. The manager sends
``prepare``, then ``commit`` or ``abort``, for each configuration, and ``stop``. If the manager ends, the worker ends, too. LOG
says where the daemon's log is, a `LogTarget` in JSON.
"""

from __future__ import annotations

import faulthandler
import gc
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.protocol import Factory
from twisted.internet.task import LoopingCall
from twisted.logger import Logger, globalLogBeginner

from perimeter.auth.registry import installed_kinds
from perimeter.config.site.config import SiteConfig
from perimeter.config.site.listener import ListenerSettings
from perimeter.config.site.load import load_site
from perimeter.descriptors import descriptor_limit
from perimeter.errors import StartupError
from perimeter.net.binding import inherited_socket
from perimeter.net.reactor import install
from perimeter.run.file_watch import FileWatch
from perimeter.run.log_target import LogTarget
from perimeter.run.logs import DaemonLog
from perimeter.workers.channel import Channel, Handler
from perimeter.workers.page import SLOTS, SharedPage, SlotState
from perimeter.workers.place import Place
from perimeter.workers.plan import content

_log = Logger()

CHANNEL: Final = 3
PAGE: Final = 4
WAKERS: Final = 5
"""Descriptors that the manager has given to this process (`perimeter.manager.child`)."""

_BEAT: Final = 1.0
"""Seconds between two heartbeats."""


class GivenSockets:
    """`perimeter.run.sockets.Sockets` of a worker: those that the manager has sent with a configuration, by listener."""

    def __init__(self) -> None:
        self._sockets: dict[str, socket.socket] = {}

    def receive(self, sockets: Mapping[str, socket.socket]) -> None:
        """Store these sockets, and close unused ones of the earlier configuration, whose listeners are kept."""
        for one in self._sockets.values():
            one.close()
        self._sockets = dict(sockets)

    def socket_for(self, settings: ListenerSettings, present: Iterable[socket.socket]) -> socket.socket:
        """See `Sockets`."""
        found = self._sockets.pop(settings.name, None)
        if found is None:
            raise StartupError(f"listener {settings.name}: the manager has sent no socket for it")
        return found


class WorkerProcess:
    """A worker in slot ``number``, with the configuration file ``file``, of which the manager sends the content."""

    def __init__(self, number: int, file: Path, reactor: Any, log: DaemonLog) -> None:
        self._file = file
        self._reactor = reactor
        self._log = log
        handlers: dict[str, Handler] = {
            "prepare": self._prepare,
            "commit": self._commit,
            "abort": self._abort,
            "not_reloaded": self._not_reloaded,
            "stop": self._stop,
            "reopen": self._reopen,
            "turns": lambda _: None,
            "control": self._control,
        }
        channel = Channel(handlers, reactor, self._orphaned)
        self._place = Place(number, SharedPage(PAGE, list(range(WAKERS, WAKERS + SLOTS))), channel, handlers)
        self._sockets = GivenSockets()
        self._worker: Any = None  # perimeter.run.worker.Worker, which is imported once there is a configuration
        self._made: Any = None
        self._generation = 0
        self._preparing: Deferred[Any] | None = None
        self._stopping = False
        self._files = FileWatch(reactor, self._renewed, wanted=lambda: self._place.leads)
        self._beating = LoopingCall(self._beat)
        self._beating.clock = reactor

    def start(self) -> None:
        """Connect to the manager."""
        # A terminal, or a service manager, sends these to all processes. The manager decides when the worker ends.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, lambda *_: self._reactor.callFromThread(self._stop, {"now": False}))
        self._reactor.adoptStreamConnection(CHANNEL, socket.AF_UNIX, Factory.forProtocol(lambda: self._place.channel))
        os.close(CHANNEL)

    # -- one configuration after the other

    async def _prepare(self, asked: Mapping[str, Any]) -> None:
        """Read a configuration and take every step that can fail. Raises `StartupError`."""
        self._give_up()
        data = self._receive(asked["listeners"])
        self._generation = asked["generation"]

        def read() -> SiteConfig:
            return load_site(self._file, kinds=installed_kinds(), data=data)

        worker = self._worker
        if worker is None:
            from perimeter.run.worker import Worker

            config = read()
            worker = Worker(
                self._reactor,
                config.limits,
                self._sockets,
                place=self._place,
                workers=config.perimeter.workers,
                renewed=self._renewed,
            )
            prepared = worker.prepare_now(lambda: config)
        elif worker.running:
            self._preparing = worker.prepare(read)
            try:
                prepared = await self._preparing
            except CancelledError:
                raise StartupError("given up") from None
            self._preparing = None
        else:
            prepared = worker.prepare_now(read)
        self._made = worker.make(prepared)
        self._worker = worker

    def _receive(self, listeners: list[str]) -> bytes:
        """Take the sockets of ``listeners`` and the text of site.ini, which have been sent before. Raises `StartupError`."""
        channel = self._place.channel
        arrived = list(channel.descriptors)
        channel.descriptors.clear()
        if len(arrived) != len(listeners) + 1:
            for descriptor in arrived:
                os.close(descriptor)
            raise StartupError(f"no file descriptor is free for the listeners: the limit of the process is {descriptor_limit()}")
        *sockets, text = arrived
        self._sockets.receive({name: inherited_socket(one) for name, one in zip(listeners, sockets, strict=True)})
        with open(text, "rb") as file:
            return content(file.fileno())

    async def _commit(self, _: Mapping[str, Any]) -> str:
        """Put the prepared configuration in force. Returns the status of the worker, at its start once it has settled."""
        worker, made, self._made = self._worker, self._made, None
        worker.assign(made)
        self._sockets.receive({})
        config = made.prepared.config
        self._log.configure(config.logging, config.audit.redact)
        self._files.watch(made.prepared.versions)
        slot = self._place.slot
        slot.generation = self._generation
        if worker.running:
            worker.count_reload(True)
        else:
            self._begin()
            await worker.settled()
        return str(worker)

    def _begin(self) -> None:
        self._worker.start()
        gc.collect()
        gc.freeze()  # as the single process does
        slot = self._place.slot
        slot.pid = os.getpid()
        self._beating.start(_BEAT)
        slot.state = SlotState.SERVING
        self._files.start()
        self._reactor.addSystemEventTrigger("before", "shutdown", self._drain)

    def _abort(self, _: Mapping[str, Any]) -> None:
        self._give_up()

    def _give_up(self) -> None:
        preparing, self._preparing = self._preparing, None
        if preparing is not None:
            preparing.cancel()
        made, self._made = self._made, None
        if made is not None:
            self._worker.give_up(made)
        self._sockets.receive({})

    def _not_reloaded(self, told: Mapping[str, Any]) -> None:
        if self._worker is not None:
            self._worker.count_reload(False, told["reason"])

    def _renewed(self, paths: list[Path]) -> None:
        self._place.channel.tell("renewed", generation=self._place.slot.generation, paths=[str(path) for path in paths])

    # -- while it serves

    def _beat(self) -> None:
        self._place.slot.heartbeat = time.monotonic_ns() // 1_000_000
        self._worker.report_repeats()
        self._log.report()

    def _control(self, asked: Mapping[str, Any]) -> Any:
        from perimeter.run.operations import answer

        return answer(self._worker, asked["question"])

    def _reopen(self, _: Mapping[str, Any]) -> None:
        if self._worker is not None:
            self._worker.reopen_logs()

    # -- the end

    def _stop(self, told: Mapping[str, Any]) -> None:
        """Finish the requests in flight, then end; or end now."""
        if told["now"]:
            self._reactor.stop_now = True
        if not self._stopping:
            self._stopping = True
            self._reactor.stop()

    def _orphaned(self) -> None:
        """The manager has gone: its listeners belong to the next one."""
        if not self._stopping:
            _log.error("the manager of this worker has gone: requests in flight finish, then this worker ends")
            self._stop({"now": False})

    def _drain(self) -> Deferred[None]:
        self._stopping = True
        self._place.slot.state = SlotState.DRAINING
        self._give_up()
        self._files.stop()
        worker = self._worker
        return (succeed(None) if worker is None else worker.stop()).addCallback(lambda _: self._log.finish())


def main(number: int, file: Path, target: LogTarget) -> None:
    """Serve until the manager says stop, or is gone."""
    install()
    from twisted.internet import reactor

    log = target.open(number)
    faulthandler.enable()  # the manager sends SIGABRT to a worker that hangs
    globalLogBeginner.beginLoggingTo([log], redirectStandardIO=False)
    process = WorkerProcess(number, file, reactor, log)
    reactor.callWhenRunning(process.start)
    reactor.run()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), LogTarget(**json.loads(sys.argv[3])))
