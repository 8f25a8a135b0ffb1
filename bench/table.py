"""Measurements as a table, for a terminal and for the manual. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from bench.figures import Measurement

LEGEND = (
    "Medians over the rounds; less is better. In parentheses: {baseline}'s figure divided by this one, of the same round; "
    "below 1, {baseline} takes less."
)


def columns(measurements: Sequence[Measurement]) -> list[str]:
    """Every peer with a figure, in the order in which they come."""
    return list(dict.fromkeys(peer for measurement in measurements for peer in measurement.peers))


def figure(value: float) -> str:
    """Three significant digits, no exponent."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def cell(measurement: Measurement, peer: str) -> str:
    """The figure of a peer, and how the baseline compares; empty where it took no part."""
    median = measurement.median(peer)
    if median is None:
        return ""
    ratio = measurement.ratio(peer)
    return figure(median) if peer == measurement.baseline or ratio is None else f"{figure(median)} ({ratio:.2f})"


def rows(measurements: Sequence[Measurement]) -> list[list[str]]:
    """The head, then a row for each measurement."""
    peers = columns(measurements)
    body = [
        [measurement.scenario, measurement.unit, *(cell(measurement, peer) for peer in peers)] for measurement in measurements
    ]
    return [["", "unit", *peers], *body]


def as_text(measurements: Sequence[Measurement]) -> str:
    """For a terminal: columns that line up."""
    lines = rows(measurements)
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in lines)


def as_markdown(measurements: Sequence[Measurement]) -> str:
    """For the manual."""
    head, *body = rows(measurements)
    rule = ["---", "---", *("---:" for _ in head[2:])]
    return "\n".join("| " + " | ".join(line) + " |" for line in [head, rule, *body])
