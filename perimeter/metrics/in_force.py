"""What there is to look at when somebody scrapes; `perimeter.metrics.gauges`, which needs the library, makes samples of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import attrs

from perimeter.auth.chain.asking import Asked
from perimeter.offload import Offload
from perimeter.proxy.pool import UpstreamPool
from perimeter.tokens.key_file import KeyEntry


class OpenConnections(Protocol):
    """What is read of `perimeter.http.connections.Connections`."""

    def __len__(self) -> int: ...

    def in_flight(self) -> int:  # noqa: D102
        ...


@attrs.frozen
class InForce:
    """The parts that there are at the moment. ``connections`` are by listener, ``queues`` by what they are for."""

    connections: Mapping[str, OpenConnections]
    pools: Sequence[UpstreamPool]
    audit_failing: bool
    authenticators: Sequence[Asked]
    keys: Sequence[KeyEntry]
    queues: Mapping[str, Offload]
