"""The parts that outlive a configuration: each assembly gets the same ones."""

from __future__ import annotations

import os
import sys
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import attrs

from perimeter.acme.pending import Pending
from perimeter.auth.chain.attempts import ALONE, AttemptPeers, IAttemptStore, MemoryAttempts
from perimeter.http.refusals import RefusalLog
from perimeter.limits.buckets import Buckets
from perimeter.limits.flights import Flights
from perimeter.limits.memory import LimitMemory
from perimeter.metrics.counts import Metrics
from perimeter.net.deadlines import Deadlines
from perimeter.net.handshakes import FailedHandshakes
from perimeter.net.turns import Turns
from perimeter.offload import Offload
from perimeter.run.build.shared_state import shared_state
from perimeter.run.build.state_kinds import STATE_KINDS
from perimeter.run.build.user import DaemonUser
from perimeter.state.stores import States
from perimeter.workers.place import Place

HASHING_THREADS = min(4, max(2, len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1))
"""Password hashes computed at a time: one on each processor, two at least, and no more than there is memory for."""

HASHING_QUEUE = 256
"""Logins that may wait for one of these threads, each for `queue_timeout` at most."""

BLOCKING_THREADS = 64
"""Logins in which a blocking login module is asked at a time. A thread that waits costs next to nothing."""

BLOCKING_QUEUE = 256
"""Logins that may wait for one of these threads."""


def hashing_threads(workers: int) -> int:
    """Threads for password hashes in one of ``workers`` processes: together as many as one process has, at least one each."""
    return max(1, HASHING_THREADS // workers)


def limit_memory(place: Place | None) -> LimitMemory:
    """The memory of limits: that of all workers, or of this process alone if it has no ``place`` among them."""
    if place is None:
        return LimitMemory.private()
    page, number = place.page, place.number
    return LimitMemory(Buckets(page.buckets), Flights(page.flights[number], partial(page.flights_of_others, number)), page.secret)


@attrs.frozen(eq=False)
class Runtime:
    """The reactor, the thread pools, the sweep of deadlines, the turns, the wrong passwords so far, the state, the metrics
    and the logs of refusals and of failed TLS handshakes.

    ``offload`` is for the gateway's own work, such as reading files. ``hashing`` and ``blocking`` are for logins alone
    (`perimeter.plugin.services.AuthServices`): clients without credentials can fill their queues. ``user`` writes the files of
    the daemon; None for the present user. ``place`` is that of a worker process among the others, None in a single process;
    ``workers`` is how many there are at the start. Requests over limits of routes are counted in ``limits``. ``challenges`` are
    what a CA is shown at this moment.
    """

    reactor: Any
    offload: Offload
    deadlines: Deadlines
    workers: int = 1
    turns: Turns = attrs.field(default=attrs.Factory(lambda self: Turns(self.reactor), takes_self=True))
    attempts: IAttemptStore = attrs.field(factory=MemoryAttempts)
    attempt_peers: AttemptPeers = ALONE
    states: States = attrs.field(
        default=attrs.Factory(lambda self: States(self.reactor, STATE_KINDS, shared=shared_state), takes_self=True)
    )
    metrics: Metrics = attrs.field(factory=Metrics)
    handshakes: FailedHandshakes = attrs.field(
        default=attrs.Factory(lambda self: FailedHandshakes(self.reactor.seconds), takes_self=True)
    )
    refusals: RefusalLog = attrs.field(default=attrs.Factory(lambda self: RefusalLog(self.reactor.seconds), takes_self=True))
    hashing: Offload = attrs.field(
        default=attrs.Factory(
            lambda self: Offload(self.reactor, hashing_threads(self.workers), HASHING_QUEUE, polite=True),
            takes_self=True,
        )
    )
    blocking: Offload = attrs.field(
        default=attrs.Factory(lambda self: Offload(self.reactor, BLOCKING_THREADS, BLOCKING_QUEUE), takes_self=True)
    )
    user: DaemonUser | None = None
    place: Place | None = None
    limits: LimitMemory = attrs.field(default=attrs.Factory(lambda self: limit_memory(self.place), takes_self=True))
    challenges: Pending = attrs.field(factory=Pending)

    def acting(self) -> AbstractContextManager[None]:
        """A block in which the process acts as ``user``: what it writes belongs to them."""
        return nullcontext() if self.user is None else self.user.acting()
