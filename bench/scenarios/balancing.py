"""Measures the cost of choosing among several servers of a service, and of limits, checks and retries.

Each way has its own gateway in front of the same service, and the ways are measured in rounds, like peers.
"""

from __future__ import annotations

from collections.abc import Sequence

from bench.figures import Measurement
from bench.peers.base import Peer
from bench.peers.perimeter import Perimeter
from bench.run import CPU, Load, Run
from bench.scenarios.base import Scenario
from bench.scenarios.requests import SMALL
from bench.upstream import PREFIX

_EVERYTHING = f"""\
balance = least-connections
max_requests = 1000
health = GET {PREFIX}/small 200 every 1s
slow_start = 10s
eject_after = 5
retries = 1
"""

WAYS = {
    "one server": (1, ""),
    "round-robin": (3, "balance = round-robin\n"),
    "least-connections": (3, "balance = least-connections\n"),
    "hash(user)": (3, "balance = hash(user)\n"),
    "all options": (3, _EVERYTHING),
}
"""The number of servers and the lines of the upstream, by the name of the way. The first one is the base."""


def _balancing(run: Run, peers: Sequence[Peer]) -> list[Measurement]:
    gateways = {
        f"way-{at}": Perimeter(f"way-{at}", servers=servers, upstream=lines) for at, (servers, lines) in enumerate(WAYS.values())
    }
    names = dict(zip(gateways, WAYS, strict=True))
    load = Load(SMALL, (run.bearer,))
    for gateway in gateways.values():
        run.start(gateway)
    try:
        for gateway in gateways.values():
            run.send(gateway, load, 2.0)

        def once(peer: Peer) -> float:
            return run.cpu(peer, lambda: run.send(peer, load, run.options.seconds).requests)

        found = run.in_rounds("balancing", CPU, list(gateways.values()), once)
    finally:
        for gateway in gateways.values():
            run.dismiss(gateway)
    samples = {names[peer]: values for peer, values in found.samples.items()}
    note = "small JSON, Bearer token; three servers except in the first column"
    return [Measurement("balancing", CPU, samples, next(iter(WAYS)), note, growth=True)]


SCENARIOS = (Scenario("balancing", "one server, and ways to choose among three", ("perimeter",), _balancing),)
