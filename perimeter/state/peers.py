"""The other processes that have the same store open, which exchange changes with this one.

The store's log has all changes, and each process reads it once a second. Peers only make this faster, and know when a change is
in force in all processes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Protocol

from twisted.internet.defer import Deferred, succeed

from perimeter.state.changes import Cursor


class Peers(Protocol):
    """The other processes. All methods except `wrote` are for the reactor thread. The methods do not raise."""

    @property
    def committed(self) -> Cursor:
        """The number of the last change of any process that this process was informed of."""

    @property
    def late(self) -> bool:
        """Whether this process has not read the changes of others for some time."""

    @property
    def leads(self) -> bool:
        """Whether this process does the work that one process does for all."""

    def begin(self, cursor: Cursor, follow: Callable[[], object]) -> None:
        """All changes up to ``cursor`` are in force here. From now on ``follow`` is called when another process has written."""

    def end(self) -> None:
        """The state stops: call ``follow`` no more. It still writes."""

    def wrote(self, cursor: Cursor) -> None:
        """This process has written changes, up to number ``cursor``. Called in the store's thread, right after the commit."""

    def applied(self, cursor: Cursor) -> None:
        """All changes up to ``cursor`` are in force here."""

    def everywhere(self, cursor: Cursor) -> Deferred[None]:
        """Fires when all changes up to ``cursor`` are in force in every other process that serves clients.

        It fires in bounded time, also if a process does not answer.
        """

    def heard(self) -> Sequence[int]:
        """The latest note of each process about when the engine of the state was heard (`perimeter.state.freshness.Note`)."""

    def note_heard(self, note: int) -> None:
        """Show ``note`` to the other processes."""


class Alone:
    """For a gateway with one process. A command may still write to the store."""

    committed: Final = 0
    late: Final = False
    leads: Final = True

    def begin(self, cursor: Cursor, follow: Callable[[], object]) -> None:
        """See `Peers`."""

    def end(self) -> None:
        """See `Peers`."""

    def wrote(self, cursor: Cursor) -> None:
        """See `Peers`."""

    def applied(self, cursor: Cursor) -> None:
        """See `Peers`."""

    def everywhere(self, cursor: Cursor) -> Deferred[None]:
        """See `Peers`."""
        return succeed(None)

    def heard(self) -> Sequence[int]:
        """See `Peers`."""
        return ()

    def note_heard(self, note: int) -> None:
        """See `Peers`."""


ALONE: Final = Alone()
