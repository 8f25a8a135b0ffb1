"""Runs trial and ends with one line that counts: ``N passed, N failed``, taken from trial's own summary.

Called by ``scripts/test``. Exits with 1 unless trial succeeded and ran something; with ``CI=true`` a skipped test is a failure
too.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys

SUMMARY = re.compile(r"^(PASSED|FAILED)(?: \((.*)\))?$")
"""Trial's last line: ``FAILED (failures=1, errors=2, successes=30)``."""

BAD = ("failures", "errors", "unexpectedSuccesses", "expectedFailures")
"""What counts as failed: this project knows no expected failures."""


def parse(lines: list[str]) -> dict[str, int] | None:
    """The counts of the last summary line in ``lines``, or None where trial did not get that far."""
    for line in reversed(lines):
        if match := SUMMARY.match(line):
            pairs = (item.split("=") for item in (match.group(2) or "").split(", ") if item)
            return {name: int(count) for name, count in pairs}
    return None


def main() -> int:
    """Run, count, judge."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("tests", nargs="+")
    arguments = parser.parse_args()
    # python -m puts the checkout first on the path: other distributions install a package that is called "tests" as well
    command = [sys.executable, "-m", "twisted.trial", "--rterrors"]
    if arguments.jobs > 1:
        command.append(f"--jobs={arguments.jobs}")
    tail: list[str] = []
    with subprocess.Popen([*command, *arguments.tests], stdout=subprocess.PIPE, text=True, errors="replace") as trial:
        assert trial.stdout is not None
        for line in trial.stdout:
            sys.stdout.write(line)
            sys.stdout.flush()
            tail = [*tail[-20:], line.rstrip("\n")]
    counts = parse(tail)
    if counts is None:
        print("trial gave no result", file=sys.stderr)
        counts = {"errors": 1}
    passed, skipped = counts.get("successes", 0), counts.get("skips", 0)
    failed = sum(counts.get(name, 0) for name in BAD)
    strict = os.environ.get("CI") == "true"
    if skipped and strict:
        print("skipped tests are failures here: everything that the tests need should have been installed")
    if trial.returncode and not failed:
        print(f"trial ended with status {trial.returncode}")
        failed = 1
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    return int(bool(failed or not passed or (skipped and strict)))


if __name__ == "__main__":
    sys.exit(main())
