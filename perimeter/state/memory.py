"""A store that keeps nothing: the state ends with the process, and what was revoked is valid again until it expires."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from zope.interface import implementer

from perimeter.errors import Overloaded
from perimeter.state.changes import Change, Cursor, Held
from perimeter.state.store import MOST_CLAIMS, Claim, IStateStore
from perimeter.state.writer import LookupKey


@implementer(IStateStore)
class MemoryStore:
    """Counts changes and keeps none: `perimeter.state.state.State` holds everything in memory anyway. It keeps claims alone.

    ``clock`` gives epoch seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._written = 0
        self._clock = clock
        #: by digest: until when a claim is remembered
        self._claimed: dict[bytes, float] = {}

    def load(self) -> tuple[Held, Cursor]:
        """Nothing."""
        return {}, self._written

    def since(self, cursor: Cursor) -> tuple[Sequence[Change], Cursor]:
        """Nothing: no other process can write."""
        return [], cursor

    def write(self, changes: Sequence[Change]) -> Cursor:
        """Count the changes."""
        self._written += len(changes)
        return self._written

    def claim(self, claims: Sequence[Claim]) -> Sequence[bool]:
        """Which of ``claims`` are the first ones of their digest. Raises `Overloaded`."""
        if len(self._claimed) + len(claims) > MOST_CLAIMS:
            self.forget(self._clock())
            if len(self._claimed) + len(claims) > MOST_CLAIMS:
                raise Overloaded("too many claims are remembered")
        return [self._first(digest, until) for digest, until in claims]

    def _first(self, digest: bytes, until: float) -> bool:
        if digest in self._claimed:
            return False
        self._claimed[digest] = until
        return True

    def find(self, kind: str, key: LookupKey) -> Sequence[Change]:
        """Nothing: all records are in memory."""
        return []

    def count(self, kind: str) -> int:
        """0: see `find`."""
        return 0

    def forget(self, now: float) -> None:
        """Drop the claims that are remembered until ``now``."""
        self._claimed = {digest: until for digest, until in self._claimed.items() if until > now}

    def close(self) -> None:
        """Nothing to release."""
