"""Bounded memories: what clients can make the gateway remember never grows without end.

`Memo` is for what is cheap to find again: it is cleared when it is full. `Recent` drops the entry that was kept longest ago.
`Expiring` also ends each entry after a time, and drops the least recently used one. All are for one thread.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from math import inf
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Memo(dict[K, V]):
    """At most ``limit`` entries. A look-up is that of a dict; add by `keep`, which clears a full memo first."""

    __slots__ = ("limit",)

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit = limit

    def keep(self, key: K, value: V) -> V:
        """Remember and return ``value``."""
        if len(self) >= self.limit:
            self.clear()
        self[key] = value
        return value


class Recent(OrderedDict[K, V]):
    """At most ``limit`` entries, the latest. A look-up is that of a dict; add by `keep`."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit = limit

    def keep(self, key: K, value: V) -> None:
        """Remember ``value`` as the latest entry; the one that was kept longest ago is dropped if there are too many."""
        self[key] = value
        self.move_to_end(key)
        if len(self) > self.limit:
            self.popitem(last=False)


class Expiring(Generic[K, V]):
    """At most ``limit`` entries, each for ``seconds`` (0: nothing is remembered); ``clock`` returns the time in seconds."""

    def __init__(self, limit: int, seconds: float, clock: Callable[[], float]) -> None:
        self._seconds = seconds
        self._clock = clock
        #: key -> when the entry ends, and its value
        self._entries: Recent[K, tuple[float, V]] = Recent(limit)

    def __len__(self) -> int:
        """How many entries there are, ended ones included."""
        return len(self._entries)

    def get(self, key: K) -> V | None:
        """The value, always the same object; None if there is none or it has ended."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        if self._clock() >= entry[0]:
            del self._entries[key]
            return None
        self._entries.move_to_end(key)
        return entry[1]

    def end(self, key: K) -> float:
        """When the entry ends or ended; 0 if there is none."""
        entry = self._entries.get(key)
        return 0.0 if entry is None else entry[0]

    def drop_if(self, condition: Callable[[V], bool]) -> None:
        """Forget the entries for whose value ``condition`` holds."""
        for key in [key for key, entry in self._entries.items() if condition(entry[1])]:
            del self._entries[key]

    def keep(self, key: K, value: V, *, since: float | None = None, until: float = inf) -> None:
        """Remember ``value``, counted from ``since`` (default: now), and not beyond ``until``. An ended value is not kept."""
        now = self._clock()
        until = min(until, (now if since is None else since) + self._seconds)
        if now < until:
            self._entries.keep(key, (until, value))

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()
