"""One periodic sweep over many deadlines, in place of a timer for each connection.

A reactor's timers are a heap: ten thousand connections that move their deadline with every request would pay for it on
every request. Here moving a deadline is an assignment, and a sweep every quarter of a second looks at all of them.
What a deadline means is left to whoever owns it.
"""

from __future__ import annotations

from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

log = Logger()


class Expiring(Protocol):
    """Something with a deadline."""

    deadline: float
    """Absolute, as the clock's ``seconds()`` tells time; ``math.inf`` for none."""

    def deadline_expired(self) -> None:
        """The deadline has passed. Called with every sweep until it is moved, or the item forgotten."""


class Deadlines:
    """Calls ``deadline_expired()`` of watched items, at most ``tick`` seconds late. Ticks only while it watches something."""

    def __init__(self, clock: IReactorTime, tick: float = 0.25) -> None:
        self._clock = clock
        self._tick = tick
        self._items: set[Expiring] = set()
        self._call: IDelayedCall | None = None

    def __len__(self) -> int:
        return len(self._items)

    def watch(self, item: Expiring) -> None:
        """Look after ``item`` from now on (again: no matter)."""
        self._items.add(item)
        if self._call is None:
            self._call = self._clock.callLater(self._tick, self._sweep)

    def forget(self, item: Expiring) -> None:
        """Look after ``item`` no more (unknown: no matter)."""
        self._items.discard(item)
        if not self._items and self._call is not None:
            self._call.cancel()
            self._call = None

    def _sweep(self) -> None:
        # While the sweep runs there is no call to cancel, so that the last item may be forgotten from within.
        self._call = None
        now = self._clock.seconds()
        for item in [item for item in self._items if item.deadline <= now]:
            if item in self._items:
                try:
                    item.deadline_expired()
                except Exception:
                    log.failure("A deadline could not be handled")
        if self._items and self._call is None:
            self._call = self._clock.callLater(self._tick, self._sweep)
