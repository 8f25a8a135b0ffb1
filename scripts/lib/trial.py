"""Runs trial and ends with one line that counts: ``N passed, N failed``, taken from the summaries that trial prints.

Called by ``scripts/test``. Exits with 1 unless trial succeeded and ran something; with ``CI=true`` a skipped test is a failure
too. ``--measured TEST`` runs that test first, under coverage, and requires the floor of `coverage_floor`.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

from coverage_floor import shortfalls

SUMMARY = re.compile(r"^(PASSED|FAILED)(?: \((.*)\))?$")
"""The last line that trial prints: ``FAILED (failures=1, errors=2, successes=30)``."""

BAD = ("failures", "errors", "unexpectedSuccesses", "expectedFailures")
"""What counts as failed: this project has no expected failures."""


def parse(lines: list[str]) -> Counter[str] | None:
    """The counts of the last summary line in ``lines``, or None if there is no such line."""
    for line in reversed(lines):
        if match := SUMMARY.match(line):
            pairs = (item.split("=") for item in (match.group(2) or "").split(", ") if item)
            return Counter({name: int(count) for name, count in pairs})
    return None


def run(prefix: list[str], tests: list[str], environment: dict[str, str]) -> Counter[str]:
    """Run trial on ``tests``. Return its counts, with an error added if it printed no summary."""
    tail: list[str] = []
    with subprocess.Popen(
        [sys.executable, *prefix, *tests], stdout=subprocess.PIPE, text=True, errors="replace", env=environment
    ) as trial:
        assert trial.stdout is not None
        for line in trial.stdout:
            sys.stdout.write(line)
            sys.stdout.flush()
            tail = [*tail[-20:], line.rstrip("\n")]
    counts = parse(tail)
    if counts is None:
        print("trial gave no result", file=sys.stderr)
        return Counter(errors=1)
    if trial.returncode and not any(counts[name] for name in BAD):
        print(f"trial ended with status {trial.returncode}")
        counts["errors"] += 1
    return counts


def measure(trial: list[str], tests: list[str]) -> tuple[Counter[str], list[str]]:
    """`run` under coverage. Also returns the packages that are below the floor, as text."""
    with TemporaryDirectory() as directory:
        environment = {**os.environ, "COVERAGE_FILE": str(Path(directory) / "data")}
        counts = run(["-m", "coverage", "run", *trial], tests, environment)
        report = Path(directory) / "report.json"
        for command in (["combine", "--quiet"], ["json", "--quiet", "-o", str(report)]):
            subprocess.run([sys.executable, "-m", "coverage", *command], check=True, env=environment)
        return counts, shortfalls(report)


def main() -> int:
    """Run, count, judge."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--measured", action="append", default=[], metavar="TEST")
    parser.add_argument("tests", nargs="*")
    arguments = parser.parse_args()
    # python -m puts the checkout first on the path: other distributions install a package that is called "tests" as well
    trial = ["-m", "twisted.trial", "--rterrors"]
    if arguments.jobs > 1:
        trial.append(f"--jobs={arguments.jobs}")
    counts: Counter[str] = Counter()
    short: list[str] = []
    if arguments.measured:
        counts, short = measure(trial, arguments.measured)
    if arguments.tests:
        counts += run(trial, arguments.tests, dict(os.environ))
    passed, skipped = counts["successes"], counts["skips"]
    failed = sum(counts[name] for name in BAD)
    strict = os.environ.get("CI") == "true"
    if skipped and strict:
        print("skipped tests are failures here: everything that the tests need should have been installed")
    for package in short:
        print(f"coverage: {package}")
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    return int(bool(failed or not passed or short or (skipped and strict)))


if __name__ == "__main__":
    sys.exit(main())
