"""Counts of wrong passwords: their keys, their store, and how several worker processes share them.

Each worker has all counts in its memory, and each failure is sent to the others (`AttemptPeers`), so no look-up waits for another
process. If a guesser sends requests to all workers at the same moment, each worker verifies as many guesses as it allows at a
time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Final, Protocol

import attrs
from zope.interface import Interface, implementer

from perimeter.recent import Recent

FORGOTTEN_AFTER = 900.0
"""Seconds without a wrong password, after the lockout has ended, until the count is forgotten."""

LONGEST_DELAY = 900.0
"""Seconds of the longest lockout."""

CAPACITY = 100_000
"""The number of names and addresses that are remembered: the ones with the latest wrong passwords."""


class Counted(StrEnum):
    """The key of a count of wrong passwords, or of wrong codes of a second factor.

    The right password does not drop the count of a ``FACTOR``: otherwise each new password would make it possible to guess more
    codes (attack B3).
    """

    NAME = "name"
    ADDRESS = "address"
    FACTOR = "second factor"

    @property
    def wrong(self) -> str:
        """What is counted, in words."""
        return "wrong codes" if self is Counted.FACTOR else "wrong passwords"


@attrs.frozen
class Key:
    """One counter; ``realm`` is "" for an address."""

    kind: Counted
    value: str
    realm: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.value!r}" + (f" of realm {self.realm}" if self.realm else "")


@attrs.frozen
class Attempts:
    """Wrong passwords so far. Times are seconds since the epoch; ``until`` is the end of the lockout, 0 if there is none."""

    failures: int
    last: float
    until: float

    def forgotten(self, now: float) -> bool:
        """Whether this is too old to count."""
        return now >= max(self.last, self.until) + FORGOTTEN_AFTER


def lockout(failures: int, allowed: int) -> float:
    """Seconds of the lockout after the last of ``failures``; 0 if there is none."""
    # The exponent is bounded; otherwise a patient guesser would make it compute ever larger numbers.
    return min(LONGEST_DELAY, 2.0 ** min(failures - allowed, 16)) if failures >= allowed else 0.0


class IAttemptStore(Interface):
    """Keeps the counts. No method blocks: a store that several processes share keeps a replica in each."""

    def find(key: Key) -> Attempts | None:
        """The count of ``key``, if there is one."""

    def keep(key: Key, attempts: Attempts) -> None:
        """Replace the count of ``key``."""

    def drop(key: Key) -> None:
        """Forget ``key``."""

    def items() -> Iterable[tuple[Key, Attempts]]:
        """All counts."""


@implementer(IAttemptStore)
class MemoryAttempts:
    """Counts in the memory of this process, at most ``capacity`` of them."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._attempts: Recent[Key, Attempts] = Recent(capacity)

    def find(self, key: Key) -> Attempts | None:
        """See `IAttemptStore`."""
        return self._attempts.get(key)

    def keep(self, key: Key, attempts: Attempts) -> None:
        """See `IAttemptStore`. The count that has not changed for the longest time is dropped if there are too many."""
        self._attempts.keep(key, attempts)

    def drop(self, key: Key) -> None:
        """See `IAttemptStore`."""
        self._attempts.pop(key, None)

    def items(self) -> list[tuple[Key, Attempts]]:
        """See `IAttemptStore`."""
        return list(self._attempts.items())


class AttemptPeers(Protocol):
    """The other worker processes, which count the same guesses. The methods do not block and do not raise."""

    def failed(self, keys: Sequence[Key], guess: bytes) -> None:
        """A password was wrong, for ``keys``; ``guess`` as in `Throttle.admit`."""

    def dropped(self, keys: Sequence[Key]) -> None:
        """The counts of ``keys`` were dropped."""


class _Alone:
    """A gateway without other worker processes."""

    def failed(self, keys: Sequence[Key], guess: bytes) -> None:
        """See `AttemptPeers`."""

    def dropped(self, keys: Sequence[Key]) -> None:
        """See `AttemptPeers`."""


ALONE: Final[AttemptPeers] = _Alone()
