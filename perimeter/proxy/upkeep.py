"""Periodic work for an upstream: health checks, look-ups of names, and changes of states with time."""

from __future__ import annotations

from collections.abc import Mapping

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

from perimeter.net.addresses import LookUp
from perimeter.proxy.checks import HealthChecks, Others
from perimeter.proxy.lookups import NameLookup
from perimeter.proxy.pool import UpstreamPool

_LOOK = 1.0
"""Seconds between looks at the states of servers."""


class UpstreamUpkeep:
    """Looks after ``pool``. ``names`` looks up the names of its servers; None if the system does that.

    ``lookups`` are by name. ``others`` are the other workers; None in a single process.
    """

    def __init__(
        self, pool: UpstreamPool, clock: IReactorTime, names: LookUp | None = None, others: Others | None = None
    ) -> None:
        self.pool = pool
        settings = pool.settings
        self._checks = None if settings.health is None else HealthChecks(pool, settings.health, clock, others)
        self._look = LoopingCall(pool.choice.look)
        self._look.clock = clock
        counts = pool.choice.counts.lookups

        def lookup(host: str, names: LookUp) -> NameLookup:
            def count(result: str) -> None:
                counts[pool.name, host, result] += 1

            return NameLookup(pool, host, names, settings.ttl_min, settings.ttl_max, clock, count)

        self.lookups: Mapping[str, NameLookup] = (
            {} if names is None else {host: lookup(host, names) for host in dict.fromkeys(settings.names)}
        )

    def start(self) -> None:
        """Begin. An upstream without periodic work costs nothing."""
        if not self.pool.plain:
            self._look.start(_LOOK, now=False)
        for lookup in self.lookups.values():
            lookup.start()
        if self._checks is not None:
            self._checks.start()

    def stop(self) -> None:
        """End."""
        if self._look.running:
            self._look.stop()
        for lookup in self.lookups.values():
            lookup.stop()
        if self._checks is not None:
            self._checks.stop()

    def heard(self, place: str, fault: str) -> None:
        """Another worker has checked the server at ``place``."""
        if self._checks is not None:
            self._checks.heard(place, fault)

    def adopt(self, old: UpstreamUpkeep) -> None:
        """Take over the addresses and the health of the same names and servers from ``old``, of the earlier configuration."""
        for host, lookup in self.lookups.items():
            before = old.lookups.get(host)
            if before is not None and before.addresses:
                lookup.adopt(before.addresses)
        self.pool.adopt(old.pool)
