"""How changes are written: the interface that the view of a kind gets."""

from __future__ import annotations

from typing import Protocol

from twisted.internet.defer import Deferred

from perimeter.state.changes import Change


class ChangeWriter(Protocol):
    """Writes changes (`perimeter.state.state.State`). Both methods return Deferreds whose cancellation stops no write."""

    def add(self, change: Change) -> Deferred[None]:
        """Write a change that gives something; it is in force when the Deferred fires.

        Fails with `perimeter.errors.Unavailable` if the change cannot be written.
        """

    def remove(self, change: Change) -> Deferred[None]:
        """Put a change in force that takes something away, and write it. Fires when it is written.

        Fails with `perimeter.errors.Unavailable` if it cannot be written now: it is in force, and is written as soon as possible.
        """

    def seconds(self) -> float:
        """The time, in epoch seconds."""
