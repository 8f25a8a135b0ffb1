"""WebSockets: the cost of a round trip of a small message after the upgrade."""

from __future__ import annotations

from collections.abc import Sequence

from bench.clients.start import Client
from bench.figures import Measurement
from bench.peers.base import Peer
from bench.run import CPU, Run
from bench.scenarios.base import Scenario
from bench.upstream import PREFIX

_PATH = f"{PREFIX}/echo"


def _measure(run: Run, peers: Sequence[Peer]) -> list[Measurement]:
    def messages(peer: Peer, seconds: float) -> int:
        client = Client(run.around, "websocket", "load", str(peer.port), _PATH, run.bearer, str(seconds))
        count: int = client.result(seconds + 60)["messages"]
        return count

    def once(peer: Peer) -> float:
        return run.cpu(peer, lambda: messages(peer, run.options.seconds))

    for peer in peers:
        messages(peer, 0.5)
    return [run.in_rounds("websocket", CPU, peers, once)]


SCENARIOS = (
    Scenario(
        "websocket",
        "round trips of 64 bytes over 32 WebSockets",
        ("perimeter", "nginx-plain", "haproxy"),
        _measure,
    ),
)
