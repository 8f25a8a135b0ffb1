"""What is simulated: the spread of revocations, failovers, and a restart of all machines at the same moment."""

from __future__ import annotations

import random
import statistics
from collections.abc import Coroutine, Sequence
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred

from bench.cluster.clock import VirtualClock
from bench.cluster.engine import Engine
from bench.cluster.machine import NEVER, Machine, deterministic
from perimeter.cluster.followed import Heard
from perimeter.cluster.log import Entry
from perimeter.cluster.names import ORIGIN
from perimeter.tokens.revocation import RevokedGrant

LATENCY: Final = 0.0005
"""Seconds from a machine to Redis and back, within one site."""
DISK: Final = 0.003
"""Seconds that a machine takes to write something durably."""
LAG: Final = 1.0
"""Seconds of writes that a new primary lacks: far more than a replica lacks mostly."""
REQUESTS: Final = 2000
"""Requests a second of each machine."""


class Site:
    """``count`` machines that follow the log of one engine. Deterministic by ``seed``."""

    def __init__(self, seed: int, count: int, *, again: bool = True) -> None:
        self.chance = random.Random(seed)
        deterministic(self.chance)
        self.clock = VirtualClock()
        self.engine = Engine(self.clock, self.chance, LATENCY)
        self.engine.values[ORIGIN] = b"site"
        self.again = again
        self.parsed: dict[bytes, Entry] = {}
        #: by revoked id: when it came into force on a machine that had not revoked it itself
        self.seen: dict[str, list[float]] = {}
        self.began: dict[str, float] = {}
        self.answered: dict[str, float] = {}
        self.machines = [self.add() for _ in range(count)]

    def add(self) -> Machine:
        """One more machine, which has nothing."""
        return Machine(self.engine, self.parsed, DISK, again=self.again, in_force=self._in_force)

    def _in_force(self, id: str) -> None:
        self.seen.setdefault(id, []).append(self.clock.seconds())

    def start(self) -> None:
        """Start all machines, and let them find the log."""
        for machine in self.machines:
            self.clock.callLater(self.chance.uniform(0.0, 1.0), machine.follower.start)
        self.clock.run(3.0)

    def revoke(self, number: int) -> None:
        """Revoke a new access token at any machine."""
        id = f"jti-{number}"
        self.began[id] = self.clock.seconds()

        def answered(good: bool) -> None:
            if good:
                self.answered[id] = self.clock.seconds()

        self.chance.choice(self.machines).revoke(id).addCallback(answered)

    def load(self, rate: float, seconds: float) -> None:
        """Plan ``rate`` revocations a second for so long."""
        at, number = 0.0, len(self.began)
        while (at := at + self.chance.expovariate(rate)) < seconds:
            self.clock.callLater(at, self.revoke, number)
            number += 1


@attrs.frozen
class Spread:
    """How soon revoked tokens are refused everywhere, in seconds since the request to revoke, and since its answer."""

    nodes: int
    rate: int
    revocations: int
    p50: float
    p99: float
    longest: float
    after_answer: float
    deliveries: float
    reads: float
    cpu: float


def spread(seed: int, nodes: int, rate: int, revocations: int) -> Spread:
    """``revocations`` at ``rate`` a second on so many machines."""
    site = Site(seed, nodes)
    site.start()
    engine, seconds = site.engine, revocations / rate
    cpu, counts = engine.cpu, engine.counts.copy()
    site.load(rate, seconds)
    site.clock.run(seconds)
    used, did = engine.cpu - cpu, engine.counts - counts
    site.clock.run(5.0)
    everywhere = {id: max(times) for id, times in site.seen.items() if len(times) >= nodes}
    if set(everywhere) != set(site.began):
        raise AssertionError("a revocation has not reached all machines")
    took = sorted(everywhere[id] - site.began[id] for id in everywhere)
    after = max(everywhere[id] - site.answered[id] for id in everywhere)
    return Spread(
        nodes,
        rate,
        len(took),
        statistics.median(took),
        took[int(len(took) * 0.99)],
        took[-1],
        max(0.0, after),
        did["deliveries"] / seconds,
        did["commands"] / seconds,
        used / seconds,
    )


