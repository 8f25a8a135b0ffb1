"""The share of each worker process in the metrics of the gateway, as JSON values, and their sum as one set of families.

Counters and histograms are added up by the manager (`perimeter.workers.shares`), which also has the counts of workers that have
ended or do not answer, so that no sum ever goes back. Gauges are merged as `perimeter.metrics.gauges.MERGES` says.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import attrs
from prometheus_client.core import CollectorRegistry, Metric
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from perimeter.metrics.counted import counted, from_counts
from perimeter.metrics.counts import Metrics
from perimeter.metrics.families import families
from perimeter.metrics.gauges import MERGES
from perimeter.workers.sums import Counts

_ADDED: Final = ("counter", "histogram")
_GAUGE: Final = "gauge"

Gauges = Mapping[str, Sequence[Sequence[Any]]]
"""By the name of the family: a mapping of labels and a value for each sample."""


def system_registry() -> CollectorRegistry:
    """The library's metrics of this process: memory, CPU, open files, garbage collection. To be collected in a thread."""
    # A registry of its own: the library's default registry is one for the whole process.
    registry = CollectorRegistry()
    registry.register(ProcessCollector(registry=None))
    registry.register(PlatformCollector(registry=None))
    GCCollector(registry)
    return registry


@attrs.frozen
class Share:
    """The share of one worker, without its counts.

    ``reloaded`` is `Metrics.reloaded`; ``cpu`` (seconds) and ``memory`` (bytes) are what the process has used.
    """

    gauges: Gauges
    reloaded: bool = True
    cpu: float | None = None
    memory: float | None = None


def share(metrics: Metrics, read: Iterable[Metric]) -> tuple[Counts, Share]:
    """The counts of this process and its share. ``read`` are the families that were read at this moment."""
    counts, gauges = dict(counted(metrics)), {}
    values: dict[str, float] = {}
    for family in read:
        values.update({sample.name: sample.value for sample in family.samples if not sample.labels})
        if family.type in _ADDED:
            counts[family.name] = [[_flat(sample.name, sample.labels), [sample.value]] for sample in family.samples]
        elif family.type == _GAUGE:
            gauges[family.name] = [[sample.labels, sample.value] for sample in family.samples]
    cpu, memory = values.get("process_cpu_seconds_total"), values.get("process_resident_memory_bytes")
    return counts, Share(gauges, metrics.reloaded, cpu, memory)


def merged(counts: Counts, shares: Sequence[Share], read: Iterable[Metric]) -> Iterator[Metric]:
    """The families of all workers, of the sum of their ``counts`` and of their ``shares``.

    ``read`` are the families that this process has read: their names, texts and types are those of all workers.
    """
    metrics = from_counts(counts)
    metrics.reloaded = all(one.reloaded for one in shares)
    yield from families(metrics)
    for family in read:
        if family.type in _ADDED:
            yield _with(family, (_unflat(labels, value) for labels, (value,) in counts.get(family.name, ())))
        elif family.type == _GAUGE:
            yield _with(family, _gauge(family.name, [one.gauges.get(family.name, ()) for one in shares]))
        else:
            yield family


def _with(family: Metric, samples: Iterable[tuple[str, dict[str, str], float]]) -> Metric:
    """``family`` with other samples."""
    made = Metric(family.name, family.documentation, family.type)
    for name, labels, value in samples:
        made.add_sample(name, labels, value)
    return made


def _gauge(name: str, several: Iterable[Sequence[Sequence[Any]]]) -> Iterator[tuple[str, dict[str, str], float]]:
    found: dict[tuple[tuple[str, str], ...], list[float]] = {}
    for rows in several:
        for labels, value in rows:
            found.setdefault(tuple(labels.items()), []).append(value)
    merge = MERGES.get(name, max)
    for labels, values in found.items():
        yield name, dict(labels), merge(values)


def _flat(name: str, labels: Mapping[str, str]) -> list[str]:
    return [name, *(text for pair in labels.items() for text in pair)]


def _unflat(flat: Sequence[str], value: float) -> tuple[str, dict[str, str], float]:
    return flat[0], dict(zip(flat[1::2], flat[2::2], strict=True)), value
