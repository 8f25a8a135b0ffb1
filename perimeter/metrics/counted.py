"""The counts as JSON values that one process can send to another (`perimeter.workers.sums`), and back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Final

from perimeter.metrics.counts import REQUEST_BOUNDS, Histogram, Metrics, RequestRow
from perimeter.metrics.figures import totals
from perimeter.workers.sums import Counts

REQUESTS: Final = "requests"
"""Labels: a `RequestKey`. Numbers: seconds, bytes received and sent, then the buckets."""

RELOADS: Final = "reloads"
"""Label: the result."""


def counted(metrics: Metrics) -> Counts:
    """All counts of ``metrics``, and their totals."""
    found: dict[str, Sequence[Sequence[Any]]] = {
        **totals(metrics).counts(),
        REQUESTS: [
            [list(key), [row.seconds, row.received, row.sent, *row.buckets]] for key, row in metrics.requests.rows.items()
        ],
        RELOADS: [[[result], [count]] for result, count in metrics.reloads.items()],
    }
    for name, part in _parts(metrics):
        if isinstance(part, Histogram):
            found[name] = [[list(labels), [*seconds, *buckets]] for labels, (seconds, buckets) in part.rows.items()]
        else:
            found[name] = [[list(labels), [count]] for labels, count in part.items()]
    return found


def from_counts(counts: Counts) -> Metrics:
    """Metrics with these counts. Totals, and names and buckets that only another program has, are left out."""
    metrics = Metrics()
    for labels, (seconds, received, sent, *buckets) in counts.get(REQUESTS, ()):
        if len(buckets) != len(REQUEST_BOUNDS) + 1:
            continue
        listener, route, status, realm = labels
        row = metrics.requests.rows[listener, route, status, realm] = RequestRow()
        row.seconds, row.received, row.sent, row.buckets = seconds, received, sent, buckets
    for (result,), (count,) in counts.get(RELOADS, ()):
        metrics.reloads[result] = count
    for name, part in _parts(metrics):
        if isinstance(part, Histogram):
            rows = [(tuple(labels), ([total], buckets)) for labels, (total, *buckets) in counts.get(name, ())]
            part.rows.update({labels: row for labels, row in rows if len(row[1]) == len(part.bounds) + 1})
        else:
            part.update({tuple(labels): count for labels, (count,) in counts.get(name, ())})
    return metrics


def _parts(metrics: Metrics) -> Iterator[tuple[str, Counter[Any] | Histogram]]:
    """Every counter by a tuple of labels and every histogram, with its name. A new counter needs no change here."""
    for name, value in vars(metrics).items():
        members = {name: value} if isinstance(value, Counter | Histogram) else getattr(value, "__dict__", {})
        for member, part in members.items():
            if isinstance(part, Counter | Histogram):
                yield (name if part is value else f"{name}.{member}"), part
