"""What a scrape reads from the running gateway. `perimeter.metrics.gauges` makes samples of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs

from perimeter.auth.chain.asking import GuardedAuthenticator
from perimeter.errors import Refusal
from perimeter.http.connections import Connections
from perimeter.offload import Offload
from perimeter.proxy.pool import UpstreamPool
from perimeter.state.freshness import ALWAYS, Always
from perimeter.tokens.key_file import KeyEntry


class NotRunning(Refusal):
    """The gateway is about to stop."""

    status = 503
    reason = "not_running"
    phrase = "The gateway is not running"


@attrs.frozen
class ScrapeSources:
    """The parts of the running gateway. ``connections`` are by listener, ``queues`` by their purpose.

    ``sessions`` is how many sessions of browsers are kept. ``certificates`` are by listener: when the first one of its chains
    ends, in epoch seconds. ``freshness`` is how old the state is that several machines share.
    """

    connections: Mapping[str, Connections]
    pools: Sequence[UpstreamPool]
    audit_failing: bool
    authenticators: Sequence[GuardedAuthenticator]
    keys: Sequence[KeyEntry]
    queues: Mapping[str, Offload]
    sessions: int
    certificates: Mapping[str, float] = attrs.field(factory=dict)
    freshness: Always = ALWAYS
