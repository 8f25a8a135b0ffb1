"""The shares of several worker processes become one set of families."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

import attrs
from prometheus_client.core import (
    CollectorRegistry,
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.registry import Collector
from twisted.trial.unittest import TestCase

from perimeter.metrics.counts import Metrics
from perimeter.metrics.gauges import MERGES, gauges
from perimeter.metrics.shares import Share, merged, share, system_registry
from perimeter.metrics.worker_families import worker_families
from perimeter.state.freshness import Freshness
from perimeter.workers.gathered import WorkerNow
from perimeter.workers.sums import Counts, total
from tests.unit.doubles.audit_records import make_record
from tests.unit.doubles.figures import Figures, read
from tests.unit.metrics.test_samples import NOTHING


class Given(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self.families = list(families)

    def collect(self) -> list[Metric]:
        return self.families


def shown(families: Iterable[Metric]) -> Figures:
    """As Prometheus reads it; OpenMetrics has stricter rules for the order."""
    registry = CollectorRegistry()
    registry.register(Given(families))
    assert list(parse_openmetrics(generate_openmetrics(registry).decode()))
    return read(generate_latest(registry))


def gauge(name: str, **values: float) -> Metric:
    family = GaugeMetricFamily(name, "A gauge.", labels=("key",))
    for key, value in values.items():
        family.add_metric((key,), value)
    return family


def sent(metrics: Metrics, *families: Metric) -> tuple[Counts, Share]:
    """The counts and the share as they arrive at the other process."""
    counts, own = share(metrics, families)
    arrived = json.loads(json.dumps([counts, attrs.asdict(own, recurse=False)]))
    return arrived[0], Share(**arrived[1])


def together(parts: Sequence[tuple[Counts, Share]], read: Iterable[Metric] = (), *more: Counts) -> Figures:
    """The figures of several processes; ``more`` counts are those of processes without a share."""
    counts = total([*(counts for counts, _ in parts), *more])
    return shown(merged(counts, [own for _, own in parts], read))


class MergeTests(TestCase):
    def merge(self, *families: Iterable[Metric], more: Counts | None = None) -> Figures:
        """Of several processes that have read ``families``; the first is this one."""
        return together([sent(Metrics(), *each) for each in families], families[0], more or {})

    def test_gauges_by_the_table(self) -> None:
        for name, value in (("perimeter_connections", 7), ("perimeter_upstream_server_up", 2), ("perimeter_sessions", 5)):
            figures = self.merge([gauge(name, a=2, b=1)], [gauge(name, a=5)], [gauge(name, c=0)])
            self.assertEqual([figures(name, key=key) for key in "abc"], [value, 1, 0], name)

    def test_the_clock_that_is_the_most_wrong(self) -> None:
        name = "perimeter_cluster_clock_offset_seconds"
        figures = self.merge([gauge(name, a=2, b=-1)], [gauge(name, a=-5, b=0.5)])
        self.assertEqual([figures(name, key=key) for key in "ab"], [-5, -1])

    def test_a_gauge_that_this_process_has_no_sample_of(self) -> None:
        figures = self.merge([gauge("perimeter_connections")], [gauge("perimeter_connections", a=5)])
        self.assertEqual(figures("perimeter_connections", key="a"), 5)

    def test_counters_and_histograms_that_are_read_are_added_to_the_rest(self) -> None:
        def families(count: int, *keys: str) -> list[Metric]:
            counter = CounterMetricFamily("retries", "A counter.", labels=("key", "other"))
            histogram = HistogramMetricFamily("wait", "A histogram.", labels=("key",))
            for key in keys:
                counter.add_metric((key, "x"), count)
                histogram.add_metric((key,), [("1.0", count), ("+Inf", 2 * count)], 0.5 * count)
            return [counter, histogram]

        more, _ = sent(Metrics(), *families(100, "b", "c"))
        figures = self.merge(families(1, "a"), families(10, "a", "b"), more=more)
        self.assertEqual([figures("retries_total", key=key, other="x") for key in "abc"], [11, 110, 100])
        self.assertEqual([figures("wait_bucket", key=key, le="+Inf") for key in "abc"], [22, 220, 200])
        self.assertEqual([figures("wait_bucket", key=key, le="1.0") for key in "abc"], [11, 110, 100])
        self.assertEqual([figures("wait_sum", key=key) for key in "abc"], [5.5, 55, 50])
        self.assertEqual(figures.kinds, {**self.merge([]).kinds, "retries": "counter", "wait": "histogram"})

    def test_what_is_neither_is_that_of_this_process(self) -> None:
        figures = self.merge([InfoMetricFamily("program", "The program.", {"version": "1"})], [])
        self.assertEqual(figures("program_info", version="1"), 1)

    def test_counts_of_requests(self) -> None:
        metrics = [Metrics() for _ in range(3)]
        for number, each in enumerate(metrics):
            for _ in range(10**number):
                each.requests.record(make_record())
        figures = together([sent(metrics[0]), sent(metrics[1])], (), sent(metrics[2])[0])
        self.assertEqual(figures("perimeter_requests_total", listener="https", route="site", status="200"), 111)

    def test_one_refused_reload_is_shown(self) -> None:
        good, bad = Metrics(), Metrics()
        bad.count_reload(False)
        name = "perimeter_config_last_reload_successful"
        self.assertEqual(together([sent(good), sent(bad)])(name), 0)
        self.assertEqual(together([sent(good), sent(good)])(name), 1)

    def test_every_gauge_has_its_entry_in_the_table(self) -> None:
        read: list[Metric] = [*gauges(attrs.evolve(NOTHING, freshness=Freshness("redis", 60.0))), *system_registry().collect()]
        self.assertEqual({family.name for family in read if family.type == "gauge"}, set(MERGES))
        self.assertLessEqual({family.type for family in read}, {"gauge", "counter", "histogram"})

    def test_what_the_library_reads_of_processes(self) -> None:
        read = list(system_registry().collect())
        one = sent(Metrics(), *read)
        figures, alone = together([one] * 3, read), shown(read)
        factors = {
            "process_cpu_seconds_total": 3,
            "process_resident_memory_bytes": 3,
            "process_open_fds": 1,
            "process_start_time_seconds": 1,
        }
        for name, factor in factors.items():
            self.assertAlmostEqual(figures(name) or 0, factor * (alone(name) or 0))
        self.assertEqual(figures.total("python_info"), 1)
        self.assertEqual(
            (one[1].cpu, one[1].memory), (alone("process_cpu_seconds_total"), alone("process_resident_memory_bytes"))
        )
        self.assertEqual((sent(Metrics())[1].cpu, sent(Metrics())[1].memory), (None, None))


class WorkerFamilyTests(TestCase):
    def test_by_slot(self) -> None:
        workers = (
            WorkerNow(0, 71, "serving", 5, 1000.5, 2, 3),
            WorkerNow(1, 72, "serving", 6, 1001.0, 0, 3, slow=True),
            WorkerNow(2, 73, "draining", 1, 900.0, 0, 2),
        )
        figures = shown(worker_families(workers, {0: Share({}, cpu=1.5, memory=4096.0)}))

        def of(name: str) -> list[float | None]:
            return [figures(f"perimeter_worker_{name}", slot=slot) for slot in "012"]

        self.assertEqual(of("serving"), [1, 1, 0])
        self.assertEqual(of("slow"), [0, 1, 0])
        self.assertEqual(of("connections"), [5, 6, 1])
        self.assertEqual(of("generation"), [3, 3, 2])
        self.assertEqual(of("start_time_seconds"), [1000.5, 1001, 900])
        self.assertEqual(of("resident_memory_bytes"), [4096, None, None])
        self.assertEqual(of("restarts_total"), [2, 0, 0])
        self.assertEqual(of("cpu_seconds_total"), [1.5, None, None])
