"""h2load (of nghttp2): requests at a fixed rate, and how long each took."""

from __future__ import annotations

import math
import subprocess
from collections.abc import Sequence
from pathlib import Path

import attrs

from bench.errors import BenchError
from bench.figures import percentile
from bench.processes import pinned

_SETTLE = 0.5
"""Seconds at the beginning that do not count: the handshakes of all connections."""


@attrs.frozen
class Latencies:
    """Milliseconds from a request to the end of its answer; ``rate`` is how many a second there were in fact."""

    p50: float
    p99: float
    rate: float


def parse(text: str) -> Latencies:
    """A log file of h2load: start (µs since the epoch), status, µs. Raises `BenchError` where one failed or none is there."""
    requests = [(int(start), int(status), int(duration)) for start, status, duration in map(str.split, text.splitlines())]
    if not requests:
        raise BenchError("h2load got no answer")
    bad = sum(status != 200 for _, status, _ in requests)
    if bad:
        raise BenchError(f"{bad} of {len(requests)} requests of h2load were not answered with 200")
    first = min(start for start, _, _ in requests) + _SETTLE * 1e6
    counted = [(start, duration / 1000) for start, _, duration in requests if start >= first]
    if len(counted) < 2:
        raise BenchError("h2load ran too short")
    seconds = (max(start for start, _ in counted) - first) / 1e6
    durations = [duration for _, duration in counted]
    return Latencies(percentile(durations, 0.5), percentile(durations, 0.99), len(counted) / seconds)


def run(
    url: str, log: Path, *, core: int, connections: int, seconds: float, rate: float, headers: Sequence[str] = ()
) -> Latencies:
    """``rate`` requests a second over ``connections`` of HTTP/1.1. ``log`` is made, read and removed."""
    log.unlink(missing_ok=True)
    command = ["h2load", "--h1", "-t1", f"-c{connections}", f"-D{math.ceil(seconds + _SETTLE)}"]
    command += ["--rps", f"{rate / connections:.2f}", f"--log-file={log}"]
    for header in headers:
        command += ["-H", header]
    done = subprocess.run(pinned([*command, url], core), capture_output=True, text=True, timeout=seconds + 60, check=False)
    if done.returncode or not log.exists():
        raise BenchError(f"h2load ended with {done.returncode}: {done.stdout[-500:]}{done.stderr}")
    found = parse(log.read_text())
    log.unlink()
    return found
