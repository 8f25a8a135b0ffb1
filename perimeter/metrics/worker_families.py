"""The families that show each worker process by its slot."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import attrs
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric


@attrs.frozen
class WorkerNow:
    """A worker process. ``since`` is when it was started (epoch seconds); ``restarts`` are those of its slot.

    ``generation`` is the number of the configuration in force in it. A ``slow`` worker has not answered in time; its CPU time
    (seconds) and memory (bytes) are None, as are those of a worker that does not serve.
    """

    slot: int
    pid: int
    state: str
    connections: int
    since: float
    restarts: int
    generation: int
    slow: bool = False
    cpu: float | None = None
    memory: float | None = None


_GAUGES: tuple[tuple[str, str, Callable[[WorkerNow], float | None]], ...] = (
    ("serving", "1 while a worker accepts connections.", lambda one: one.state == "serving"),
    ("slow", "1 if a worker has not answered within a second.", lambda one: one.slow),
    ("connections", "Open client connections of a worker.", lambda one: one.connections),
    ("generation", "Number of the configuration in force in a worker.", lambda one: one.generation),
    ("start_time_seconds", "When a worker was started, in epoch seconds.", lambda one: one.since),
    ("resident_memory_bytes", "Resident memory of a worker.", lambda one: one.memory),
)


def worker_families(workers: Sequence[WorkerNow]) -> Iterator[Metric]:
    """``perimeter_worker_*``, with the label ``slot``."""
    for name, text, value in _GAUGES:
        gauge = GaugeMetricFamily(f"perimeter_worker_{name}", text, labels=("slot",))
        _fill(gauge, workers, value)
        yield gauge
    restarts = CounterMetricFamily("perimeter_worker_restarts", "How often the worker of a slot was replaced.", labels=("slot",))
    _fill(restarts, workers, lambda one: one.restarts)
    yield restarts
    cpu = CounterMetricFamily("perimeter_worker_cpu_seconds", "CPU time of a worker since its start.", labels=("slot",))
    _fill(cpu, workers, lambda one: one.cpu)
    yield cpu


def _fill(
    family: GaugeMetricFamily | CounterMetricFamily, workers: Sequence[WorkerNow], value: Callable[[WorkerNow], float | None]
) -> None:
    for one in workers:
        found = value(one)
        if found is not None:
            family.add_metric((str(one.slot),), found)
