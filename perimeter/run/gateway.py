"""The gateway's life: started, reloaded and stopped.

Start: everything that can fail does so before the first client is accepted. Reload (SIGHUP): a faulty file changes nothing. Stop:
idle connections close, requests in flight get `DRAIN` seconds. What listens is `perimeter.run.listening`'s, and what is
looked after meanwhile `perimeter.run.upkeep`'s.
"""

from __future__ import annotations

import gc
import signal
import sys
from pathlib import Path
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from perimeter.auth.chain.chain import AuthenticatorChain
from perimeter.auth.registry import authenticator_factories
from perimeter.config.site.config import SiteConfig
from perimeter.config.site.load import load_site
from perimeter.errors import StartupError
from perimeter.metrics.in_force import InForce
from perimeter.net.deadlines import Deadlines
from perimeter.offload import Offload
from perimeter.run.build.assembly import Assembly, assemble
from perimeter.run.build.surroundings import Surroundings
from perimeter.run.control import ControlPort
from perimeter.run.listening import Bound, Listeners, server_contexts
from perimeter.run.logs import DaemonLog
from perimeter.run.notify import Notifier, Watchdog
from perimeter.run.operations import Place, answer
from perimeter.run.state_dir import prepare_state_dir
from perimeter.run.upkeep import Upkeep

_log = Logger()

#: Seconds that requests in flight have to finish when the daemon stops.
DRAIN = 10.0


