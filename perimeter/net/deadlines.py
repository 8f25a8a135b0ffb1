"""One periodic sweep over many deadlines, instead of a timer for each connection.

A reactor keeps its timers in a heap. Connections move their deadline with every request, so ten thousand of them would pay for
the heap on every request. Here a deadline is moved by an assignment, and a sweep every quarter of a second checks all of them.
The owner of a deadline decides what happens when it has passed.
"""

from __future__ import annotations

from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

log = Logger()


class HasDeadline(Protocol):
    """Something with a deadline."""

    deadline: float
    """The absolute time of the clock's ``seconds()``; ``math.inf`` for none."""

    def deadline_expired(self) -> None:
        """The deadline has passed. Called by every sweep until the deadline is moved or the item is forgotten."""


class Deadlines:
    """Calls ``deadline_expired()`` of watched items, at most ``tick`` seconds late. Sweeps only while there are items."""

    def __init__(self, clock: IReactorTime, tick: float = 0.25) -> None:
        self._clock = clock
        self._tick = tick
        self._items: set[HasDeadline] = set()
        self._call: IDelayedCall | None = None

    def __len__(self) -> int:
        return len(self._items)

    def watch(self, item: HasDeadline) -> None:
        """Check ``item`` from now on. No effect if it is watched already."""
        self._items.add(item)
        if self._call is None:
            self._call = self._clock.callLater(self._tick, self._sweep)

    def forget(self, item: HasDeadline) -> None:
        """Stop checking ``item``. No effect if it is not watched."""
        self._items.discard(item)
        if not self._items and self._call is not None:
            self._call.cancel()
            self._call = None

    def _sweep(self) -> None:
        # During the sweep there is no scheduled call to cancel, so an item may forget the last item.
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
