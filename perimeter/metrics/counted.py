"""The counts as JSON values that one process can send to another (`perimeter.workers.sums`), and back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Final

from perimeter.metrics.counts import Histogram, Metrics, RequestRow
from perimeter.workers.sums import Counts

COUNTERS: Final[Mapping[str, Callable[[Metrics], Counter[Any]]]] = {
    "refusals": lambda metrics: metrics.requests.refusals,
    "attempts": lambda metrics: metrics.auth.attempts,
    "augmentations": lambda metrics: metrics.auth.augmentations,
    "logins": lambda metrics: metrics.logins,
}
"""The counters by a tuple of labels."""

HISTOGRAMS: Final[Mapping[str, Callable[[Metrics], Histogram]]] = {
    "decisions": lambda metrics: metrics.auth.decisions,
    "durations": lambda metrics: metrics.auth.durations,
    "augmenting": lambda metrics: metrics.auth.augmenting,
}
"""The histograms. Numbers: the sum of the seconds, then the buckets."""

REQUESTS: Final = "requests"
"""Labels: a `RequestKey`. Numbers: seconds, bytes received and sent, then the buckets."""

RELOADS: Final = "reloads"
"""Label: the result."""


def counted(metrics: Metrics) -> Counts:
    """All counts of ``metrics``."""
    found: dict[str, list[list[Any]]] = {
        REQUESTS: [
            [list(key), [row.seconds, row.received, row.sent, *row.buckets]] for key, row in metrics.requests.rows.items()
        ],
        RELOADS: [[[result], [count]] for result, count in metrics.reloads.items()],
    }
    for name, counter in COUNTERS.items():
        found[name] = [[list(labels), [count]] for labels, count in counter(metrics).items()]
    for name, histogram in HISTOGRAMS.items():
        found[name] = [[list(labels), [*seconds, *buckets]] for labels, (seconds, buckets) in histogram(metrics).rows.items()]
    return found


def from_counts(counts: Counts) -> Metrics:
    """Metrics with these counts. Names that are not those of `counted` are left out."""
    metrics = Metrics()
    for labels, (seconds, received, sent, *buckets) in counts.get(REQUESTS, ()):
        listener, route, status, realm = labels
        row = metrics.requests.rows[listener, route, status, realm] = RequestRow()
        row.seconds, row.received, row.sent, row.buckets = seconds, received, sent, buckets
    for (result,), (count,) in counts.get(RELOADS, ()):
        metrics.reloads[result] = count
    for name, counter in COUNTERS.items():
        counter(metrics).update({tuple(labels): count for labels, (count,) in counts.get(name, ())})
    for name, histogram in HISTOGRAMS.items():
        rows = histogram(metrics).rows
        for labels, (total, *buckets) in counts.get(name, ()):
            rows[tuple(labels)] = [total], buckets
    return metrics
