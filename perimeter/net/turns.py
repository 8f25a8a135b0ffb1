"""Turns: work that waits until the others were served, so that no connection keeps the loop to itself (attack 46).

A connection with more to do than one request, or one batch of chunks, does the first part at once and waits for a turn with the
rest. All that wait share one budget of time per turn of the loop, whatever their number: the others wait for that long at most.
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
"""Seconds until the next turn of the loop: not 0, or one step of a test's clock would never come to an end."""

BUDGET = 0.0001
"""Seconds of one turn of the loop for all that wait, plus what the last of them takes."""


class Waiting(Protocol):
    """Something with more work to do."""

    def take_turn(self) -> None:
        """Do one part of the work, and call `Turns.wait` again if there is more."""


class Turns:
    """Serves what waits, one part each in the order of arrival, in later turns of the loop.

    ``clock`` gives ``callLater``; ``timer`` returns seconds of real time, to measure the budget by.
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
        # While this runs it counts as scheduled: what waits again is served in the loop above.
        self._scheduled = bool(queue)
        if queue:
            self._clock.callLater(NEXT_TURN, self._run)
