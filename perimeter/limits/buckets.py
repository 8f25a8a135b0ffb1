"""Token buckets in memory that worker processes share.

A bucket is one number: the time at which it is full again (the generic cell rate algorithm). A client takes from its bucket if
the bucket would then be full again within the time that it takes to fill a whole one. Times are nanoseconds of the monotonic
clock, which is the same for all processes of a machine.

The table has a fixed size, in sets of a few cells. A full bucket needs no cell. If all cells of a set are taken, the one that is
nearest to full is forgotten: a client that has used up its bucket does not get a new one because many other clients come
(attack 135).

There is no lock. Two processes that take from one bucket in the same microsecond may both succeed where one of them should. One
that is interrupted between reading and writing makes the bucket forget what others took meanwhile. Two processes that did
nothing else, 400,000 times a second, got 4 % more than the rate; at 18,000 times a second it was nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from perimeter.limits.keys import Key
from perimeter.limits.tables import BUCKET, BUCKET_SETS, BUCKET_WAYS

_FULL: Final = BUCKET_WAYS
_WHOLE: Final = 2 * BUCKET_WAYS


class Buckets:
    """The buckets in ``words`` (64 bits each, `BUCKETS_SIZE` bytes, 0 at first). ``clock`` returns nanoseconds."""

    def __init__(self, words: memoryview, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self._words = words
        self._clock = clock

    def take(self, key: Key, cost: int, whole: int) -> int:
        """Take what ``cost`` nanoseconds fill in, if the bucket has it. ``whole`` is the time in which an empty bucket fills.

        Returns the nanoseconds until the bucket is full again. If they were more than ``whole``, nothing was taken.
        """
        now = self._clock()
        at, full = self._find(key, now)
        full += cost
        if full - now <= whole:
            self._write(at, key, full, whole)
        return full - now

    def spend(self, key: Key, cost: int, whole: int) -> int:
        """Take what ``cost`` nanoseconds fill in, even if the bucket does not have it. Returns the nanoseconds until it has."""
        now = self._clock()
        at, full = self._find(key, now)
        full += cost
        self._write(at, key, full, whole)
        return max(0, full - now - whole)

    def _find(self, key: Key, now: int) -> tuple[int, int]:
        """The cell of ``key``, or the one that it may take, and when its bucket is full: not before ``now``."""
        words = self._words
        at = (key.at % BUCKET_SETS) * (BUCKET_WAYS * BUCKET)
        found = words[at : at + BUCKET_WAYS * BUCKET].tolist()
        try:
            cell = found.index(key.mark, 0, BUCKET_WAYS)
        except ValueError:
            return at + self._nearest(found, now), now
        return at + cell, max(now, found[_FULL + cell])

    @staticmethod
    def _nearest(found: list[int], now: int) -> int:
        """The cell of a set whose bucket is nearest to full."""
        best, least = 0, float("inf")
        for cell in range(BUCKET_WAYS):
            full = found[_FULL + cell]
            if full <= now:
                return cell
            part = (full - now) / (found[_WHOLE + cell] or 1)
            if part < least:
                best, least = cell, part
        return best

    def _write(self, at: int, key: Key, full: int, whole: int) -> None:
        words = self._words
        words[at + _WHOLE] = whole
        words[at + _FULL] = full
        words[at] = key.mark
