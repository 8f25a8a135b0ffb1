"""What a scrape reads from the running gateway. `perimeter.metrics.gauges` makes samples of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs

from perimeter.auth.chain.asking import GuardedAuthenticator
from perimeter.http.connections import Connections
from perimeter.offload import Offload
from perimeter.proxy.pool import UpstreamPool
from perimeter.tokens.key_file import KeyEntry


@attrs.frozen
class ScrapeSources:
    """The parts of the running gateway. ``connections`` are by listener, ``queues`` by their purpose.

    ``sessions`` is how many sessions of browsers are kept.
    """

    connections: Mapping[str, Connections]
    pools: Sequence[UpstreamPool]
    audit_failing: bool
    authenticators: Sequence[GuardedAuthenticator]
    keys: Sequence[KeyEntry]
    queues: Mapping[str, Offload]
    sessions: int
