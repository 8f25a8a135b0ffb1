"""Turns: delays part of a connection's work until other connections were served, so that none occupies the loop (attack 46).

A connection with more work than one request, or one batch of chunks, does the first part at once and waits for a turn with the
rest. All waiting connections together share one time budget per turn of the loop, so the others wait at most for that time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from time import perf_counter
from typing import Protocol

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

_log = Logger()

NEXT_TURN = 1e-8
"""Seconds until the next turn of the loop. Not 0, because then one step of a test's clock would never end."""

BUDGET = 0.0001
"""Seconds per turn of the loop for all waiting items. The last item may exceed it."""


class Waiting(Protocol):
    """Something with more work to do."""

    def take_turn(self) -> None:
        """Do one part of the work, and call `Turns.wait` again if there is more."""


class Turns:
    """Calls the waiting items in the order of arrival, in later turns of the loop.

    ``clock`` schedules the calls. ``timer`` returns real time in seconds and measures the budget.
    """

    def __init__(self, clock: IReactorTime, timer: Callable[[], float] = perf_counter) -> None:
        self._clock = clock
        self._timer = timer
        self._queue: deque[Waiting] = deque()
        self._scheduled = False

    def __len__(self) -> int:
        return len(self._queue)

    def wait(self, item: Waiting) -> None:
        """Call ``item.take_turn()`` once, in a later turn of the loop. An item must not wait twice at a time."""
        self._queue.append(item)
        if not self._scheduled:
            self._scheduled = True
            self._clock.callLater(NEXT_TURN, self._run)

    def _run(self) -> None:
        queue = self._queue
        end = self._timer() + BUDGET
        while queue:
            try:
                queue.popleft().take_turn()
            except Exception:
                _log.failure("a turn failed")
            if self._timer() >= end:
                break
        # Until here `_scheduled` is true, so that items which wait again are served by the loop above.
        self._scheduled = bool(queue)
        if queue:
            self._clock.callLater(NEXT_TURN, self._run)
