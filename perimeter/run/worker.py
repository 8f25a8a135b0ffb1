"""The worker part: serves clients by one configuration at a time.

It owns the connections and all that a configuration is made of, and knows neither signals nor systemd nor where its sockets come
from: those are `perimeter.run.daemon`'s. A configuration is prepared in a thread (`prepare`), then put in force as a whole or not
at all (`put_in_force`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import inf
from pathlib import Path
from typing import Any

import attrs
from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.logger import Logger

from perimeter.config.site.config import SiteConfig
from perimeter.config.site.limits import LimitSettings
from perimeter.http.connections import HttpConnection
from perimeter.net.deadlines import Deadlines
from perimeter.offload import Offload
from perimeter.run.all_workers import known_reload
from perimeter.run.build.assembly import Assembly, assemble
from perimeter.run.build.prepared import Prepared, prepare
from perimeter.run.build.runtime import Runtime
from perimeter.run.build.upstreams import HEALTH, hear
from perimeter.run.build.user import DaemonUser
from perimeter.run.counting import Counting
from perimeter.run.listening import BoundListeners, Listeners
from perimeter.run.operated import make_desk
from perimeter.run.operations import ListenerStatus, answer_workers
from perimeter.run.other_workers import OtherWorkers
from perimeter.run.preparation import Preparation
from perimeter.run.problems import Examination
from perimeter.run.sockets import Sockets
from perimeter.run.steps import run_all
from perimeter.run.succession import go_on, measured, retire
from perimeter.run.upkeep import Upkeep
from perimeter.web.endpoints.operator.gateway import Reload
from perimeter.workers.place import Place

_log = Logger()

#: Seconds at a stop in which idle connections may still send a request, which may be on its way already.
_PATIENCE = 0.25

#: Seconds that a start waits for the signing keys of other machines.
_SETTLE = 3.0

#: Seconds in which connections that were cut at a stop may still deliver their last answers.
_CUT_TIME = 1.0


@attrs.frozen(eq=False)
class Made:
    """The result of `Worker.make` for a configuration: only assignments remain to be done."""

    prepared: Prepared
    bound: BoundListeners


class Worker:
    """Serves clients on ``sockets``. ``limits`` are the first ones. ``user`` writes the files, if it is not the present user.
    ``place`` is the place among several workers, ``workers`` their number. ``renewed`` is called with the certificates that this
    worker has renewed.

    First `prepare_now` and `put_in_force`, which bind the listeners, then `start`.
    """

    def __init__(
        self,
        reactor: Any,
        limits: LimitSettings,
        sockets: Sockets,
        user: DaemonUser | None = None,
        place: Place | None = None,
        workers: int = 1,
        renewed: Callable[[list[Path]], object] = lambda paths: None,
    ) -> None:
        self._reactor = reactor
        self._others = None if place is None else OtherWorkers(place, reactor, self._pause)
        parts = {} if self._others is None else self._others.parts()
        self._runtime = Runtime(reactor, Offload(reactor), Deadlines(reactor), user=user, place=place, workers=workers, **parts)
        self._runtime.metrics.in_force = lambda: measured(
            self._assembly, self._listeners.connections(), self._listeners.identities(), self._runtime
        )
        self._pools = (self._runtime.offload, self._runtime.hashing, self._runtime.blocking)
        self._preparation = Preparation(self._runtime)
        self._listeners = Listeners(self._runtime, limits, sockets)
        self._upkeep = Upkeep(self._runtime, self._listeners.exchanges, renewed)
        self._assembly: Assembly | None = None
        #: whether `start` was called, and `stop` was not
        self.running = False
        self.last_reload = Reload()
        self._started = 0.0
        self._desk = make_desk(self, self._runtime)
        self._counting = None if place is None else Counting(place, self._runtime)
        if place is not None:
            answer_workers(self, place)
            place.handlers[HEALTH] = lambda told: hear(() if self._assembly is None else self._assembly.upkeep, told)

    # -- from one configuration to the next

    def prepare_now(self, read: Callable[[], SiteConfig]) -> Prepared:
        """As `prepare`, for the start: blocks, before the reactor turns and while the process has all of its privileges."""
        return prepare(read, self._runtime)

    def prepare(self, read: Callable[[], SiteConfig]) -> Deferred[Prepared]:
        """Read a configuration with ``read``, and the files that it names, in a thread. May be cancelled.

        Fails with `StartupError` if anything is wrong; nothing in use has changed then.
        """
        return self._preparation.prepare(read)

    def put_in_force(self, prepared: Prepared) -> None:
        """Put the prepared configuration in force, as a whole or not at all. Raises as `make` does."""
        self.assign(self.make(prepared))

    def make(self, prepared: Prepared) -> Made:
        """Do everything that can fail: bind listeners, build and start plug-ins. The owner calls `assign` or `give_up` next.

        Raises `StartupError` (or what a bug raises) if that fails; it is undone and ``prepared`` is discarded then.
        """
        try:
            assembly = assemble(prepared, self._runtime, self._desk)
            bound = self._listeners.bind(assembly, prepared.contexts)
            try:
                if self.running:
                    assembly.chain.start()
            except BaseException:
                bound.undo()
                raise
        except BaseException:
            self._preparation.discard(prepared)
            raise
        return Made(prepared, bound)

    def give_up(self, made: Made) -> None:
        """Undo `make`."""
        assembly = made.bound.assembly
        run_all(
            "what was made of a configuration is still there",
            made.bound.undo,
            *([assembly.chain.stop] if self.running else []),
            *(pool.close for pool in assembly.pools),
            partial(self._preparation.discard, made.prepared),
        )

    def assign(self, made: Made) -> None:
        """Put the made configuration in force. This does not fail: it takes every step, and logs the exception of a step."""
        bound = made.bound
        old, self._assembly = self._assembly, bound.assembly
        run_all(
            "a part of the new configuration is not in force",
            partial(self._runtime.metrics.configured, made.prepared.config),
            partial(self._runtime.states.adopt, made.prepared.state),
            partial(made.prepared.state.state.use_key, made.prepared.secrets),
            partial(self._listeners.put_in_force, bound),
            partial(self._upkeep.look_after, bound.assembly),
            partial(go_on, old, bound.assembly),
            *([partial(self._others.put_in_force, bound.assembly)] if self._others is not None else []),
            *(one.start for one in bound.assembly.upkeep if self.running),
        )
        if old is not None:
            retire(old)

    def _pause(self, paused: bool) -> None:
        """Stop accepting connections, or accept them again."""
        self._listeners.pause(paused)

    def reopen_logs(self) -> None:
        """Use the audit files that are at their paths now."""
        if self._assembly is not None:
            self._assembly.audit.reopen()

    # -- start and end

    def start(self) -> None:
        """Start the threads, the plug-ins and the upkeep. Raises `StartupError` if a plug-in cannot start."""
        assert self._assembly is not None, "put_in_force comes first"
        for pool in self._pools:
            pool.start()
        self._preparation.start()
        self._assembly.chain.start()
        self._upkeep.start()
        for one in self._assembly.upkeep:
            one.start()
        self.running = True
        self._started = self._reactor.seconds()
        if self._counting is not None:
            self._counting.start()
        if self._others is not None and self._runtime.place is not None:
            self._reactor.callLater(0, self._join, self._others, self._runtime.place)

    def settled(self) -> Deferred[None]:
        """Fires soon after the start, when tokens and sessions can be judged and signed, or cannot be for some time.

        Never fails.
        """
        keys = self.assembly.keys.settled().addTimeout(_SETTLE, self._reactor).addErrback(lambda _: None)
        return DeferredList([self.assembly.state.settled(), keys]).addCallback(lambda _: None)

    def _join(self, others: OtherWorkers, place: Place) -> None:
        if self.running:
            others.join(self.assembly.state)
            Deferred.fromCoroutine(known_reload(place)).addCallback(self._was_reloaded)

    def stop(self) -> Deferred[None]:
        """Accept no more, let requests in flight finish for ``drain_timeout``, then cut what is left."""
        self.running = False
        self._upkeep.stop()
        self._desk.gateway.samples.stop()
        if self._others is not None:
            self._others.stop()
        done: Deferred[None] = Deferred()
        now, most = self._reactor.seconds(), self.assembly.config.perimeter.drain_timeout
        self._await_idle(done, now + min(_PATIENCE, most), now + most)
        return done.addCallback(self._close)

    def _await_idle(self, done: Deferred[None], patience: float, deadline: float) -> None:
        """Answer requests that are in flight or on their way, until the time ``patience``."""
        if self._listeners.drain() and not self._hurried() and self._reactor.seconds() < patience:
            self._reactor.callLater(0.05, self._await_idle, done, patience, deadline)
            return
        self._listeners.stop()
        self._await_drained(done, deadline)

    def _await_drained(self, done: Deferred[None], deadline: float) -> None:
        connections = self._connections()
        busy = any(connection.silent_since == inf for connection in connections)
        if busy and not self._hurried() and self._reactor.seconds() < deadline:
            self._reactor.callLater(0.05, self._await_drained, done, deadline)
            return
        for connection in connections:
            connection.cut()
        # One turn more at least, in which cut connections write their records.
        self._reactor.callLater(0, self._await_closed, done, self._reactor.seconds() + _CUT_TIME)

    def _await_closed(self, done: Deferred[None], deadline: float) -> None:
        if self._connections() and not self._hurried() and self._reactor.seconds() < deadline:
            self._reactor.callLater(0.05, self._await_closed, done, deadline)
        else:
            done.callback(None)

    def _connections(self) -> list[HttpConnection]:
        return [one for several in self._listeners.connections().values() for one in several]

    def _hurried(self) -> bool:
        """Whether there was a second signal."""
        return bool(getattr(self._reactor, "stop_now", False))  # only `perimeter.net.reactor` has it

    def _close(self, _: None) -> Deferred[None]:
        assembly, self._assembly = self._assembly, None
        written = self._upkeep.look_after(None)
        flushed = None
        if assembly is not None:
            if assembly.tracer is not None:
                flushed = assembly.tracer.exporter.stop()
            retire(assembly)
            for pool in assembly.pools:
                for connection in list(pool.connections):
                    connection.drop()
        self._listeners.clear()
        self._preparation.stop()
        for threads in self._pools:
            threads.stop()
        self._runtime.refusals.finish()
        self._runtime.handshakes.finish()
        if flushed is not None:
            written.addCallback(lambda _: flushed)
        return written if self._counting is None else written.addBoth(lambda _: self._counted())

    def _counted(self) -> Deferred[None]:
        """All requests have ended: the manager keeps their counts."""
        return succeed(None) if self._counting is None else self._counting.stop()

    # -- for the operator and the metrics

    @property
    def assembly(self) -> Assembly:
        """What is in force. Raises ValueError before the start and while the worker stops."""
        if self._assembly is None:
            raise ValueError("the gateway is not running")
        return self._assembly

    def listeners(self) -> list[ListenerStatus]:
        """The listeners, and how many connections each has."""
        return self._listeners.listeners()

    def uptime(self) -> float:
        """Seconds since the start."""
        return float(self._reactor.seconds() - self._started)

    def count_reload(self, success: bool, reason: str = "") -> None:
        """Count a reload in the metrics, once for all workers. ``reason`` is why it was refused."""
        place = self._runtime.place
        if place is None or place.leads:
            self._runtime.metrics.count_reload(success)
        self._was_reloaded(Reload(self._reactor.seconds(), "" if success else reason))

    def _was_reloaded(self, reload: Reload) -> None:
        if reload.at >= self.last_reload.at:
            self.last_reload = reload
            self._runtime.metrics.reloaded = not reload.refused

    def examination(self) -> Examination:
        """See `RunningGateway`."""
        identities, refused = self._listeners.identities(), self.last_reload.refused
        return Examination(self.assembly, self._runtime, identities, refused, self._upkeep.own_record())

    def report_repeats(self) -> None:
        """Log how often refusals and failed TLS handshakes have repeated."""
        self._runtime.refusals.report()
        self._runtime.handshakes.report()

    def __str__(self) -> str:
        return f"listening: {self._listeners}"
