"""Measurements as tables, for a terminal and for the manual: one table of the peers, one of the growth. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from bench.figures import Measurement

PEERS = (
    "Medians of the rounds; less is better. In parentheses: the figure of {baseline} divided by this figure, in the same round; "
    "below 1 means that {baseline} takes less."
)
GROWTH = "In parentheses: the ratio to the smallest size, in the same round; 1.00 is no growth."


def parts(measurements: Sequence[Measurement]) -> list[tuple[str, list[list[str]]]]:
    """A legend and the rows of each table that is not empty."""
    found = []
    for growth in (False, True):
        chosen = [measurement for measurement in measurements if measurement.growth is growth]
        if chosen:
            found.append((GROWTH if growth else PEERS.format(baseline=chosen[0].baseline), rows(chosen)))
    return found


def rows(measurements: Sequence[Measurement]) -> list[list[str]]:
    """The heading, then a row for each measurement. Columns are in the order of their first use."""
    peers = list(dict.fromkeys(peer for measurement in measurements for peer in measurement.peers))
    body = [[each.scenario, each.unit, *(cell(each, peer) for peer in peers)] for each in measurements]
    return [["", "unit", *peers], *body]


def cell(measurement: Measurement, peer: str) -> str:
    """The figure of a peer and its ratio; empty if it did not take part."""
    median = measurement.median(peer)
    if median is None:
        return ""
    ratio = measurement.ratio(peer)
    return figure(median) if peer == measurement.baseline or ratio is None else f"{figure(median)} ({ratio:.2f})"


def figure(value: float) -> str:
    """Three significant digits, no exponent."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def as_text(measurements: Sequence[Measurement]) -> str:
    """Format for a terminal, with aligned columns."""
    return "\n\n".join(f"{aligned(lines)}\n{legend}" for legend, lines in parts(measurements))


def aligned(lines: Sequence[Sequence[str]]) -> str:
    """Lines of text with aligned columns. The first line is the heading."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in lines)


def as_markdown(measurements: Sequence[Measurement]) -> str:
    """Format as Markdown, for the manual."""
    return "\n\n".join(f"{_ruled(lines)}\n\n{legend}" for legend, lines in parts(measurements))


def _ruled(lines: Sequence[Sequence[str]]) -> str:
    head, *body = lines
    rule = ["---", "---", *("---:" for _ in head[2:])]
    return "\n".join("| " + " | ".join(line) + " |" for line in [head, rule, *body])
