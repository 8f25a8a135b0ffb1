"""Sends the counts of this worker process to the manager, which keeps them for scrapes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from perimeter.metrics.counted import counted
from perimeter.run.build.runtime import Runtime
from perimeter.workers.place import Place
from perimeter.workers.sums import Counts

if TYPE_CHECKING:
    from perimeter.run.scraping import Scraping

_log = Logger()

EVERY: Final = 5.0
"""Seconds between two messages to the manager with the counts of this worker, which it keeps when this worker ends."""

TIMEOUT: Final = 1.0
"""Seconds to wait until the manager has the last counts."""


class Counting:
    """Lets the manager keep the counts of this worker, and answers scrapes (`perimeter.run.scraping`)."""

    def __init__(self, place: Place, runtime: Runtime) -> None:
        self._place = place
        self._runtime = runtime
        self._scraping: Scraping | None = None
        self._told: Counts = {}
        self._telling = LoopingCall(self._tell)
        self._telling.clock = runtime.reactor
        place.handlers["share"] = lambda _: self._scrapes().answer()
        runtime.metrics.of_all_workers = lambda: self._scrapes().families()

    def _scrapes(self) -> Scraping:
        if self._scraping is None:
            # The library is imported only if it is used.
            from perimeter.run.scraping import Scraping

            self._scraping = Scraping(self._place, self._runtime)
        return self._scraping

    def start(self) -> None:
        """Send the counts to the manager from time to time."""
        self._telling.start(EVERY, now=False)

    def stop(self) -> Deferred[None]:
        """Send the counts for the last time. Fires when the manager has them, or does not answer. Never fails."""
        if self._telling.running:
            self._telling.stop()
        return self._place.channel.ask("counted", TIMEOUT, counts=counted(self._runtime.metrics)).addCallbacks(_kept, _not_kept)

    def _tell(self) -> None:
        counts = counted(self._runtime.metrics)
        if counts != self._told:
            self._told = counts
            self._place.channel.tell("counted", counts=counts)


def _kept(_: object) -> None:
    pass


def _not_kept(failure: Failure) -> None:
    _log.warn("the last counts of this worker are not in the metrics: {error}", error=failure.getErrorMessage())
