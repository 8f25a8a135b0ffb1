"""Measures whether one client can delay another: the latency of a bystander while other clients send as much as they can.

The load is `bench.clients.flood`. `_SCENES` lists its kinds and numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext

import attrs

from bench.clients.start import Client
from bench.figures import Measurement
from bench.peers.base import Peer
from bench.run import Run
from bench.scenarios.base import Scenario
from bench.scenarios.requests import SMALL

_START_TIMEOUT = 60.0


@attrs.frozen
class _Scene:
    """``count`` connections of `bench.clients.flood` send ``kind``. Without a kind the bystander is alone."""

    title: str
    kind: str = ""
    count: int = 0


_SCENES = (
    _Scene("alone"),
    *(_Scene(f"beside {count} that pipeline", "requests", count) for count in (1, 4, 16)),
    _Scene("beside 4 that send nested forms", "forms", 4),
    _Scene("beside 4 that send a Host of 7,500 labels", "hosts", 4),
)


def _p99(run: Run, peer: Peer, scene: _Scene) -> float:
    greedy = Client(run.around, "flood", str(peer.port), scene.kind, str(scene.count)) if scene.kind else nullcontext()
    with greedy:
        if isinstance(greedy, Client):
            greedy.line(_START_TIMEOUT)
        seconds = run.options.seconds
        with Client(run.around, "bystander", str(peer.port), SMALL, run.bearer, str(seconds)) as client:
            p99: float = client.result(seconds * 10 + 60)["p99"]
            return p99


def _starvation(run: Run, peers: Sequence[Peer]) -> list[Measurement]:
    return [
        run.in_rounds(f"bystander's p99 {scene.title}", "ms", peers, lambda peer, scene=scene: _p99(run, peer, scene))  # type: ignore[misc]
        for scene in _SCENES
    ]


SCENARIOS = (
    Scenario(
        "starvation",
        "a bystander's latency beside connections that pipeline thousands of requests, send nested forms, or absurd hosts",
        ("perimeter", "perimeter-before", "nginx-plain", "haproxy"),
        _starvation,
    ),
)
