"""What keeps the state: the interface of a store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias

from zope.interface import Interface

from perimeter.state.changes import Change, Cursor, Gap, Held
from perimeter.state.writer import LookupKey

Claim: TypeAlias = tuple[bytes, float]
"""A digest of 32 bytes that stands for what may be used once, and until when (epoch seconds) the store remembers it."""

MOST_CLAIMS: Final = 100_000
"""Claims that a store remembers at most."""

# zope interfaces describe what a caller sees, so their methods name no self.


class IStateStore(Interface):
    """Keeps the state, and a numbered log of its changes that other processes follow.

    All methods may block: they are called by one thread at a time, and not by the reactor's. They raise
    `perimeter.errors.Unavailable` if they cannot do their work, except where another error is named.
    """

    def load() -> tuple[Held, Cursor]:
        """Everything, and the position in the log up to which it is complete.

        Raises `perimeter.errors.StartupError` if anything cannot be read.
        """

    def since(cursor: Cursor) -> tuple[Sequence[Change], Cursor] | Gap:
        """The changes after ``cursor``, oldest first, and the position after them; one's own changes are among them.

        Returns a bounded number of changes: a caller that gets any asks again. Returns `Gap` if the log does not reach back to
        ``cursor``.
        """

    def write(changes: Sequence[Change]) -> Cursor:
        """Make all of these changes, in this order, or none. They are safe when it returns: the number of the last one."""

    def claim(claims: Sequence[Claim]) -> Sequence[bool]:
        """Which of ``claims`` are the first ones of their digest, in all processes that use the store. They are safe then.

        This is not in the log. Raises `perimeter.errors.Overloaded`, and makes none of the claims, if there are too many.
        """

    def find(kind: str, key: LookupKey) -> Sequence[Change]:
        """The records of the kind with this name that have ``key``, as changes that lead to them from nothing."""

    def count(kind: str) -> int:
        """How many records of the kind with this name there are."""

    def forget(now: float) -> None:
        """Drop what ended by ``now`` (epoch seconds), and the part of the log that is too old to be of use."""

    def close() -> None:
        """Release the store."""
