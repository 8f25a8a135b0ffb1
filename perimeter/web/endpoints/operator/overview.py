"""The overview: what is wrong first, then what happens now."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import perimeter
from perimeter.cluster.shown import SERVING
from perimeter.metrics.figures import CLASSES, Figures, Now
from perimeter.metrics.samples import Sample
from perimeter.web.endpoints.operator.charts import CHARTS, draw, series
from perimeter.web.endpoints.operator.events import described_trouble
from perimeter.web.endpoints.operator.section import Asked, Section, duration, moment
from perimeter.web.endpoints.operator.services import state_word

SHORTEST_REFRESH: Final = 5
"""Seconds between two loads of the page by itself, at least."""

_LONGEST_REFRESH: Final = 3600
_MOST_REASONS: Final = 8


async def _show(asked: Asked) -> Mapping[str, Any]:
    gateway = asked.gateway
    troubles = await gateway.troubles()
    samples = gateway.samples.look()
    figures = await gateway.figures()
    reload = gateway.last_reload
    shared = await gateway.shared()
    return {
        "troubles": [described_trouble(one) for one in troubles],
        "charts": [draw(chart, samples) for chart in CHARTS],
        "moment": moment,
        "history": {
            "times": [one.time for one in samples],
            "series": [series(one) for one in samples],
            "refusals": [list(one.refusals.items()) for one in samples[-60:]],
        },
        "totals": list(zip(CLASSES, figures.totals.requests, strict=True)),
        "refusals": _refusals(samples),
        "all_refusals": Counter(figures.totals.refusals).most_common(_MOST_REASONS),
        "version": perimeter.__version__,
        "uptime": duration(figures.uptime),
        "started": moment(gateway.seconds() - figures.uptime),
        "reloaded": moment(reload.at),
        "refused_reload": reload.refused,
        "listeners": [
            {
                "name": one.name,
                "port": one.port,
                "place": one.path or f"port {one.port}",
                "connections": figures.now.connections.get(one.name, one.connections),
            }
            for one in gateway.listeners()
        ],
        "workers": _workers(figures),
        "redis": shared.get("redis"),
        "nodes": [_node(one) for one in shared.get("nodes", ())],
        "sessions": figures.now.sessions,
        "servers": _servers(
            figures.now, {f"{one.name} {one.message.partition(': ')[0]}" for one in troubles if one.subject == "upstream"}
        ),
        "authenticators": _authenticators(asked, figures.now, {one.name for one in troubles if one.subject == "authenticator"}),
        "viewed": moment(gateway.seconds()),
        "refresh": refresh_of(asked),
    }


def _refusals(samples: Sequence[Sample]) -> list[tuple[str, int]]:
    """Refusals of the last minute by reason, the most frequent first."""
    found: Counter[str] = Counter()
    for one in samples[-60:]:
        found.update(one.refusals)
    return found.most_common(_MOST_REASONS)


def _workers(figures: Figures) -> list[dict[str, Any]]:
    return [
        {
            "slot": one.slot,
            "pid": one.pid,
            "good": one.state == "serving" and not one.slow,
            "state": "does not answer" if one.slow else one.state,
            "connections": one.connections,
            "since": moment(one.since),
            "restarts": one.restarts,
        }
        for one in figures.workers
    ]


def _node(row: Mapping[str, Any]) -> dict[str, Any]:
    """A node (`perimeter.cluster.shown.rows`) with its times in words."""
    return {
        **row,
        "good": row["state"] == SERVING,
        "heard": "-" if row["heard"] is None else f"{row['heard']:.3f} s",
        "clock": "-" if row["clock"] is None else f"{row['clock']:+.3f} s",
        "up": "-" if row["up"] is None else duration(row["up"]),
        "age": "-" if row["age"] is None else duration(row["age"]),
    }


def _servers(now: Now, faulty: Collection[str]) -> list[dict[str, Any]]:
    """``faulty`` has the names and URLs of those that did not answer when they were asked."""
    return [
        {
            "upstream": one.upstream,
            "url": one.url,
            "busy": one.busy,
            "idle": one.idle,
            "up": one.usable and f"{one.upstream} {one.url}" not in faulty,
            "word": "unreachable" if one.usable and f"{one.upstream} {one.url}" in faulty else state_word(one.state),
        }
        for one in now.servers
    ]


def _authenticators(asked: Asked, now: Now, faulty: Collection[str]) -> list[dict[str, Any]]:
    """``faulty`` has the names of those that did not answer when they were asked."""
    config = asked.gateway.assembly.config
    kinds = {one.name: one.kind for one in config.user_sources}
    return [
        {
            "name": one.name,
            "kind": kinds.get(one.name, ""),
            "realm": one.realm,
            "faulty": one.name in faulty,
            "down": one.down,
            "next_try": one.next_try,
        }
        for one in now.authenticators
    ]


def refresh_of(asked: Asked) -> int:
    """Seconds until the page is to be loaded again by itself, for browsers without script; 0 for never."""
    text = asked.field("refresh")
    if not (text.isascii() and text.isdecimal() and len(text) < 6):
        return 0
    return min(_LONGEST_REFRESH, max(SHORTEST_REFRESH, int(text)))


OVERVIEW: Final = Section("", "Overview", "operator_overview.html", _show)
