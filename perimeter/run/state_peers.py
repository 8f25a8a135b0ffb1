"""The state among worker processes (`perimeter.state.peers.Peers`), over the shared page and the eventfds of its slots.

A worker that has written stores the number of its change on the page and wakes the others. Each of them reads the store's log,
stores on the page how far it has read, and wakes the workers that wait. The page holds hints: a worker that was not woken reads
the log within a second.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from perimeter.state.changes import Cursor
from perimeter.workers.lag import Lag
from perimeter.workers.page import LAST
from perimeter.workers.place import Place

_log = Logger()

LONGEST_WAIT: Final = 0.25
"""Seconds that an answer waits until a change is in force in all workers."""

LATE: Final = 1.0
"""A worker that is behind the others for this many seconds accepts no more connections."""

_CHECK: Final = 0.25
"""Seconds between two checks whether this worker is behind."""


@implementer(IReadDescriptor)
class WorkerPeers:
    """The other workers, as the one at ``place`` sees them.

    ``late`` is called with True when this worker has been behind the others for `LATE`, and with False when it no longer is.
    """

    def __init__(self, place: Place, reactor: Any, late: Callable[[bool], None]) -> None:
        self._place = place
        self._page = place.page
        self._reactor = reactor
        self._late = late
        self._follow: Callable[[], object] | None = None
        self._waiting: dict[Deferred[None], Cursor] = {}
        self._reading = False
        self._lag = Lag()
        self._is_late = False
        self._checking = LoopingCall(self._check)
        self._checking.clock = reactor

    # -- Peers

    @property
    def committed(self) -> Cursor:
        """See `Peers`."""
        return self._page.committed

    @property
    def late(self) -> bool:
        """See `Peers`: for `LATE`."""
        return self._is_late

    @property
    def leads(self) -> bool:
        """See `Peers`."""
        return self._place.leads

    def begin(self, cursor: Cursor, follow: Callable[[], object]) -> None:
        """See `Peers`."""
        slot = self._place.slot
        slot.committed = slot.applied = cursor
        self._follow = follow
        self._read()
        if not self._checking.running:
            self._checking.start(_CHECK, now=False)
        follow()  # the others may have written since this state was loaded

    def end(self) -> None:
        """See `Peers`."""
        self._follow = None
        self._read()
        if self._checking.running:
            self._checking.stop()
        self._place.slot.applied = LAST  # no connection is left: the others need not wait for this worker

    def wrote(self, cursor: Cursor) -> None:
        """See `Peers`."""
        self._place.slot.committed = cursor
        self._wake(self._behind(cursor))

    def applied(self, cursor: Cursor) -> None:
        """See `Peers`."""
        slot = self._place.slot
        before = slot.applied
        if cursor == before or self._follow is None:
            return
        slot.applied = cursor
        if cursor < before:  # the store was put back to an earlier state, so its later numbers are not those of any change
            slot.committed = min(slot.committed, cursor)
        self._wake(self._page.writers(before))

    def everywhere(self, cursor: Cursor) -> Deferred[None]:
        """See `Peers`. Fires after `LONGEST_WAIT` at the latest, then with a warning that names the workers that are behind."""
        if not self._behind(cursor):
            return succeed(None)
        waiting: Deferred[None] = Deferred()
        self._waiting[waiting] = cursor
        self._read()

        def over(result: Any) -> None:
            del self._waiting[waiting]
            self._read()
            if isinstance(result, Failure):
                for number in self._behind(cursor):
                    _log.warn("a change of the state is not in force in the worker of slot {slot} yet", slot=number)

        return waiting.addTimeout(LONGEST_WAIT, self._reactor).addBoth(over)

    def heard(self) -> Sequence[int]:
        """See `Peers`."""
        return self._page.heard

    def note_heard(self, note: int) -> None:
        """See `Peers`."""
        self._place.slot.heard = note

    def _behind(self, cursor: Cursor) -> list[int]:
        return self._page.behind(cursor, self._place.number)

    def _wake(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            if number != self._place.number:
                self._page.wake(number)

    # -- for the reactor

    def _read(self) -> None:
        """Wait for wake-ups from now on, or stop waiting."""
        wanted = self._follow is not None or bool(self._waiting)
        if wanted != self._reading:
            self._reading = wanted
            (self._reactor.addReader if wanted else self._reactor.removeReader)(self)

    def fileno(self) -> int:
        """The eventfd of this slot."""
        return self._page.wakers[self._place.number]

    def logPrefix(self) -> str:
        """For the log."""
        return "peers"

    def connectionLost(self, reason: Failure) -> None:
        """The reactor stops."""

    def doRead(self) -> None:
        """Another worker has written, or put in force what this one has written."""
        if not self._page.woken(self._place.number):
            return
        if self._follow is not None and self._page.committed > self._place.slot.applied:
            self._follow()
        if self._waiting:
            behind = self._behind(max(self._waiting.values()))
            least = min((self._page.slots[number].applied for number in behind), default=LAST)
            for waiting in [one for one, cursor in self._waiting.items() if cursor <= least]:
                waiting.callback(None)

    def _check(self) -> None:
        seconds = self._lag.look(self._place.slot.applied, self._page.committed, self._reactor.seconds())
        if (seconds > LATE) != self._is_late:
            self._is_late = not self._is_late
            if self._is_late:
                _log.error("this worker does not see changes of the state: it accepts no connections until it does")
            else:
                _log.info("this worker sees the changes of the state again")
            self._late(self._is_late)
