"""What keeps the state: the interface of a store."""

from __future__ import annotations

from collections.abc import Sequence

from zope.interface import Interface

from perimeter.state.changes import Change, Held

# zope interfaces describe what a caller sees, so their methods name no self.


class IStateStore(Interface):
    """Where what must outlive a process is kept. May block: it is called by one thread at a time, and not by the reactor's.

    Methods raise `perimeter.errors.Unavailable` where they cannot do what they are asked to, but for `load`.
    """

    def load() -> Held:
        """All that is kept. Raises `perimeter.errors.StartupError` where it cannot be read whole."""

    def changed() -> bool:
        """Whether somebody else has written since the last `load`."""

    def write(changes: Sequence[Change]) -> None:
        """Make all of these changes, in their order, or none of them. They are safe when it returns."""

    def forget(now: float) -> None:
        """Drop what had ended by ``now`` (epoch seconds)."""

    def close() -> None:
        """Let go."""
