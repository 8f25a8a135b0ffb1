"""Runs looks at the same time, each in a thread of its own, for a limited time.

A thread cannot be interrupted: a look that hangs (a dead network file system) is reported as late. Its thread is a daemon thread,
so it does not keep the process from ending.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from queue import Empty, SimpleQueue
from typing import Final

import attrs

from perimeter.doctor.finding import Finding, Grade, Name

TIMEOUT: Final = 6.0
"""Seconds for all looks that run at the same time."""

AT_ONCE: Final = 256
"""Looks that run at a time."""

MOST: Final = 40
"""Findings of one look that are shown."""


@attrs.frozen
class Look:
    """One look at ``subject``. ``see`` blocks and returns findings; it may raise any exception."""

    name: str
    subject: str
    see: Callable[[], Iterable[Finding]]


@attrs.frozen
class Seen:
    """The result of a look, after ``seconds``."""

    look: Look
    findings: tuple[Finding, ...]
    seconds: float


class SideBySide:
    """Begins ``looks`` at once; `finish` waits for them."""

    def __init__(self, looks: Sequence[Look], timeout: float = TIMEOUT) -> None:
        self._looks = looks
        self._timeout = timeout
        self._done: SimpleQueue[tuple[int, Seen]] = SimpleQueue()
        self._began = time.monotonic()
        slots = threading.BoundedSemaphore(AT_ONCE)
        for number, look in enumerate(looks):
            threading.Thread(target=self._run, args=(number, look, slots), daemon=True).start()

    def finish(self) -> list[Seen]:
        """The results of the looks, in their order. A look that does not end in time has one finding, `Name.LOOK_LATE`."""
        seen: dict[int, Seen] = {}
        deadline = self._began + self._timeout
        while len(seen) < len(self._looks):
            try:
                number, one = self._done.get(timeout=max(0.0, deadline - time.monotonic()))
            except Empty:
                break
            seen[number] = one
        return [seen.get(number) or self._late(look) for number, look in enumerate(self._looks)]

    def _run(self, number: int, look: Look, slots: threading.BoundedSemaphore) -> None:
        with slots:
            began = time.monotonic()
            findings: list[Finding] = []
            try:
                findings.extend(look.see())
            except Exception as error:
                # earlier findings stay
                findings.append(_failed(look, error))
            self._done.put((number, Seen(look, _few(look, tuple(findings)), time.monotonic() - began)))

    def _late(self, look: Look) -> Seen:
        message = f"the look did not end within {self._timeout:g} s"
        remedy = "find out whether a network file system, a name server or the service itself hangs"
        return Seen(look, (Finding(Name.LOOK_LATE, Grade.FAILS, _place(look), message, remedy),), self._timeout)


def _failed(look: Look, error: Exception) -> Finding:
    # An exception's text could hold a secret.
    message = f"the look failed with {type(error).__name__}"
    return Finding(Name.LOOK_FAILED, Grade.SOON, _place(look), message, "run the command as the gateway's user, or as root")


def _place(look: Look) -> str:
    return f"{look.name} of {look.subject}" if look.subject else look.name


def _few(look: Look, findings: tuple[Finding, ...]) -> tuple[Finding, ...]:
    """At most `MOST` findings: the worst ones, and the number of the others."""
    if len(findings) <= MOST:
        return findings
    worst = sorted(findings, key=lambda one: one.grade)[: MOST - 1]
    more = len(findings) - len(worst)
    last = attrs.evolve(worst[-1], subject=_place(look), message=f"there are {more} more findings of this look")
    return (*worst, last)
