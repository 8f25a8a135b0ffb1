"""Changes on their way to the store: changes that come during a write are written together after it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Final

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from perimeter.errors import Overloaded, StateUnavailable, Unavailable
from perimeter.offload import Offload
from perimeter.state.changes import Change, Cursor

_log = Logger()

MOST_WAITING: Final = 1000
"""The most changes that wait to be written."""

Batch = Sequence[tuple[Change, Deferred[None]]]
"""Changes that are written together, and the Deferred of each."""


class WriteQueue:
    """``commit`` writes changes in ``thread``. Then ``written`` gets the batch and what ``commit`` returned, and settles it."""

    def __init__(
        self, thread: Offload, commit: Callable[[Sequence[Change]], Cursor], written: Callable[[Batch, Cursor], None]
    ) -> None:
        self._thread = thread
        self._commit = commit
        self._written = written
        self._waiting: list[tuple[Change, Deferred[None]]] = []
        self._under_way: Batch = ()
        self._quiet: Deferred[None] | None = None

    def pending(self) -> Iterator[Change]:
        """The changes that are not written yet, in their order."""
        return (change for change, _ in chain(self._under_way, self._waiting))

    def add(self, change: Change, *, bounded: bool = True) -> Deferred[None]:
        """Write ``change``. Fails with `Unavailable`; ``bounded`` also with `Overloaded`, if `MOST_WAITING` changes wait."""
        done: Deferred[None] = Deferred()
        if bounded and len(self._waiting) >= MOST_WAITING:
            done.errback(Overloaded("too many changes wait to be written"))
            return done
        self._waiting.append((change, done))
        self._flush()
        return done

    def finish(self) -> Deferred[None]:
        """Fires when nothing is on its way."""
        quiet = self._quiet = Deferred()
        self._flush()
        return quiet

    def _flush(self) -> None:
        if self._under_way:
            return
        if not self._waiting:
            if self._quiet is not None and not self._quiet.called:
                self._quiet.callback(None)
            return
        batch = self._under_way = self._waiting
        self._waiting = []

        def over(result: Cursor | Failure) -> None:
            self._under_way = ()
            try:
                if isinstance(result, Failure):
                    settle(batch, result)
                else:
                    self._written(batch, result)
            finally:
                self._flush()

        # `proceed`, not `run`: at most one write is queued, so the queue limit need not apply.
        self._thread.proceed(self._commit, [change for change, _ in batch]).addErrback(_as_unavailable).addBoth(over)


def settle(batch: Batch, failure: Failure | None = None) -> None:
    """Fire the Deferreds of the changes of ``batch``."""
    for _, done in batch:
        done.callback(failure)


def _as_unavailable(failure: Failure) -> Failure:
    if failure.check(Unavailable):
        return failure
    _log.failure("the state cannot be written", failure)
    return Failure(StateUnavailable("the state cannot be written"))
