"""The state in no file at all: it ends with the process, and what was revoked before is good again until it expires."""

from __future__ import annotations

from collections.abc import Sequence

from zope.interface import implementer

from perimeter.state.changes import Change, Held
from perimeter.state.store import IStateStore


@implementer(IStateStore)
class MemoryStore:
    """Keeps nothing: `perimeter.state.state.State` has it all in memory anyway."""

    def load(self) -> Held:
        """Nothing."""
        return Held()

    def changed(self) -> bool:
        """Nobody else can."""
        return False

    def write(self, changes: Sequence[Change]) -> None:
        """Keep nothing."""

    def forget(self, now: float) -> None:
        """There is nothing."""

    def close(self) -> None:
        """There is nothing to let go of."""
