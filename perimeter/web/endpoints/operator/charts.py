"""Figures of the last minutes as charts: the lines of each, as SVG and as a table. Pure.

The script (``operator.js``) draws the same series with uPlot, and moves them each second. Without a script the SVG shows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import attrs

from perimeter.metrics.samples import RING, Sample

WIDTH: Final = 600
HEIGHT: Final = 160
_ROWS: Final = 12
_MS: Final = 1000.0
_MIB: Final = 1024.0 * 1024.0

Value = Callable[[Sample], float | None]


@attrs.frozen
class Line:
    """One line of a chart: its name, and what makes the class of its colour."""

    name: str
    colour: str
    value: Value


@attrs.frozen
class Chart:
    """A chart: ``key`` names it for the script, ``unit`` is that of its values, with ``digits`` behind the point."""

    key: str
    title: str
    unit: str
    lines: tuple[Line, ...]
    digits: int = 0


def _rate(first: int, last: int) -> Value:
    return lambda sample: sum(sample.requests[first : last + 1]) / sample.seconds


def _quantile(place: int) -> Value:
    def value(sample: Sample) -> float | None:
        found = sample.quantiles[place]
        return None if found is None else found * _MS

    return value


CHARTS: Final = (
    Chart(
        "requests",
        "Requests per second",
        "/s",
        (Line("answered", "good", _rate(1, 3)), Line("4xx", "warn", _rate(4, 4)), Line("5xx and none", "bad",
         lambda sample: (sample.requests[5] + sample.requests[0]) / sample.seconds)),
    ),
    Chart(
        "latency",
        "Response times",
        "ms",
        (Line("p50", "good", _quantile(0)), Line("p95", "warn", _quantile(1)), Line("p99", "bad", _quantile(2))),
        1,
    ),
    Chart(
        "bytes",
        "Data",
        "MiB/s",
        (
            Line("sent", "mark", lambda sample: sample.sent / sample.seconds / _MIB),
            Line("received", "soft", lambda sample: sample.received / sample.seconds / _MIB),
        ),
        2,
    ),
    Chart(
        "connections",
        "Connections",
        "",
        (
            Line("open", "mark", lambda sample: sample.connections),
            Line("requests under way", "soft", lambda sample: sample.in_flight),
        ),
    ),
)  # fmt: skip
"""In the order of the page. The script has the same values in the same order (`series`)."""


def series(sample: Sample) -> list[list[float | None]]:
    """The values of all lines of each chart, rounded for transport."""
    return [[_rounded(line.value(sample)) for line in chart.lines] for chart in CHARTS]


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


@attrs.frozen
class Drawn:
    """A chart for a page without script: the ``points`` of each line's SVG, the top of the scale, and rows of a table.

    ``runs`` are, for each line, its uninterrupted parts. A row has the time and a text for each line.
    """

    chart: Chart
    runs: tuple[tuple[str, ...], ...]
    top: str
    rows: tuple[tuple[float, tuple[str, ...]], ...]
    latest: tuple[str, ...]


def draw(chart: Chart, samples: Sequence[Sample]) -> Drawn:
    """``chart`` of ``samples``, of which the last one is at the right edge and five minutes are the whole width."""
    columns = [[line.value(sample) for sample in samples] for line in chart.lines]
    top = scale_top(max((value for column in columns for value in column if value is not None), default=0.0))
    latest = tuple(shown(chart, column[-1]) if column else "-" for column in columns)
    return Drawn(
        chart,
        tuple(tuple(_runs(column, top)) for column in columns),
        shown(chart, top),
        tuple(_rows(chart, samples, columns)),
        latest,
    )


def _runs(column: Sequence[float | None], top: float) -> list[str]:
    runs: list[list[str]] = [[]]
    for at, value in enumerate(column):
        if value is None:
            runs.append([])
            continue
        x = WIDTH - (len(column) - 1 - at) * WIDTH / (RING - 1)
        runs[-1].append(f"{x:.1f},{HEIGHT - value / top * HEIGHT:.1f}")
    return [" ".join(run if len(run) > 1 else run * 2) for run in runs if run]


def _rows(chart: Chart, samples: Sequence[Sample], columns: Sequence[Sequence[Any]]) -> list[tuple[float, tuple[str, ...]]]:
    """The latest first, and not more than a person reads."""
    places = range(len(samples) - 1, -1, -max(1, len(samples) // _ROWS))
    return [(samples[at].time, tuple(shown(chart, column[at]) for column in columns)) for at in places][:_ROWS]


def shown(chart: Chart, value: float | None) -> str:
    """A value with its unit; a dash for none."""
    if value is None:
        return "-"
    text = f"{value:,.{chart.digits}f}"
    return f"{text}{chart.unit}" if chart.unit.startswith("/") else f"{text} {chart.unit}".rstrip()


def scale_top(highest: float) -> float:
    """The end of a scale for values up to ``highest``: 1, 2 or 5 times a power of ten, and not 0."""
    step = 0.01
    while True:
        for factor in (1, 2, 5):
            if highest <= step * factor:
                return step * factor
        step *= 10
