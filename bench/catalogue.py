"""All scenarios and all peers, by name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.errors import BenchError
from bench.peers.base import Peer
from bench.peers.haproxy import HAProxy
from bench.peers.nginx import NginxPlain, NginxSeed, NginxTuned
from bench.peers.perimeter import Perimeter
from bench.peers.twisted_web import TwistedWeb
from bench.scenarios import growth, guessing, handshakes, latency, logins, requests, websocket
from bench.scenarios.base import Scenario

SCENARIOS: tuple[Scenario, ...] = (
    *requests.SCENARIOS,
    *handshakes.SCENARIOS,
    *websocket.SCENARIOS,
    *latency.SCENARIOS,
    *logins.SCENARIOS,
    *growth.SCENARIOS,
    *guessing.SCENARIOS,
)
SHORT_PEERS = ("perimeter", "perimeter-before", "nginx-plain", "nginx-tuned")


def peers(against: Path | None = None) -> list[Peer]:
    """One of each kind, not started. ``against`` is another checkout of the gateway, which takes part as ``perimeter-before``."""
    before = [Perimeter("perimeter-before", against.resolve())] if against is not None else []
    return [Perimeter(), *before, NginxPlain(), NginxTuned(), NginxSeed(), HAProxy(), TwistedWeb()]


def scenarios(names: Sequence[str], *, short: bool) -> list[Scenario]:
    """Those of these names, or all; or those of the short form. Raises `BenchError` for a name that there is not."""
    known = {scenario.name: scenario for scenario in SCENARIOS}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise BenchError(f"no scenario is called {unknown[0]}; there are {', '.join(known)}")
    if names:
        return [known[name] for name in dict.fromkeys(names)]
    return [scenario for scenario in SCENARIOS if scenario.short or not short]
