"""Writes the results of a run into a page of the manual, between two marks. The text around the marks is written by hand."""

from __future__ import annotations

from pathlib import Path

from bench import chart, table
from bench.errors import BenchError
from bench.report import Report
from bench.run import CPU

BEGIN = "<!-- figures: written by python -m bench --docs -->"
END = "<!-- end of the figures -->"
_DOCS = Path(__file__).parents[1] / "docs"


def write(report: Report, docs: Path = _DOCS) -> None:
    """Update ``performance.md`` and ``performance.svg``. Raises `BenchError` if the page does not have the marks."""
    page = docs / "performance.md"
    page.write_text(replaced(page.read_text(), figures(report)))
    title = f"CPU for each request, {report.date}"
    (docs / "performance.svg").write_text(chart.draw(report.measurements, title, CPU))


def replaced(page: str, text: str) -> str:
    """Return ``page`` with ``text`` between the marks. Raises `BenchError` if the page lacks one of the marks."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end or BEGIN in rest or END in after:
        raise BenchError("the page does not have exactly one pair of marks for the figures")
    return f"{before}{BEGIN}\n\n{text.strip()}\n\n{END}{after}"


def figures(report: Report) -> str:
    """The text between the marks."""
    machine = "; ".join(f"{name}: {value}" for name, value in report.machine.items())
    versions = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    lines = [
        f"Measured on {report.date} in {report.rounds} rounds of {report.seconds:g} s for each peer and scenario. {machine}.",
        "![CPU for each request](performance.svg)",
        table.as_markdown(report.measurements),
        *(f"Note: {note}." for note in report.notes),
        *(f"Left out: {name}: {reason}." for name, reason in report.left_out.items()),
        *(f"Failed: {name}: {reason}." for name, reason in report.failed.items()),
        f"Versions: {versions}.",
    ]
    return "\n\n".join(lines)
