"""Measures the cost of several workers, and how evenly lasting connections are spread over them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from bench.clients.start import Client
from bench.figures import Measurement
from bench.peers.base import Peer
from bench.peers.perimeter import Perimeter
from bench.run import CPU, Load, Run
from bench.scenarios.base import Scenario
from bench.scenarios.requests import SMALL

_CPU_OF = (1, 2)
"""Numbers of workers whose CPU per request is measured, all on one core."""
_SPREAD_OF = (2, 4)
_LASTING = 1_000
_OPEN_TIMEOUT = 120.0
_TIMES = 3
"""More rounds than usual: the aim, 1.05, is closer to 1 than the noise of one round."""
_ESTABLISHED = "01"


def _name(workers: int) -> str:
    return f"{workers} worker{'s' * (workers > 1)}"


def _cpu(run: Run) -> Measurement:
    gateways = [Perimeter(_name(number), workers=number) for number in _CPU_OF]
    load = Load(SMALL, (run.bearer,))
    for gateway in gateways:
        run.start(gateway)
    try:
        for gateway in gateways:
            run.send(gateway, load, 2.0)

        def once(peer: Peer) -> float:
            return run.cpu(peer, lambda: run.send(peer, load, run.options.seconds).requests)

        found = run.in_rounds("workers: bearer", CPU, gateways, once, times=_TIMES)
    finally:
        for gateway in gateways:
            run.dismiss(gateway)
    return Measurement("workers: bearer", CPU, found.samples, gateways[0].name, "all workers share one core", growth=True)


def _spread(run: Run) -> Measurement:
    samples = {_name(number): [_furthest(run, number, turn) for turn in range(run.options.rounds)] for number in _SPREAD_OF}
    return Measurement(f"workers: spread of {_LASTING:,}", "% of the mean", samples, _name(_SPREAD_OF[0]), growth=True)


def _furthest(run: Run, workers: int, turn: int) -> float:
    """The largest distance of a worker from the mean, in percent, with lasting connections."""
    gateway = Perimeter(f"spread-{workers}-{turn}", workers=workers)
    run.start(gateway)
    try:
        with Client(run.around, "idle", str(gateway.port), str(_LASTING), SMALL, run.bearer) as client:
            client.line(_OPEN_TIMEOUT)
            held = sorted(connections(gateway.serving(run.around), gateway.port).values())
    finally:
        run.dismiss(gateway)
    run.say(f"workers: {_LASTING:,} connections over {workers}: {held}")
    mean = _LASTING / workers
    return max(abs(one - mean) for one in held) / mean * 100


def connections(pids: Sequence[int], port: int) -> dict[int, int]:
    """How many connections that clients have made to the local ``port`` each process has (proc(5))."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    sockets = {f"socket:[{one[9]}]" for one in lines if one[3] == _ESTABLISHED and int(one[1].partition(":")[2], 16) == port}
    return {pid: sum(link in sockets for link in _links(pid)) for pid in pids}


def _links(pid: int) -> list[str]:
    found = []
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            found.append(os.readlink(descriptor))
    return found


def _measure(run: Run, peers: Sequence[Peer]) -> list[Measurement]:
    return [_cpu(run), _spread(run)]


SCENARIOS = (
    Scenario(
        "workers",
        f"CPU of a request with one worker and with two, and the spread of {_LASTING:,} connections",
        ("perimeter",),
        _measure,
    ),
)
