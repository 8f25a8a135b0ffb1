"""The counts as JSON values: what several processes have counted adds up to what one would have counted."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.core import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector
from twisted.trial.unittest import TestCase

from perimeter.metrics.counted import counted, from_counts
from perimeter.metrics.counts import AUTH_BOUNDS, REQUEST_BOUNDS, Histogram, Metrics
from perimeter.metrics.families import families
from perimeter.model import Principal
from perimeter.workers.sums import total
from tests.unit.doubles.audit_records import make_record
from tests.unit.doubles.figures import read
from tests.unit.metrics.test_counts import CONFIG

#: sums of these are exact
_seconds = st.integers(0, 40 * 1024).map(lambda number: number / 1024)

Event = Callable[[Metrics], None]


def _request(listener: str, route: str, status: int, realm: str | None, reason: str | None, seconds: float, size: int) -> Event:
    principal = None if realm is None else Principal("alice", realm)
    record = make_record(
        listener=listener, route=route, status=status, principal=principal, reason=reason, duration=seconds, sent=size,
        received=size * 3,
    )  # fmt: skip
    return lambda metrics: metrics.requests.record(record)


events: st.SearchStrategy[Event] = st.one_of(
    st.builds(
        _request,
        st.sampled_from(["http", "https"]),
        st.sampled_from(["", "app"]),
        st.sampled_from([200, 101, 499]),
        st.sampled_from([None, "local", "elsewhere"]),
        st.sampled_from([None, "no_route", "wrong_credentials"]),
        _seconds,
        st.integers(0, 5),
    ),
    st.builds(
        lambda name, result, seconds: lambda metrics: metrics.auth.asked(name, result, seconds),
        st.sampled_from(["users", "ads"]), st.sampled_from(["success", "error", "other"]), _seconds,
    ),
    st.builds(
        lambda result, seconds: lambda metrics: metrics.auth.decided(result, "local", seconds),
        st.sampled_from(["success", "all_failed"]), _seconds,
    ),
    st.builds(lambda seconds: lambda metrics: metrics.auth.augmented("admins", "success", seconds), _seconds),
    st.builds(lambda outcome: lambda metrics: metrics.count_login("password", outcome), st.sampled_from(["success", "wrong"])),
    st.builds(lambda outcome: lambda metrics: metrics.count_renewal("corp", outcome), st.sampled_from(["renewed", "ended"])),
    st.builds(lambda success: lambda metrics: metrics.count_reload(success), st.booleans()),
)  # fmt: skip


class Gathered(Collector):
    def __init__(self, metrics: Metrics) -> None:
        self.metrics = metrics

    def collect(self) -> Any:
        return families(self.metrics)


def figures(metrics: Metrics) -> dict[Any, float]:
    registry = CollectorRegistry()
    registry.register(Gathered(metrics))
    samples = read(generate_latest(registry)).samples
    return {key: value for key, value in samples.items() if key[0] != "perimeter_config_last_reload_successful"}


def configured() -> Metrics:
    metrics = Metrics()
    metrics.configured(CONFIG)
    return metrics


class CountedTests(TestCase):
    @given(st.lists(st.tuples(st.integers(0, 2), events), max_size=30))
    def test_the_sum_of_the_parts_is_the_whole(self, happened: Sequence[tuple[int, Event]]) -> None:
        whole, parts = configured(), [configured() for _ in range(3)]
        for number, event in happened:
            event(whole)
            event(parts[number])
        sent = [json.loads(json.dumps(counted(part))) for part in parts]
        self.assertEqual(figures(from_counts(total(sent))), figures(whole))

    @given(st.lists(events, max_size=20))
    def test_there_and_back(self, happened: Sequence[Event]) -> None:
        metrics = configured()
        for event in happened:
            event(metrics)
        counts = counted(metrics)
        self.assertEqual(counted(from_counts(json.loads(json.dumps(counts)))), counts)

    def test_every_counter_and_histogram_is_sent(self) -> None:
        metrics = Metrics()
        metrics.later = Counter({("a",): 3})  # type: ignore[attr-defined]
        metrics.auth.later = Histogram((1.0,))  # type: ignore[attr-defined]
        metrics.auth.later.observe(("b",), 0.5)  # type: ignore[attr-defined]
        counts = counted(metrics)
        self.assertEqual((counts["later"], counts["auth.later"]), ([[["a"], [3]]], [[["b"], [0.5, 1, 0]]]))
        names = {"requests", "reloads", "logins", "requests.refusals", "auth.attempts", "auth.durations"}
        self.assertLessEqual(names, counts.keys())

    def test_names_and_buckets_of_another_program_are_left_out(self) -> None:
        self.assertEqual(counted(from_counts({"unknown": [[["a"], [1]]]})), counted(Metrics()))
        for name, numbers in (("requests", 3 + len(REQUEST_BOUNDS) + 1), ("auth.decisions", 1 + len(AUTH_BOUNDS) + 1)):
            labels = ["http", "app", 200, None] if name == "requests" else ["success", "local"]
            for more, there in ((-1, 0), (0, 1), (1, 0)):
                metrics = from_counts({name: [[labels, [1] * (numbers + more)]]})
                self.assertEqual(len(metrics.requests.rows) + len(metrics.auth.decisions.rows), there, (name, more))
