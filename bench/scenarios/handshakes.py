"""New TLS connections: with a full handshake, and with a resumed session. No request is sent over them."""

from __future__ import annotations

from collections.abc import Sequence

from bench.clients.start import Client
from bench.errors import BenchError
from bench.figures import Measurement
from bench.peers.base import Peer
from bench.run import CPU, Run
from bench.scenarios.base import Measure, Scenario

# the peers with Auth-o-tron have the TLS of nginx
_FULL = ("perimeter", "nginx-plain", "haproxy", "twisted-web")
# stock Twisted sets no session context, and OpenSSL resumes no session without one
_RESUMED = ("perimeter", "nginx-plain", "haproxy")


def _measured(name: str, kind: str) -> Measure:
    def connections(run: Run, peer: Peer, seconds: float) -> int:
        client = Client(run.around, "handshakes", str(peer.port), str(seconds), kind)
        answer = client.result(seconds + 60)
        count: int = answer["connections"]
        resumed: int = answer["resumed"]
        if not count or resumed != (count if kind == "resumed" else 0):
            raise BenchError(f"{peer.name} resumed {resumed} of {count} TLS sessions")
        return count

    def measure(run: Run, peers: Sequence[Peer]) -> list[Measurement]:
        for peer in peers:
            connections(run, peer, 0.5)

        def once(peer: Peer) -> float:
            return run.cpu(peer, lambda: connections(run, peer, run.options.seconds))

        return [run.in_rounds(name, CPU, peers, once)]

    return measure


SCENARIOS = (
    Scenario("handshake-full", "a new TLS 1.3 connection", _FULL, _measured("handshake-full", "full")),
    Scenario("handshake-resumed", "one that resumes a session", _RESUMED, _measured("handshake-resumed", "resumed")),
)
