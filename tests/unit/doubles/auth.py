"""Doubles for the tests of `perimeter.auth` and `perimeter.offload`: threads and a clock that the test controls."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from perimeter.auth.passwords import making
from perimeter.model import AuthenticationRequest
from perimeter.offload import Offload

REQUEST = AuthenticationRequest("192.0.2.1")

CHEAP_ARGON2 = "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$gom2l85O0Z+H2UhBkLpH6/+E5Ht2CiWyYbKwIkSnhUQ"
"""``argon2`` at the lowest cost there is."""

CHEAP_BCRYPT = "$2b$04$21yJHLrEBNPYx4QYD810h./kdreoO0wR9T/la8qu.fE.SUi7t18BO"
"""``x`` at the lowest cost there is."""


def make_cheap_hashes(case: TestCase) -> None:
    """Let new hashes of passwords take little time until the end of the test."""
    case.patch(making, "_PASSES", 1)
    case.patch(making, "_MEMORY", 32)


class ThreadClock(Clock):
    """A clock that the test sets, and a reactor thread that is always free."""

    def callFromThread(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        function(*args, **kwargs)


class ManualThreads:
    """A thread pool whose jobs run when the test says so."""

    def __init__(self) -> None:
        self.jobs: deque[Callable[[], None]] = deque()
        self.events: list[str] = []

    def start(self) -> None:
        self.events.append("start")

    def stop(self) -> None:
        self.events.append("stop")

    def callInThreadWithCallback(self, on_result: Any, function: Any, *args: Any) -> None:
        def job() -> None:
            try:
                result = function(*args)
            except Exception:
                on_result(False, Failure())
            else:
                on_result(True, result)

        self.jobs.append(job)

    def step(self) -> None:
        """Run the job that has waited longest."""
        self.jobs.popleft()()


class ImmediateThreads(ManualThreads):
    """A thread pool that runs each job at once."""

    def callInThreadWithCallback(self, on_result: Any, function: Any, *args: Any) -> None:
        super().callInThreadWithCallback(on_result, function, *args)
        self.step()


def offload_with(threads: ManualThreads, clock: ThreadClock, count: int = 4, queue: int = 64) -> Offload:
    offload = Offload(clock, count, queue, threads)
    offload.start()
    return offload
