"""The other processes that have the same store open: how this one learns of their changes, and they of its own.

The store's log is the truth, and each process looks at it once a second. Peers only make that quicker, and know when a change is
in force in all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from twisted.internet.defer import Deferred, succeed

from perimeter.state.changes import Cursor


class Peers(Protocol):
    """The other processes. All methods but `wrote` are for the reactor thread, and none raises anything."""

    @property
    def committed(self) -> Cursor:
        """The number of the last change that any process has written, as far as this one was informed."""

    @property
    def late(self) -> bool:
        """Whether this process has not seen for a while what others have written."""

    @property
    def leads(self) -> bool:
        """Whether this process does what one of them does for all."""

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


class Alone:
    """There is no other process that serves clients. A command may still write to the store."""

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


ALONE: Final = Alone()
