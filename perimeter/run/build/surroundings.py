"""What outlives a configuration, and is handed from one assembly to the next."""

from __future__ import annotations

from typing import Any

import attrs

from perimeter.auth.chain.throttle import IAttemptStore, MemoryAttempts
from perimeter.metrics.counts import Metrics
from perimeter.net.deadlines import Deadlines
from perimeter.offload import Offload
from perimeter.run.build.state_kinds import STATE_KINDS
from perimeter.state.stores import States

BLOCKING_THREADS = 64
"""Logins that may wait for a blocking login module at a time. A thread that waits costs next to nothing."""

BLOCKING_QUEUE = 256
"""And those that may wait for one of these threads."""


@attrs.frozen(eq=False)
class Surroundings:
    """What outlives a configuration: the reactor, the pools for slow work, the sweep of deadlines, the wrong passwords so far,
    the state, and what was counted.

    ``blocking`` is for what waits more than it works (`perimeter.plugin.services.AuthServices`).
    """

    reactor: Any
    offload: Offload
    deadlines: Deadlines
    attempts: IAttemptStore = attrs.field(factory=MemoryAttempts)
    states: States = attrs.field(default=attrs.Factory(lambda self: States(self.reactor, STATE_KINDS), takes_self=True))
    metrics: Metrics = attrs.field(factory=Metrics)
    blocking: Offload = attrs.field(
        default=attrs.Factory(lambda self: Offload(self.reactor, BLOCKING_THREADS, BLOCKING_QUEUE), takes_self=True)
    )