class Gateway(Service):
    """The whole gateway as a Twisted service. ``config_file`` is read again at each reload; ``log`` is told of what it says."""

    def __init__(
        self, config_file: Path, config: SiteConfig, reactor: Any, notifier: Notifier, log: DaemonLog | None = None
    ) -> None:
        self._config_file = config_file
        self._config = config
        self._reactor = reactor
        self._notifier = notifier
        self._log = log
        self._watchdog = Watchdog(notifier, reactor)
        self._around = Surroundings(reactor, Offload(reactor), Deadlines(reactor))
        self._around.metrics.in_force = self._parts
        self._listeners = Listeners(self._around, config.limits)
        self._upkeep = Upkeep(self._around, self._listeners.channels)
        self._assembly: Assembly | None = None
        self._control: ControlPort | None = None
        self._started = 0.0

    # -- start

    def privilegedStartService(self) -> None:
        """Bind the listeners, while the process may still use low ports. A fault is told in one line, and ends the process."""
        try:
            self._turn_to(self._prepare(self._config))
        except StartupError as error:
            _log.critical("{error}", error=str(error))
            sys.exit(1)

    def startService(self) -> None:
        """Serve."""
        if self._assembly is None:
            self.privilegedStartService()
        super().startService()  # type: ignore[no-untyped-call]
        self._around.offload.start()
        self._around.hashing.start()
        self._around.blocking.start()
        assert self._assembly is not None
        self._assembly.chain.start()
        self._upkeep.start()
        # twistd starts services before the reactor runs, which only then knows whether there are signals to be caught.
        self._reactor.callWhenRunning(self._ready)

    def _ready(self) -> None:
        if not self.running:
            return
        self._catch_signals()
        self._started = self._reactor.seconds()
        self._open_control(self._config.perimeter.state_dir)
        # What is there by now stays: the collector need not look through it again and again.
        gc.collect()
        gc.freeze()
        self._watchdog.startService()
        self._notifier.ready(self._status())
        _log.info("ready: {status}", status=self._status())

    def _catch_signals(self) -> None:
        if not getattr(self._reactor, "_installSignalHandlers", True):
            return
        signal.signal(signal.SIGHUP, lambda *_: self._reactor.callFromThread(self.reload))
        signal.signal(signal.SIGUSR1, lambda *_: self._reactor.callFromThread(self.reopen_logs))

    def _status(self) -> str:
        return f"listening: {self._listeners}"

    # -- from one configuration to the next

    def _prepare(self, config: SiteConfig) -> Bound:
        """Everything on the way to ``config`` that can fail. Raises `StartupError`; what is in force is untouched by then."""
        prepare_state_dir(config.perimeter.state_dir)
        contexts = server_contexts(config)
        assembly = assemble(config, self._around)
        assembly.audit.open()
        try:
            return self._listeners.bind(assembly, contexts)
        except StartupError:
            assembly.audit.close()
            raise

    def _turn_to(self, bound: Bound) -> None:
        """Put what was prepared in force; this only assigns."""
        self._listeners.put_in_force(bound)
        old, self._assembly = self._assembly, bound.assembly
        self._config = config = bound.assembly.config
        if old is not None:
            self._open_control(config.perimeter.state_dir)
            bound.assembly.chain.start()
            old.stop()
        self._upkeep.turn_to(bound.assembly)
        if self._log is not None:
            self._log.turn_to(config.logging)
        for warning in config.warnings:
            _log.warn("{warning}", warning=warning)

    def reload(self) -> None:
        """Read the configuration again and put it in force, whole or not at all."""
        self._notifier.reloading("reading the configuration")
        try:
            config = load_site(self._config_file, authenticators=authenticator_factories())
            if self._assembly is None:
                raise StartupError("the gateway is not running")
            self._turn_to(self._prepare(config))
        except StartupError as error:
            for line in str(error).splitlines():
                _log.error("not reloaded: {error}", error=line)
            self._notifier.ready(f"not reloaded: {str(error).splitlines()[0]}")
            self._not_reloaded()
            return
        except Exception:
            _log.failure("not reloaded")
            self._notifier.ready("not reloaded: see the log")
            self._not_reloaded()
            return
        self._around.metrics.count_reload(True)
        _log.info("reloaded: {status}", status=self._status())
        self._notifier.ready(self._status())

    def _not_reloaded(self) -> None:
        self._around.metrics.count_reload(False)
        self._upkeep.turn_to(self._assembly)  # nobody would look at a state that was opened in vain

    def reopen_logs(self) -> None:
        """Turn to the audit files that are at their paths now."""
        if self._assembly is not None:
            self._assembly.audit.reopen()

    # -- for the operator (`perimeter.run.operations.Running`)

    def _open_control(self, state_dir: Path) -> None:
        if self._control is not None:
            if self._control.directory == state_dir:
                return
            self._control.close()
        self._control = ControlPort(state_dir, lambda question: answer(self, question), self._reactor)
        self._control.open()

    def places(self) -> list[Place]:
        """The listeners, and how many connections each has."""
        return self._listeners.places()

    def in_force(self) -> tuple[SiteConfig, AuthenticatorChain]:
        """The configuration, and the chain that was made from it. Raises ValueError while the gateway stops."""
        if self._assembly is None:
            raise ValueError("the gateway is not running")
        return self._config, self._assembly.chain

    def uptime(self) -> float:
        """Seconds since the start."""
        return float(self._reactor.seconds() - self._started)

    def look_at_state(self) -> Deferred[None]:
        """See what somebody else has written to the state, and fire when it is in force."""
        return self._upkeep.look_at_state()

    def _parts(self) -> InForce | None:
        """What `perimeter.metrics` looks at."""
        assembly = self._assembly
        if assembly is None:
            return None
        return InForce(
            connections=self._listeners.connections(),
            pools=assembly.pools,
            audit_failing=assembly.audit.failing,
            authenticators=assembly.chain.asked,
            keys=assembly.keyring.entries,
            queues={
                "work": self._around.offload,
                "hashing": self._around.hashing,
                "blocking": self._around.blocking,
            },
        )

    # -- stop

    def stopService(self) -> Deferred[None]:
        """Stop accepting, let requests in flight finish for `DRAIN` seconds, then cut what is left."""
        super().stopService()  # type: ignore[no-untyped-call]
        self._notifier.stopping("requests in flight finish")
        self._upkeep.stop()
        if self._control is not None:
            self._control.close()
        self._listeners.stop()
        done: Deferred[None] = Deferred()
        self._await_drained(done, self._reactor.seconds() + DRAIN)
        return done.addCallback(self._close)

    def _await_drained(self, done: Deferred[None], deadline: float) -> None:
        channels = self._listeners.channels()
        hurry = getattr(self._reactor, "in_a_hurry", False)  # only `perimeter.net.reactor` has it
        if channels and not hurry and self._reactor.seconds() < deadline:
            self._reactor.callLater(0.05, self._await_drained, done, deadline)
            return
        for channel in channels:
            channel.transport.abortConnection()
        # One turn more, in which the cut connections write their records.
        self._reactor.callLater(0, done.callback, None)

    def _close(self, _: None) -> Deferred[None]:
        assembly, self._assembly = self._assembly, None
        written = self._upkeep.turn_to(None)
        if assembly is not None:
            assembly.stop()
            for pool in assembly.pools:
                for connection in pool.connections:
                    connection.drop()
        self._listeners.clear()
        self._watchdog.stopService()
        self._around.offload.stop()
        self._around.hashing.stop()
        self._around.blocking.stop()
        return written
