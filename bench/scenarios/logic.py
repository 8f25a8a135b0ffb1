"""The in-memory path of two checkouts: Python alone, so that a difference of 3 % is visible.

It needs no peer and no load generator, and runs only if its name is given. `bench.logic` explains how it works.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

from bench import report
from bench.figures import Measurement
from bench.logic.alternation import BATCH, BATCHES, compare
from bench.peers.perimeter import CHECKOUT, Perimeter
from bench.report import Report
from bench.table import aligned, figure

NAME = "logic"
BEFORE = "perimeter-before"
TITLE = "Python alone: requests in memory, without sockets and TLS; --against another checkout"
PAIRS, SHORT_PAIRS = 6, 3
"""Processes for each checkout, one after the other."""
UNIT = "µs of CPU in memory"
LEGEND = "Microseconds of CPU per request: the best batch, and the median of all."
RATIOS = (
    "bests: the best of perimeter divided by the best of perimeter-before, the median over the pairs of processes.\n"
    "medians: the median of such ratios of batches that followed each other. Below 1, perimeter takes less."
)


def run(against: Path | None, pairs: int, say: Callable[[str], None], batches: int = BATCHES) -> Report:
    """Measure this checkout, and ``against`` if there is one, in ``pairs`` of processes. Raises `BenchError`."""
    checkouts = {"perimeter": CHECKOUT} | ({BEFORE: against.resolve()} if against is not None else {})
    found = compare(checkouts, pairs, say, batches)
    versions = {"python": report.interpreter()}
    for name, path in checkouts.items():
        versions |= Perimeter(name, path).versions()
    return Report(
        measurements=[Measurement(scenario, UNIT, samples, "perimeter") for scenario, samples in found.items()],
        left_out={},
        failed={},
        versions=versions,
        machine=report.machine(),
        date=report.today(),
        seconds=BATCH,
        rounds=pairs,
    )


def ratio_of_bests(measurement: Measurement, peer: str, pairs: int) -> float:
    """The baseline's best divided by that of ``peer``: the median over ``pairs`` of processes."""
    ours, theirs = measurement.samples[measurement.baseline], measurement.samples[peer]
    size = len(ours) // pairs
    starts = range(0, size * pairs, size)
    return statistics.median(min(ours[at : at + size]) / min(theirs[at : at + size]) for at in starts)


def rows(measurements: Sequence[Measurement], pairs: int) -> list[list[str]]:
    """The heading and a row for each measurement."""
    compared = BEFORE in measurements[0].peers
    heading = ["", "best", "median", *(["before: best", "median", "bests", "medians"] if compared else [])]
    lines = [heading]
    for each in measurements:
        line = [each.scenario, *_pair(each, each.baseline)]
        if compared:
            line += [*_pair(each, BEFORE), f"{ratio_of_bests(each, BEFORE, pairs):.3f}", f"{each.ratio(BEFORE) or 0:.3f}"]
        lines.append(line)
    return lines


def _pair(measurement: Measurement, peer: str) -> list[str]:
    return [figure(measurement.best(peer) or 0), figure(measurement.median(peer) or 0)]


def as_text(measurements: Sequence[Measurement], pairs: int) -> str:
    """Format for a terminal."""
    legend = [LEGEND, RATIOS] if BEFORE in measurements[0].peers else [LEGEND]
    return "\n".join([aligned(rows(measurements, pairs)), *legend])
