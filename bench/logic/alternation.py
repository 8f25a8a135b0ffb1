"""Measures two checkouts (or one) in turns: one process each, on one core, in short batches whose order changes every round."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

from bench.errors import BenchError

T = TypeVar("T")

BATCH = 0.008
"""Seconds of CPU per batch: short enough that most batches are not interrupted."""
BATCHES = 24
"""Number of batches of a scenario in one process."""
_PILOT, _PILOTS = 100, 5
"""Number of requests in a warm-up batch, and of warm-up batches in each process."""
_PROGRAM = Path(__file__).with_name("child.py")
_TIMEOUT = 60.0
_SITE = """\
[perimeter]
realm = local
state_dir = state
[limits]
idle_timeout = 24h
remembered_tokens = 48
[listener https]
port = 0
interface = 127.0.0.1
tls = yes
[authenticator local]
type = realmfile
path = users.realm
[upstream service]
servers = http://127.0.0.1:UPSTREAM
[route service]
path = /v1/ecflow
upstream = service
PAGES
[audit]
path = access.log
"""
_USERS = "someuser: somesecret,operator,reader\n"

Samples = Mapping[str, Mapping[str, list[float]]]
"""Microseconds of CPU per request: by scenario, then by checkout, one figure a batch."""


class Child:
    """The process of one checkout, pinned to ``core``. A context manager that ends the process on exit."""

    def __init__(self, name: str, checkout: Path, core: int) -> None:
        self._name = name
        self._directory = tempfile.TemporaryDirectory(prefix="perimeter-logic-")
        directory = Path(self._directory.name)
        # without the line, an older checkout can be measured
        pages = "browser_login = yes" if (checkout / "perimeter" / "sessions").exists() else ""
        (directory / "site.ini").write_text(_SITE.replace("PAGES", pages))
        (directory / "users.realm").write_text(_USERS)
        self._log = directory / "child.log"
        path = [str(checkout), *filter(None, [os.environ.get("PYTHONPATH")])]
        with self._log.open("wb") as log:
            self._popen = subprocess.Popen(
                [sys.executable, "-P", str(_PROGRAM), str(checkout), str(core)],
                cwd=directory,
                # the order in sets and dictionaries must not differ from one process to the next
                env={**os.environ, "PYTHONPATH": os.pathsep.join(path), "PYTHONHASHSEED": "0"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *error: object) -> None:
        self._popen.kill()
        self._popen.communicate()
        self._directory.cleanup()

    def scenarios(self) -> Sequence[str]:
        """Wait until the gateway is ready, and return its scenarios. Raises `BenchError` if it does not start."""
        names: Sequence[str] = self._line()["scenarios"]
        return names

    def batch(self, scenario: str, count: int) -> float:
        """Microseconds of CPU per request. Raises `BenchError` if an answer is not as expected."""
        assert self._popen.stdin is not None
        try:
            self._popen.stdin.write(f"{scenario} {count}\n")
            self._popen.stdin.flush()
        except OSError:
            raise BenchError(f"{self._name} has ended: {self._last_words()}") from None
        nanoseconds: int = self._line()["ns"]
        return nanoseconds / count / 1000

    def _line(self) -> dict[str, Any]:
        assert self._popen.stdout is not None
        readable, _, _ = select.select([self._popen.stdout], [], [], _TIMEOUT)
        text = self._popen.stdout.readline() if readable else ""
        answer: dict[str, Any] = json.loads(text) if text else {"error": f"no answer: {self._last_words()}"}
        if "error" in answer:
            raise BenchError(f"{self._name}: {answer['error']}")
        return answer

    def _last_words(self) -> str:
        return self._log.read_text(errors="replace")[-2000:].strip()


def compare(checkouts: Mapping[str, Path], pairs: int, say: Callable[[str], None], batches: int = BATCHES) -> Samples:
    """Measure every scenario in all ``checkouts``, in ``pairs`` times a new process for each of them.

    Positions in the lists correspond: the same position is a batch in the same alternation, and each process contributes
    ``batches`` figures. New processes matter: memory addresses differ between processes, and so does the use of the CPU's caches.
    Raises `BenchError` if a gateway does not start, or an answer is not as expected.
    """
    found: dict[str, dict[str, list[float]]] = {}
    for number in range(pairs):
        with ExitStack() as stack:
            children = [(name, stack.enter_context(Child(name, path, core()))) for name, path in _turn(checkouts.items(), number)]
            # each child prints its scenarios when it is ready; an older checkout may not have all of them
            several = [child.scenarios() for _, child in children]
            scenarios = [name for name in several[0] if all(name in names for names in several)]
            counts = {scenario: _size([child for _, child in children], scenario) for scenario in scenarios}
            for batch in range(batches):
                for scenario, count in counts.items():
                    figures = found.setdefault(scenario, {name: [] for name in checkouts})
                    for name, child in _turn(children, batch):
                        figures[name].append(child.batch(scenario, count))
        say(f"logic: {number + 1} of {pairs}")
    return found


def core() -> int:
    """The core that the processes share: the last one, because the first often serves the interrupts."""
    return max(os.sched_getaffinity(0))


def _turn(items: Iterable[T], number: int) -> list[T]:
    """``items``, reversed if ``number`` is odd."""
    return list(items) if number % 2 == 0 else list(items)[::-1]


def _size(children: Sequence[Child], scenario: str) -> int:
    """Warm up, and return how many requests make a batch. It is the same number for all."""
    pilots = [child.batch(scenario, _PILOT) for _ in range(_PILOTS) for child in children]
    return max(10, int(BATCH * 1e6 / min(pilots)))
