"""What is on its way to the store: what comes during a write is written together after it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Final, Generic, TypeVar

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from perimeter.errors import Overloaded, StateUnavailable, Unavailable
from perimeter.offload import Offload

_log = Logger()

Item = TypeVar("Item")
Result = TypeVar("Result")
Value = TypeVar("Value")

MOST_WAITING: Final = 1000
"""The most items that wait to be written."""

Batch = Sequence[tuple[Item, Deferred[Value]]]
"""Items that are written together, and the Deferred of each."""


class WriteQueue(Generic[Item, Result, Value]):
    """``commit`` writes items in ``thread``. Then ``written`` gets the batch and what ``commit`` returned, and fires its
    Deferreds."""

    def __init__(
        self, thread: Offload, commit: Callable[[Sequence[Item]], Result], written: Callable[[Batch[Item, Value], Result], None]
    ) -> None:
        self._thread = thread
        self._commit = commit
        self._written = written
        self._waiting: list[tuple[Item, Deferred[Value]]] = []
        self._under_way: Batch[Item, Value] = ()
        self._quiet: Deferred[None] | None = None

    def pending(self) -> Iterator[Item]:
        """The items that are not written yet, in their order."""
        return (item for item, _ in chain(self._under_way, self._waiting))

    def add(self, item: Item, *, bounded: bool = True) -> Deferred[Value]:
        """Write ``item``. Fails with `Unavailable`; ``bounded`` also with `Overloaded`, if `MOST_WAITING` items wait."""
        if bounded and len(self._waiting) >= MOST_WAITING:
            refused: Deferred[Value] = Deferred()
            refused.errback(Overloaded("too many changes wait to be written"))
            return refused
        return self.add_all((item,))[0]

    def add_all(self, items: Sequence[Item]) -> Sequence[Deferred[Value]]:
        """Write ``items`` together, all or none, however many wait. Each of the Deferreds fails with `Unavailable`."""
        added: list[tuple[Item, Deferred[Value]]] = [(item, Deferred()) for item in items]
        self._waiting += added
        self._flush()
        return [done for _, done in added]

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

        def over(result: Result | Failure) -> None:
            self._under_way = ()
            try:
                if isinstance(result, Failure):
                    fail(batch, result)
                else:
                    self._written(batch, result)
            finally:
                self._flush()

        # `proceed`, not `run`: at most one write is queued, so the queue limit need not apply.
        self._thread.proceed(self._commit, [item for item, _ in batch]).addErrback(_as_unavailable).addBoth(over)


def fire(batch: Batch[Item, Value], results: Iterable[Value]) -> None:
    """Fire the Deferreds of the items of ``batch``, each with its own of ``results``."""
    for (_, done), result in zip(batch, results, strict=True):
        done.callback(result)


def fail(batch: Batch[Item, Value], failure: Failure) -> None:
    """Let all items of ``batch`` fail."""
    for _, done in batch:
        done.errback(failure)


def _as_unavailable(failure: Failure) -> Failure:
    if failure.check(Unavailable):
        return failure
    _log.failure("the state cannot be written", failure)
    return Failure(StateUnavailable("the state cannot be written"))
