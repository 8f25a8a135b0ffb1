"""A store that keeps nothing: the state ends with the process, and what was revoked is valid again until it expires."""

from __future__ import annotations

from collections.abc import Sequence

from zope.interface import implementer

from perimeter.state.changes import Change, Cursor, Held
from perimeter.state.store import IStateStore


@implementer(IStateStore)
class MemoryStore:
    """Counts changes and keeps none: `perimeter.state.state.State` holds everything in memory anyway."""

    def __init__(self) -> None:
        self._written = 0

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

    def forget(self, now: float) -> None:
        """Nothing to drop."""

    def close(self) -> None:
        """Nothing to release."""
