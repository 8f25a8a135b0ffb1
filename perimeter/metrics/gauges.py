"""The values that are read at each scrape: connections, queues, and the health of servers and authenticators."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from math import inf
from typing import Final

from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric

import perimeter
from perimeter.metrics.sources import ScrapeSources
from perimeter.metrics.upstreams import upstream_gauges
from perimeter.state.freshness import Always, machine_seconds
from perimeter.tokens.key_file import KeyState

MERGES: Final[Mapping[str, Callable[[Iterable[float]], float]]] = {
    "perimeter_connections": sum,
    "perimeter_requests_in_flight": sum,
    "perimeter_upstream_connections": sum,
    "perimeter_upstream_server_up": min,
    "perimeter_upstream_server_state": max,
    "perimeter_upstream_requests_in_flight": sum,
    "perimeter_upstream_requests_waiting": sum,
    "perimeter_audit_healthy": min,
    "perimeter_authenticator_down": max,
    "perimeter_offload_waiting": sum,
    "perimeter_sessions": max,
    "perimeter_cluster_heard_seconds": max,
    "perimeter_cluster_stale": max,
    "perimeter_cluster_clock_offset_seconds": partial(max, key=abs),
    "perimeter_signing_key_activated_timestamp_seconds": max,
    "perimeter_certificate_expiry_timestamp_seconds": min,
    "process_virtual_memory_bytes": sum,
    "process_resident_memory_bytes": sum,
    "process_start_time_seconds": min,
    "process_open_fds": max,
    "process_max_fds": min,
    "python_info": max,
}
"""How to merge the values of several worker processes: the worst state; the latest of values that all workers have."""


def build_info() -> Metric:
    """The version of the gateway."""
    return InfoMetricFamily("perimeter_build", "The version of the gateway.", {"version": perimeter.__version__})


def gauges(now: ScrapeSources) -> Iterator[Metric]:
    """All gauges."""
    yield from _listeners(now)
    yield from upstream_gauges(now.pools)
    healthy = GaugeMetricFamily("perimeter_audit_healthy", "1 unless an audit log cannot be written.")
    healthy.add_metric((), not now.audit_failing)
    yield healthy
    down = GaugeMetricFamily(
        "perimeter_authenticator_down",
        "1 while an authenticator is taken to be down, and is not asked.",
        labels=("authenticator", "realm"),
    )
    for one in now.authenticators:
        down.add_metric((one.name, one.realm), one.breaker.open)
    yield down
    waiting = GaugeMetricFamily("perimeter_offload_waiting", "Jobs that wait for a thread.", labels=("pool",))
    for name, queue in now.queues.items():
        waiting.add_metric((name,), queue.waiting)
    yield waiting
    sessions = GaugeMetricFamily("perimeter_sessions", "Sessions of users who have signed in with a browser.")
    sessions.add_metric((), now.sessions)
    yield sessions
    if now.freshness.limit < inf:
        yield from _cluster(now.freshness)
    signing = GaugeMetricFamily(
        "perimeter_signing_key_activated_timestamp_seconds", "Time since when the current key signs tokens, in epoch seconds."
    )
    for key in now.keys:
        if key.state is KeyState.SIGNING and key.activated is not None:
            signing.add_metric((), key.activated)
    yield signing
    expiry = GaugeMetricFamily(
        "perimeter_certificate_expiry_timestamp_seconds",
        "When the first certificate of a listener's chain ends, in epoch seconds.",
        labels=("listener",),
    )
    for name, end in now.certificates.items():
        expiry.add_metric((name,), end)
    yield expiry


def _cluster(freshness: Always) -> Iterator[Metric]:
    """What is known of a state that several machines share. What was never heard is as old as the time since the boot."""
    for name, text, value in (
        (
            "perimeter_cluster_heard_seconds",
            "Seconds since the time from which everything in the shared state is in force in the gateway.",
            min(freshness.silent, machine_seconds()),
        ),
        ("perimeter_cluster_stale", "1 while tokens and sessions get 503, because the shared state is too old.", freshness.stale),
        (
            "perimeter_cluster_clock_offset_seconds",
            "Seconds by which the clock of the shared state is ahead of the clock of this machine.",
            freshness.skew,
        ),
    ):
        gauge = GaugeMetricFamily(name, text)
        gauge.add_metric((), value)
        yield gauge


def _listeners(now: ScrapeSources) -> Iterator[Metric]:
    connections = GaugeMetricFamily("perimeter_connections", "Open client connections.", labels=("listener",))
    busy = GaugeMetricFamily(
        "perimeter_requests_in_flight", "Requests that are not answered yet, tunnels included.", labels=("listener",)
    )
    for listener, there in now.connections.items():
        connections.add_metric((listener,), len(there))
        busy.add_metric((listener,), there.in_flight())
    yield connections
    yield busy
