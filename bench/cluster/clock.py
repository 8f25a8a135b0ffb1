"""Virtual time: a reactor's clock that goes on to the next call that is due. Nothing waits."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from typing import Any


class Call:
    """A call that is due; the part of ``IDelayedCall`` that is used."""

    __slots__ = ("_work", "at")

    def __init__(self, at: float, work: Callable[[], Any]) -> None:
        self.at = at
        self._work: Callable[[], Any] | None = work

    def active(self) -> bool:
        """Whether it is still due."""
        return self._work is not None

    def cancel(self) -> None:
        """It is not due any more."""
        self._work = None

    def run(self) -> None:
        """Do it."""
        work, self._work = self._work, None
        if work is not None:
            work()


class VirtualClock:
    """The time in seconds, from ``start``; the part of ``IReactorTime`` that is used. It has room for 10^5 calls that wait."""

    def __init__(self, start: float = 1_000_000.0) -> None:
        self._now = start
        self._calls: list[tuple[float, int, Call]] = []
        self._order = count()

    def seconds(self) -> float:
        """The time."""
        return self._now

    def callLater(self, delay: float, work: Callable[..., Any], *arguments: Any, **options: Any) -> Call:
        """See ``IReactorTime``."""
        call = Call(self._now + delay, lambda: work(*arguments, **options))
        heappush(self._calls, (call.at, next(self._order), call))
        return call

    def run(self, seconds: float) -> None:
        """Do all that is due in the next ``seconds``."""
        end = self._now + seconds
        while self._calls and self._calls[0][0] <= end:
            at, _, call = heappop(self._calls)
            self._now = at
            call.run()
        self._now = end
