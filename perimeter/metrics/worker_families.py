"""The families that show each worker process by its slot."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from perimeter.metrics.shares import Share
from perimeter.workers.gathered import WorkerNow

Family = GaugeMetricFamily | CounterMetricFamily
Value = Callable[[WorkerNow, Share | None], float | None]

_GAUGES: tuple[tuple[str, str, Value], ...] = (
    ("serving", "1 while a worker accepts connections.", lambda one, _: one.state == "serving"),
    ("slow", "1 if a worker has not answered within a second.", lambda one, _: one.slow),
    ("connections", "Open client connections of a worker.", lambda one, _: one.connections),
    ("generation", "Number of the configuration in force in a worker.", lambda one, _: one.generation),
    ("start_time_seconds", "When a worker was started, in epoch seconds.", lambda one, _: one.since),
    ("resident_memory_bytes", "Resident memory of a worker.", lambda _, share: None if share is None else share.memory),
)
_COUNTERS: tuple[tuple[str, str, Value], ...] = (
    ("restarts", "How often the worker of a slot was replaced.", lambda one, _: one.restarts),
    ("cpu_seconds", "CPU time of a worker since its start.", lambda _, share: None if share is None else share.cpu),
)


def worker_families(workers: Sequence[WorkerNow], shares: Mapping[int, Share]) -> Iterator[Metric]:
    """``perimeter_worker_*``, with the label ``slot``. ``shares`` are those of the workers that have answered, by slot."""

    def filled(family: Family, value: Value) -> Family:
        for one in workers:
            found = value(one, shares.get(one.slot))
            if found is not None:
                family.add_metric((str(one.slot),), found)
        return family

    for name, text, value in _GAUGES:
        yield filled(GaugeMetricFamily(f"perimeter_worker_{name}", text, labels=("slot",)), value)
    for name, text, value in _COUNTERS:
        yield filled(CounterMetricFamily(f"perimeter_worker_{name}", text, labels=("slot",)), value)
