"""Access tokens that were revoked, in about 10 bytes each: sorted arrays of hashes, by the hour in which the token ends.

10^7 of them are as many as 100 revocations a second leave in a day, and every machine of a cluster has all of them in memory.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from typing import Final

HOUR: Final = 3600.0
"""Seconds. What has ended is dropped by the hour."""

MOST: Final = 1024
"""Numbers in one array of `NumberSet` at most: an insertion moves up to 8 bytes for each."""


class NumberSet:
    """A set of signed 64-bit numbers, in sorted arrays. To add one costs about the same at any size: no turn is long."""

    __slots__ = ("_firsts", "_parts")

    def __init__(self) -> None:
        #: for each array the least number that belongs into it
        self._firsts: list[int] = [-(1 << 63)]
        self._parts: list[array[int]] = [array("q")]

    def add(self, number: int) -> None:
        """Add ``number``. Raises OverflowError if it has more than 64 bits."""
        place = bisect_right(self._firsts, number) - 1
        part = self._parts[place]
        at = bisect_left(part, number)
        if at < len(part) and part[at] == number:
            return
        part.insert(at, number)
        if len(part) > MOST:
            upper = part[MOST // 2 :]
            del part[MOST // 2 :]
            self._firsts.insert(place + 1, upper[0])
            self._parts.insert(place + 1, upper)

    def __contains__(self, number: int) -> bool:
        part = self._parts[bisect_right(self._firsts, number) - 1]
        at = bisect_left(part, number)
        return at < len(part) and part[at] == number

    def __len__(self) -> int:
        return sum(map(len, self._parts))


class RevokedGrants:
    """The access tokens that were revoked and may not have expired yet. Empty at first.

    The hash is Python's own of strings, SipHash with a key of this process: an attacker cannot choose two ids with the same hash.
    No two of 64 bits are expected to be equal: with 10^7 an hour, a good token is taken for a revoked one once in 10^12 times.
    """

    __slots__ = ("hours",)

    def __init__(self) -> None:
        #: the hashes by the hour of the expiry, which is in the token that is looked for, too
        self.hours: dict[int, NumberSet] = {}

    def add(self, id: str, expires: float) -> None:
        """Note the token with this ``jti``, which expires then (epoch seconds). To add one twice has no effect."""
        hour = int(expires // HOUR)
        hashes = self.hours.get(hour)
        if hashes is None:
            hashes = self.hours[hour] = NumberSet()
        hashes.add(hash(id))

    def has(self, id: str, expires: float) -> bool:
        """Whether this token was added."""
        hashes = self.hours.get(int(expires // HOUR))
        return hashes is not None and hash(id) in hashes

    def forget(self, now: float) -> None:
        """Drop the hours that had ended by ``now`` (epoch seconds)."""
        for hour in [hour for hour in self.hours if (hour + 1) * HOUR <= now]:
            del self.hours[hour]

    def __len__(self) -> int:
        """How many there are, with those that expired in the present hour."""
        return sum(map(len, self.hours.values()))
