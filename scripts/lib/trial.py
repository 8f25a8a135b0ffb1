"""Runs trial and ends with one line that counts: ``N passed, N failed``, taken from the summaries that trial prints.

Called by ``scripts/test``. Exits with 1 unless trial succeeded and ran something; with ``CI=true`` a skipped test is a failure
too. ``--measured TEST`` runs that test first, under coverage, and requires the floor of `coverage_floor`. ``--apart PACKAGE``
runs each test module of a package in a process of its own, several at a time: what the tests of a module share, such as a
gateway, begins once and ends with the module. What such a process prints is printed when it ends. Modules in a package
`MEASURED` run one at a time, after the others: they measure times, which other tests would make longer.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from tempfile import TemporaryDirectory

from coverage_floor import shortfalls

SUMMARY = re.compile(r"^(PASSED|FAILED)(?: \((.*)\))?$")
"""The last line that trial prints: ``FAILED (failures=1, errors=2, successes=30)``."""

BAD = ("failures", "errors", "unexpectedSuccesses", "expectedFailures")
"""What counts as failed: this project has no expected failures."""

# python -m puts the checkout first on the path: other distributions install a package that is called "tests" as well
TRIAL = ["-m", "twisted.trial", "--rterrors"]


def parse(lines: list[str]) -> Counter[str] | None:
    """The counts of the last summary line in ``lines``, or None if there is no such line."""
    for line in reversed(lines):
        if match := SUMMARY.match(line):
            pairs = (item.split("=") for item in (match.group(2) or "").split(", ") if item)
            return Counter({name: int(count) for name, count in pairs})
    return None


def counted(lines: list[str], status: int) -> Counter[str]:
    """The counts of a run that printed ``lines`` and ended with ``status``; an error is added if they do not say what failed."""
    counts = parse(lines)
    if counts is None:
        print("trial gave no result", file=sys.stderr)
        return Counter(errors=1)
    if status and not any(counts[name] for name in BAD):
        print(f"trial ended with status {status}")
        counts["errors"] += 1
    return counts


def run(prefix: list[str], tests: list[str], environment: dict[str, str]) -> Counter[str]:
    """Run trial on ``tests``, and print what it prints. Returns its counts."""
    tail: list[str] = []
    with subprocess.Popen(
        [sys.executable, *prefix, *tests], stdout=subprocess.PIPE, text=True, errors="replace", env=environment
    ) as trial:
        assert trial.stdout is not None
        for line in trial.stdout:
            sys.stdout.write(line)
            sys.stdout.flush()
            tail = [*tail[-20:], line.rstrip("\n")]
    return counted(tail, trial.returncode)


def measure(trial: list[str], tests: list[str]) -> tuple[Counter[str], list[str]]:
    """`run` under coverage. Also returns the packages that are below the floor, as text."""
    with TemporaryDirectory() as directory:
        environment = {**os.environ, "COVERAGE_FILE": str(Path(directory) / "data")}
        counts = run(["-m", "coverage", "run", *trial], tests, environment)
        report = Path(directory) / "report.json"
        for command in (["combine", "--quiet"], ["json", "--quiet", "-o", str(report)]):
            subprocess.run([sys.executable, "-m", "coverage", *command], check=True, env=environment)
        return counts, shortfalls(report)


LONG = ("test_workers", "test_operator_page", "test_sessions", "test_pages_accessible", "test_attacks_guessing", "test_importers")
"""How the modules that take longest begin: they run first, so that none is left alone at the end."""


MEASURED = "measured"
"""The name of the packages whose modules run alone."""


def modules(package: str) -> Iterator[str]:
    """The test modules below a package of the checkout: those of `LONG`, then the largest first."""
    files = Path(*package.split(".")).rglob("test_*.py")
    for file in sorted(files, key=lambda file: (not file.name.startswith(LONG), -file.stat().st_size)):
        yield ".".join(file.with_suffix("").parts)


def alone(module: str, directory: Path) -> tuple[str, list[str], int, float]:
    """Run one module. Returns its name, the lines that it printed, its status, and how many seconds it took."""
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, *TRIAL, f"--temp-directory={directory / module}", module],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    return module, done.stdout.splitlines(), done.returncode, time.monotonic() - began


def run_apart(package: str, jobs: int) -> Counter[str]:
    """Run the modules of ``package``, ``jobs`` at a time, and those that measure one at a time. Returns their counts."""
    counts: Counter[str] = Counter()
    found = list(modules(package))
    measured = [module for module in found if MEASURED in module.split(".")]
    others = [module for module in found if module not in measured]
    for some, at_a_time in ((others, jobs), (measured, 1)):
        with TemporaryDirectory() as directory, ThreadPoolExecutor(at_a_time) as threads:
            for ended in as_completed([threads.submit(alone, module, Path(directory)) for module in some]):
                module, lines, status, seconds = ended.result()
                print("\n".join(lines), f"-- {module}: {seconds:.1f} s", sep="\n", flush=True)
                counts += counted(lines[-20:], status)
    return counts


def main() -> int:
    """Run, count, judge."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--measured", action="append", default=[], metavar="TEST")
    parser.add_argument("--apart", action="append", default=[], metavar="PACKAGE")
    parser.add_argument("tests", nargs="*")
    arguments = parser.parse_args()
    # in the background of a shell SIGINT is ignored, also by all that is started here; tests send it to the gateway
    signal.signal(signal.SIGINT, signal.default_int_handler)
    trial = [*TRIAL, f"--jobs={arguments.jobs}"] if arguments.jobs > 1 else TRIAL
    counts: Counter[str] = Counter()
    short: list[str] = []
    if arguments.measured:
        counts, short = measure(trial, arguments.measured)
    if arguments.tests:
        counts += run(trial, arguments.tests, dict(os.environ))
    for package in arguments.apart:
        counts += run_apart(package, arguments.jobs + 1)  # these tests wait now and then
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
