"""Two channels that are connected in memory, for tests that need no process."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from perimeter.workers.channel import Channel, Handler


def connected(
    left: Mapping[str, Handler], right: Mapping[str, Handler], clock: Clock | None = None
) -> tuple[Channel, Channel, Callable[[], None]]:
    """Two ends, and a function that delivers what they have sent until nothing is on its way."""
    time = clock or Clock()
    ends = Channel(left, time), Channel(right, time)
    transports = [StringTransport(), StringTransport()]
    for end, transport in zip(ends, transports, strict=True):
        end.makeConnection(transport)

    def pump() -> None:
        while any(transport.value() for transport in transports):
            for transport, other in zip(transports, reversed(ends), strict=True):
                sent = transport.value()
                transport.clear()
                if sent:
                    other.dataReceived(sent)

    return ends[0], ends[1], pump
