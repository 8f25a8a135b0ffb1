"""The servers of upstreams for Prometheus: their state, their requests, and the outcomes of the requests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from perimeter.proxy.counts import UpstreamCounts
from perimeter.proxy.health import ServerState
from perimeter.proxy.pool import UpstreamPool

_SERVER = ("upstream", "server")


def upstream_gauges(pools: Sequence[UpstreamPool]) -> Iterator[Metric]:
    """Gauges of the present state. The requests of an upstream with one server and without options are not counted here."""
    connections = GaugeMetricFamily("perimeter_upstream_connections", "Connections to services.", labels=(*_SERVER, "state"))
    up = GaugeMetricFamily(
        "perimeter_upstream_server_up",
        "0 if a server is down, is ejected, or could not be reached when it was last tried.",
        labels=_SERVER,
    )
    states = GaugeMetricFamily(
        "perimeter_upstream_server_state", "1 for the state that a server is in, 0 for the others.", labels=(*_SERVER, "state")
    )
    active = GaugeMetricFamily(
        "perimeter_upstream_requests_in_flight", "Requests that a server has not answered yet, tunnels included.", labels=_SERVER
    )
    waiting = GaugeMetricFamily(
        "perimeter_upstream_requests_waiting", "Requests that wait for a server with room.", labels=("upstream",)
    )
    for pool in pools:
        for server in pool.view():
            name = (pool.name, server.url)
            connections.add_metric((*name, "idle"), server.idle)
            connections.add_metric((*name, "busy"), server.busy)
            up.add_metric(name, server.usable)
            for state in ServerState:
                states.add_metric((*name, state), server.state is state)
            if not pool.plain:
                active.add_metric(name, server.active)
        if not pool.plain:
            waiting.add_metric((pool.name,), len(pool.choice.queue))
    yield from (connections, up, states, active, waiting)


def upstream_counters(counts: UpstreamCounts) -> Iterator[Metric]:
    """What has happened."""
    yield _counter(
        "perimeter_upstream_answers",
        "Answers of servers: bad ones are 502, 503, 504, missing and incomplete answers.",
        (*_SERVER, "result"),
        counts.answers,
    )
    yield _counter("perimeter_upstream_server_changes", "Changes of a server's state.", (*_SERVER, "state"), counts.changes)
    yield _counter("perimeter_upstream_checks", "Health checks.", (*_SERVER, "result"), counts.checks)
    yield _counter(
        "perimeter_upstream_retries",
        "Requests that were sent again, and requests that retry_budget did not allow to send again.",
        ("upstream", "result"),
        counts.retries,
    )
    yield _counter(
        "perimeter_upstream_queue",
        "Requests that had to wait: until a server had room, until queue_timeout, or not at all because the queue was full.",
        ("upstream", "result"),
        counts.queue,
    )
    yield _counter("perimeter_upstream_lookups", "Look-ups of names of servers.", ("upstream", "host", "result"), counts.lookups)


def _counter(name: str, text: str, labels: Sequence[str], rows: Counter[Any]) -> Metric:
    family = CounterMetricFamily(name, text, labels=labels)
    for values, count in rows.items():
        family.add_metric(values, count)
    return family
