"""Repeated messages: the first of a kind is written, the others are counted, and the counts are written from time to time.

So an event that happens at each request costs a few lines, and not a full disk. For one thread.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Final, Generic, TypeVar

import attrs

K = TypeVar("K", bound=Hashable)

FIRST_SPAN: Final = 10.0
"""Seconds after the first message of a kind until the first count. Each further span is twice as long."""

LONGEST_SPAN: Final = 600.0
"""Seconds of the longest span between two counts."""

MOST_KINDS: Final = 1024
"""Kinds that are told apart at a time. Messages of all further kinds are counted together."""


@attrs.frozen
class Count(Generic[K]):
    """``more`` messages of the kind ``key`` were not written in the last ``seconds``. ``key`` is None for all further kinds."""

    key: K | None
    more: int
    seconds: float


class _Kind:
    """What is known of one kind: messages that may still be written, those that were not, and when they are reported."""

    __slots__ = ("began", "left", "more", "span")

    def __init__(self, left: int, now: float) -> None:
        self.left = left
        self.more = 0
        self.span = FIRST_SPAN
        self.began = now


class Repeats(Generic[K]):
    """Says which messages are written: ``first`` of each kind, and then none until a span has passed without one.

    ``clock`` returns seconds. The owner calls `due` about once a second, and `rest` at the end.
    """

    def __init__(self, clock: Callable[[], float], first: int = 1, limit: int = MOST_KINDS) -> None:
        self._clock = clock
        self._first = first
        self._limit = limit
        self._kinds: dict[K | None, _Kind] = {}

    def __len__(self) -> int:
        """How many kinds are remembered."""
        return len(self._kinds)

    def admit(self, key: K) -> bool:
        """Return whether this message is written. If not, it is counted."""
        kind = self._kinds.get(key)
        if kind is None:
            place = key if len(self._kinds) < self._limit else None
            kind = self._kinds.get(place)
            if kind is None:
                kind = self._kinds[place] = _Kind(self._first, self._clock())
        if kind.left:
            kind.left -= 1
            return True
        kind.more += 1
        return False

    def due(self) -> list[Count[K]]:
        """The counts whose span is over. A kind of which there was none in its span is forgotten."""
        now = self._clock()
        found = []
        for key, kind in list(self._kinds.items()):
            # a span that began later than now means that the clock was set back
            if kind.began <= now < kind.began + kind.span:
                continue
            if not kind.more:
                del self._kinds[key]
                continue
            found.append(Count(key, kind.more, now - kind.began))
            kind.left = kind.more = 0
            kind.began = now
            kind.span = min(LONGEST_SPAN, kind.span * 2)
        return found

    def rest(self) -> list[Count[K]]:
        """All counts that were not reported. Everything is forgotten."""
        now = self._clock()
        found = [Count(key, kind.more, now - kind.began) for key, kind in self._kinds.items() if kind.more]
        self._kinds.clear()
        return found