@attrs.frozen
class FailOver:
    """What a failover does. ``stale`` and ``refused`` are requests of all machines: served while the machine knew of no
    revocation of the last seconds, and refused with 503. ``lost`` are pairs of an answered revocation and a machine that accepts
    the token 60 s after the new primary came."""

    nodes: int
    away: float
    again: bool
    answered: int
    unanswered: int
    lost: int
    stale_seconds: float
    stale: float
    refused: float
    recovered: float


def fail_over(seed: int, nodes: int, away: float, rate: float, *, again: bool) -> FailOver:
    """Kill the primary under a load of revocations. Every tenth machine was cut off a moment before; one joins afterwards."""
    site = Site(seed, nodes, again=again)
    site.start()
    site.load(rate, away + 40.0)
    site.clock.run(20.0 - LAG)
    cut = site.machines[::10] if nodes >= 10 else site.machines[:1]
    for machine in cut:
        machine.client.cut_off = True
        machine.follower._close()
        machine.follower.stop()
    site.clock.run(LAG)
    for machine in cut:
        machine.client.cut_off = False
        machine.follower.start()
    site.engine.fail_over(away, LAG)
    died, step = site.clock.seconds(), 0.25
    stale = refused = longest = recovered = 0.0
    while site.clock.seconds() < died + away + 60.0:
        site.clock.run(step)
        now = site.clock.seconds()
        for machine in site.machines:
            silent = machine.freshness.silent
            if now - silent > died + away:
                continue
            recovered = now - died - away
            if machine.freshness.stale:
                refused += step * REQUESTS
            else:
                stale += step * REQUESTS
                longest = max(longest, silent)
    joined = site.add()
    joined.follower.start()
    site.clock.run(10.0)
    every = [*site.machines, joined]
    lost = sum(not machine.refuses(id) for id in site.answered for machine in every)
    return FailOver(
        nodes, away, again, len(site.answered), len(site.began) - len(site.answered), lost, longest, stale, refused, recovered
    )


@attrs.frozen
class Restart:
    """All machines start at the same moment. ``median`` and ``longest``: seconds until they have all of the log."""

    nodes: int
    keeps: bool
    revocations: int
    median: float
    longest: float
    commands: int
    megabytes: float
    cpu: float


def restart(seed: int, nodes: int, revocations: int, *, keeps: bool) -> Restart:
    """Start all machines at once: each with its store, as of 1,000 entries before, or with nothing."""
    site = Site(seed, 1)
    clock, engine = site.clock, site.engine
    (first,) = site.machines
    first.follower.start()
    clock.run(3.0)
    for number in range(revocations):
        first._revoke(RevokedGrant(f"old-{number}", NEVER))
    _settled(site, first.bases._make(len(engine.stream.places)))
    before = first.followed.heard
    for number in range(1000):
        site.clock.callLater(number * 0.001, site.revoke, number)
    clock.run(10.0)
    first.follower.stop()
    site.machines = [site.add() for _ in range(nodes)]
    began, cpu, counts = clock.seconds(), engine.cpu, engine.counts.copy()
    for machine in site.machines:
        if keeps:
            machine.followed.apply(Heard("site", before.cursor))
        machine.follower.start()
    while clock.seconds() < began + 120.0 and any(machine.ready is None for machine in site.machines):
        clock.run(0.01)
    ready: Sequence[float] = sorted(machine.ready - began for machine in site.machines if machine.ready is not None)
    if len(ready) < nodes or not all(machine.refuses("jti-999") for machine in site.machines):
        raise AssertionError("a machine does not start")
    did = engine.counts - counts
    kept = 0 if keeps else revocations
    return Restart(nodes, keeps, kept, statistics.median(ready), ready[-1], did["commands"], did["bytes"] / 1e6, engine.cpu - cpu)


def _settled(site: Site, work: Coroutine[Any, Any, None]) -> None:
    done: list[object] = []
    Deferred.fromCoroutine(work).addBoth(done.append)
    site.clock.run(30.0)
    if done != [None]:
        raise AssertionError(done)
