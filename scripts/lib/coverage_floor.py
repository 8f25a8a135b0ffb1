"""The coverage of each measured package, lines and branches together: ``coverage_floor.py REPORT.json`` prints it.

The packages are those of ``source_pkgs`` in pyproject.toml. A floor for each package keeps one from hiding behind another.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

FLOOR = 95.0
"""Percent that the unit tests have to cover of each package."""


def percentages(report: Path) -> dict[str, float]:
    """Package to percent of its lines and branches that ran, from a report of ``coverage json``."""
    possible: dict[str, int] = {}
    covered: dict[str, int] = {}
    for name, file in json.loads(report.read_text())["files"].items():
        parts = Path(name).parts
        package = parts[parts.index("perimeter") + 1]
        summary = file["summary"]
        possible[package] = possible.get(package, 0) + summary["num_statements"] + summary["num_branches"]
        covered[package] = covered.get(package, 0) + summary["covered_lines"] + summary["covered_branches"]
    return {package: 100 * covered[package] / possible[package] for package in sorted(possible)}


def shortfalls(report: Path) -> list[str]:
    """Print the coverage of each package. Returns those below the floor, with their figures."""
    figures = {package: f"{package} {percent:.1f} %" for package, percent in percentages(report).items()}
    print("coverage:", ", ".join(figures.values()))
    return [
        f"{figures[package]}, and {FLOOR} % is required" for package, percent in percentages(report).items() if percent < FLOOR
    ]


if __name__ == "__main__":
    sys.exit(bool(shortfalls(Path(sys.argv[1]))))
