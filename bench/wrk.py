"""Runs wrk, and parses its report."""

from __future__ import annotations

import math
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

import attrs

from bench.errors import BenchError
from bench.processes import pinned

_REQUESTS = re.compile(r"^\s*(\d+) requests in ([0-9.]+)(us|ms|s|m|h),", re.M)
_SOCKET_ERRORS = re.compile(r"^\s*Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", re.M)
_BAD_STATUS = re.compile(r"^\s*Non-2xx or 3xx responses: (\d+)", re.M)
_PERCENTILE = re.compile(r"^\s*(50|99)%\s+([0-9.]+)(us|ms|s|m|h)$", re.M)
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


@attrs.frozen
class Outcome:
    """The figures of wrk. ``other_statuses`` counts responses with a status outside 2xx and 3xx, ``errors`` counts failed
    connections and timeouts. ``p50`` and ``p99`` are milliseconds from a request to the end of its answer.
    """

    requests: int
    seconds: float
    other_statuses: int = 0
    errors: int = 0
    p50: float = math.nan
    p99: float = math.nan

    @property
    def rate(self) -> float:
        """Requests per second."""
        return self.requests / self.seconds


def parse(text: str) -> Outcome:
    """Parse wrk's report. Raises `BenchError` if the text is not a report."""
    requests = _REQUESTS.search(text)
    if requests is None:
        raise BenchError(f"this is not a report of wrk: {text.strip()[-500:]!r}")
    errors = _SOCKET_ERRORS.search(text)
    other = _BAD_STATUS.search(text)
    return Outcome(
        int(requests[1]),
        float(requests[2]) * _SECONDS[requests[3]],
        int(other[1]) if other else 0,
        sum(int(count) for count in errors.groups()) if errors else 0,
        **{f"p{share}": float(value) * _SECONDS[unit] * 1000 for share, value, unit in _PERCENTILE.findall(text)},
    )


def run(
    url: str, *, core: int, connections: int, seconds: float, headers: Sequence[str] = (), script: Path | None = None
) -> Outcome:
    """Run wrk with one thread. ``seconds`` is rounded up, because wrk accepts only whole seconds."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, math.ceil(seconds))}s", "--timeout", "10s", "--latency"]
    for header in headers:
        command += ["-H", header]
    if script is not None:
        command += ["-s", str(script)]
    done = subprocess.run(pinned([*command, url], core), capture_output=True, text=True, timeout=seconds + 60, check=False)
    if done.returncode:
        raise BenchError(f"wrk ended with {done.returncode}: {done.stdout}{done.stderr}")
    return parse(done.stdout)
