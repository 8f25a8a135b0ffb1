"""Measures the latency at half of a peer's saturation, and whether thousands of idle connections change it."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import attrs

from bench import wrk
from bench.clients.start import Client
from bench.figures import Measurement
from bench.peers.base import Peer
from bench.processes import memory
from bench.run import CPU, Load, Run
from bench.scenarios.base import Scenario
from bench.scenarios.requests import ALL, SMALL

_CONNECTIONS = 32
THINKERS = 64
_IDLE = 10_000
_OPEN_TIMEOUT = 300.0
_KIB, _MIB = 1 << 10, 1 << 20


# Each client waits for its answer and then for a random time, so that requests arrive independently, as from many people. (h2load
# --rps sends the requests of all connections at once, every 10 ms.) The first wait also includes the time to make all
# connections.
_THINKING = """\
local calls = 0
math.randomseed(1)
function delay()
  calls = calls + 1
  local pause = -{mean} * math.log(1 - math.random())
  if calls <= {connections} then pause = pause + {connecting} end
  return pause
end"""


def thinking(rate: float, connections: int = THINKERS, connecting: float = 0.5) -> str:
    """A wrk script: ``connections`` together send ``rate`` requests per second, if answers take no time.

    The connections are made in the first ``connecting`` seconds.
    """
    mean = round(connections / rate * 1000, 2)
    return _THINKING.format(mean=mean, connections=connections, connecting=round(connecting * 1000))


def _at_half(run: Run, peer: Peer, most: float) -> wrk.Outcome:
    load = Load(SMALL, (run.bearer,), THINKERS, thinking(most / 2))
    return run.send(peer, load, run.options.seconds + 1)


def saturation(run: Run, peers: Sequence[Peer]) -> dict[str, float]:
    """The saturation of each peer: requests per second as fast as they are answered, the median of the rounds."""
    load = Load(SMALL, (run.bearer,), _CONNECTIONS)
    rates: dict[str, list[float]] = {peer.name: [] for peer in peers}
    for _ in range(run.options.rounds):
        for peer in peers:
            rates[peer.name].append(run.send(peer, load, run.options.seconds).rate)
    return {name: statistics.median(values) for name, values in rates.items()}


def _latency(run: Run, peers: Sequence[Peer]) -> list[Measurement]:
    most = saturation(run, peers)
    found: dict[str, list[wrk.Outcome]] = {peer.name: [] for peer in peers}
    for _ in range(run.options.rounds):
        for peer in peers:
            found[peer.name].append(_at_half(run, peer, most[peer.name]))
    rates = ", ".join(f"{name} {rate / 2:,.0f}" for name, rate in most.items())
    run.say(f"latency: at {rates} requests a second")
    p50 = {name: [one.p50 for one in latencies] for name, latencies in found.items()}
    p99 = {name: [one.p99 for one in latencies] for name, latencies in found.items()}
    note = f"the latency of each peer is at half of its own saturation (the median over rounds): {rates} requests a second"
    return [
        Measurement("latency p50", "ms", p50, peers[0].name, note),
        Measurement("latency p99", "ms", p99, peers[0].name, note),
    ]


@attrs.frozen
class _Idle:
    """The figures of one peer with idle connections, after one request on each."""

    start: list[float]
    each: list[float]
    p99_before: list[float]
    p99: list[float]
    cpu_before: list[float]
    cpu: list[float]


def _p99_and_cpu(run: Run, peer: Peer, most: float) -> tuple[list[float], list[float]]:
    """Measure in rounds the p99 at half of the saturation, and the CPU per request."""
    load = Load(SMALL, (run.bearer,), _CONNECTIONS)
    rounds = range(run.options.rounds)
    p99 = [_at_half(run, peer, most).p99 for _ in rounds]
    return p99, [run.cpu(peer, lambda: run.send(peer, load, run.options.seconds).requests) for _ in rounds]


def _idle_of(run: Run, kind: Peer) -> _Idle:
    # a new process, because the memory of an old process does not show the cost of its connections
    peer = kind.another(f"{kind.name}-idle")
    run.start(peer)
    try:
        start = memory(peer.processes)
        most = saturation(run, [peer])[peer.name]
        p99_before, cpu_before = _p99_and_cpu(run, peer, most)
        warm = memory(peer.processes)
        with Client(run.around, "idle", str(peer.port), str(_IDLE), SMALL, run.bearer) as client:
            client.line(_OPEN_TIMEOUT)
            each = (memory(peer.processes) - warm) / _IDLE
            p99, cpu = _p99_and_cpu(run, peer, most)
            return _Idle([start / _MIB], [each / _KIB], p99_before, p99, cpu_before, cpu)
    finally:
        run.dismiss(peer)


def _idle(run: Run, peers: Sequence[Peer]) -> list[Measurement]:
    found = {peer.name: _idle_of(run, peer) for peer in peers}
    kinds = (
        ("memory at start", "MiB", "start"),
        ("memory of an idle connection", "KiB", "each"),
        ("p99 without idle connections", "ms", "p99_before"),
        (f"p99 with {_IDLE:,}", "ms", "p99"),
        ("bearer without idle connections", CPU, "cpu_before"),
        (f"bearer with {_IDLE:,}", CPU, "cpu"),
    )
    note = "the gateways with idle connections are measured one after the other, not in turns"
    return [
        Measurement(what, unit, {name: getattr(one, field) for name, one in found.items()}, peers[0].name, note)
        for what, unit, field in kinds
    ]


SCENARIOS = (
    Scenario("latency", "p50 and p99 at half of each peer's saturation", ALL, _latency),
    Scenario(
        "idle",
        f"{_IDLE:,} idle TLS connections: memory, and what they cost the others",
        ("perimeter", "nginx-plain", "haproxy"),
        _idle,
    ),
)
