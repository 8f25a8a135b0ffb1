"""The requests of each client that are in flight, in memory that worker processes share.

Each process has a table of its own, and writes only there. It adds its request first, and then reads the numbers of all: so of
two processes that do so at the same time one at least sees the other's request, and the sum is never above the limit. Both may
refuse, if they compete for the last place. The table of a process that has ended is cleared by the manager.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from threading import Lock

from perimeter.limits.keys import Key
from perimeter.limits.tables import FLIGHT_SETS, FLIGHT_WAYS


class NoCell(Exception):
    """All cells of the client's set are taken by other clients."""


class Flights:
    """The requests in flight.

    ``own`` is the table of this process (words of 64 bits, `FLIGHTS_SIZE` bytes), ``others`` returns those of all others.
    """

    def __init__(self, own: memoryview, others: Callable[[], Iterable[memoryview]] = tuple) -> None:
        self._words = own
        self._others = others
        self._barrier = Lock()

    def begin(self, key: Key, most: int) -> bool:
        """Add a request, if there are fewer than ``most``. Raises `NoCell`. Returns whether it was added."""
        words = self._words
        at = (key.at % FLIGHT_SETS) * (2 * FLIGHT_WAYS)
        found = words[at : at + 2 * FLIGHT_WAYS].tolist()
        try:
            cell = at + found.index(key.mark, 0, FLIGHT_WAYS)
            own = words[cell + FLIGHT_WAYS]
        except ValueError:
            try:
                cell, own = at + found.index(0, FLIGHT_WAYS) - FLIGHT_WAYS, 0
            except ValueError:
                raise NoCell from None
            words[cell] = key.mark
        words[cell + FLIGHT_WAYS] = own + 1
        with self._barrier:  # an atomic operation: the processor has written the number before it reads those of the others
            pass
        if own + 1 + sum(_requests(table, at, key.mark) for table in self._others()) <= most:
            return True
        words[cell + FLIGHT_WAYS] = own
        return False

    def end(self, key: Key) -> None:
        """Remove a request that was added. No effect if the table was cleared meanwhile."""
        words = self._words
        at = (key.at % FLIGHT_SETS) * (2 * FLIGHT_WAYS)
        found = words[at : at + 2 * FLIGHT_WAYS].tolist()
        if key.mark in found[:FLIGHT_WAYS]:
            cell = found.index(key.mark) + FLIGHT_WAYS
            words[at + cell] = max(0, found[cell] - 1)

    def count(self, key: Key) -> int:
        """The requests of a client."""
        at = (key.at % FLIGHT_SETS) * (2 * FLIGHT_WAYS)
        return sum(_requests(table, at, key.mark) for table in (self._words, *self._others()))


def _requests(words: memoryview, at: int, mark: int) -> int:
    found: list[int] = words[at : at + 2 * FLIGHT_WAYS].tolist()
    return found[FLIGHT_WAYS + found.index(mark, 0, FLIGHT_WAYS)] if mark in found[:FLIGHT_WAYS] else 0
