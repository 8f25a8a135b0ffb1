"""Gives each request a server or lets it wait, and records the health of the server from its outcome.

The decisions are in `perimeter.proxy.balance`, `perimeter.proxy.health`, `perimeter.proxy.retries` and `perimeter.proxy.waiting`.
This module combines them for one upstream, counts, and logs one line for each change of a server's state.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from twisted.logger import Logger, LogLevel

from perimeter.config.site.upstream import UpstreamSettings
from perimeter.net.deadlines import Deadlines
from perimeter.proxy.balance import BalancedServer, Balancer
from perimeter.proxy.counts import UpstreamCounts
from perimeter.proxy.fairness import FairShares
from perimeter.proxy.health import GOOD_STATES, HealthRules
from perimeter.proxy.retries import RetryBudget
from perimeter.proxy.waiting import RequestQueue, Waiter

_log = Logger()

S = TypeVar("S", bound=BalancedServer)


def health_rules(settings: UpstreamSettings) -> HealthRules:
    """The numbers of ``settings`` that concern the health of servers."""
    return HealthRules(
        fall=settings.health_fall,
        rise=settings.health_rise,
        slow_start=settings.slow_start,
        eject_after=settings.eject_after,
        eject_time=settings.eject_time,
    )


class ServerChoice(Generic[S]):
    """The servers of one upstream. ``limit`` is the largest number of requests of one server at a time, None for no limit."""

    def __init__(
        self,
        settings: UpstreamSettings,
        servers: Sequence[S],
        limit: int | None,
        deadlines: Deadlines,
        clock: Callable[[], float],
        counts: UpstreamCounts,
    ) -> None:
        self.name = settings.name
        self.balancer = Balancer(servers, settings.balance, limit)
        self.queue = RequestQueue(settings.queue, settings.queue_timeout, self.name, deadlines, clock, self._count_wait)
        self.budget = RetryBudget(settings.retry_budget)
        self.counts = counts
        #: None: a client may have any number of requests
        self.shares = FairShares() if settings.fair else None
        self._floor = settings.eject_floor
        self._admitting = False

    # -- a request

    def occupy(self, server: S) -> None:
        """A request begins with ``server``."""
        self.carry(server, 1)
        if not server.health.steady:
            server.health.tried()

    def vacate(self, server: S) -> None:
        """A request has ended with ``server``: the next waiting request may take its place."""
        self.carry(server, -1)

    def carry(self, server: S, change: int) -> None:
        """``server`` has one request more or less. It may have begun before a reload: then the server has a successor."""
        server.active += change
        if server.successor is not None:
            server.successor(change)
        if change < 0 and self.queue:
            self.admit_next()

    def admit_next(self) -> None:
        """Let waiting requests begin while a server has room; if no server can be used, refuse all of them."""
        if self._admitting:  # one that begins may end at once
            return
        self._admitting = True
        try:
            # each at most once: one that has tried the server with room waits on
            for _ in range(len(self.queue)):
                if not self.queue or not (self.balancer.has_room() or not self.balancer.tier()):
                    break
                waiter: Waiter = self.queue.next(self._within_share if self.shares is not None else None)
                waiter.admit()
        except StopIteration:
            pass  # those that wait have their share
        finally:
            self._admitting = False

    def _within_share(self, client: str) -> bool:
        assert self.shares is not None
        free = self.balancer.free()
        return not free or self.shares.may_begin(client, free)

    def _count_wait(self, how: str) -> None:
        self.counts.queue[self.name, how] += 1

    def may_retry(self) -> bool:
        """Whether the budget allows one more retry."""
        granted = self.budget.take()
        self.counts.retries[self.name, "sent" if granted else "refused"] += 1
        return granted

    def replace(self, servers: Sequence[S]) -> None:
        """Choose among ``servers`` from now on."""
        gone = {server.place for server in self.balancer.servers} - {server.place for server in servers}
        self.balancer.use(servers)
        for place in gone:
            self.counts.forget(self.name, place)
        if self.queue:
            self.admit_next()

    # -- reports about a server

    def unreachable(self, server: S, fault: str) -> None:
        """The gateway could not connect to ``server``."""
        server.health.unreachable(fault)
        self.report(server)

    def reached(self, server: S) -> None:
        """The gateway has connected to ``server``, or it has answered on an open connection."""
        if server.health.resting_until:
            server.health.reached()
            self.report(server)

    def answered(self, server: S, fault: str = "") -> None:
        """``server`` has answered a request badly if there is a ``fault``, otherwise well."""
        self.counts.answers[self.name, server.place, "bad" if fault else "good"] += 1
        if not fault:
            self.reached(server)
        if server.health.answered(not fault) and self.balancer.may_eject(server, self._floor):
            server.health.eject(fault)
            self.report(server)

    def checked(self, server: S, fault: str) -> None:
        """A check of ``server`` has failed if there is a ``fault``, otherwise passed."""
        self.counts.checks[self.name, server.place, "failed" if fault else "passed"] += 1
        server.health.checked(fault)
        self.report(server)

    def unchecked(self, server: S) -> None:
        """Results of checks of ``server`` do not arrive any more."""
        server.health.unchecked()
        self.report(server)

    def look(self) -> None:
        """Report what has changed with time: the end of an ejection or of a slow start. Called once a second."""
        for server in self.balancer.servers:
            if not server.health.steady:
                server.health.settle()
                self.report(server)

    def report(self, server: S) -> None:
        """Log and count a change of the state of ``server``, if there is one. Waiting requests may begin after it."""
        state = server.health.state()
        if state is server.shown:
            return
        worse = state not in GOOD_STATES
        server.shown = state
        self.counts.changes[self.name, server.place, str(state)] += 1
        _log.emit(
            LogLevel.warn if worse else LogLevel.info,
            "upstream {name}: server {server} is {state}{why}",
            name=self.name,
            server=server.place,
            state=str(state),
            why=f": {server.health.fault}" if worse else "",
        )
        if self.queue:
            self.admit_next()
