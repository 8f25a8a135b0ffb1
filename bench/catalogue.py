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
from bench.scenarios import (
    balancing,
    crowds,
    growth,
    guessing,
    handshakes,
    latency,
    logic,
    logins,
    requests,
    starvation,
    websocket,
    workers,
)
from bench.scenarios.base import Scenario

SCENARIOS: tuple[Scenario, ...] = (
    *requests.SCENARIOS,
    *handshakes.SCENARIOS,
    *websocket.SCENARIOS,
    *latency.SCENARIOS,
    *logins.SCENARIOS,
    *growth.SCENARIOS,
    *starvation.SCENARIOS,
    *guessing.SCENARIOS,
    *crowds.SCENARIOS,
    *workers.SCENARIOS,
    *balancing.SCENARIOS,
)
BY_NAME_ONLY = {logic.NAME: logic.TITLE}
"""The titles of scenarios that are measured alone, without peers."""
SHORT_PEERS = ("perimeter", "perimeter-before", "nginx-plain", "nginx-tuned")


def peers(against: Path | None = None) -> list[Peer]:
    """One peer of each kind, not started. ``against`` is another checkout of the gateway, the peer ``perimeter-before``."""
    before = [Perimeter("perimeter-before", against.resolve())] if against is not None else []
    return [Perimeter(), *before, NginxPlain(), NginxTuned(), NginxSeed(), HAProxy(), TwistedWeb()]


def scenarios(names: Sequence[str], *, short: bool) -> list[Scenario]:
    """The scenarios with these names, or all scenarios, or those of the short form. Raises `BenchError` for an unknown name."""
    known = {scenario.name: scenario for scenario in SCENARIOS}
    for name in names:
        if name in BY_NAME_ONLY:
            raise BenchError(f"{name} is measured alone: use --only {name} without another name")
        if name not in known:
            raise BenchError(f"there is no scenario {name}; the scenarios are {', '.join((*known, *BY_NAME_ONLY))}")
    if names:
        return [known[name] for name in dict.fromkeys(names)]
    return [scenario for scenario in SCENARIOS if scenario.short or not short]
