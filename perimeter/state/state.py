"""The state as the reactor thread sees it: whole in memory, so that no look-up waits for a disk, and none can fail.

A change that takes something away is in force at once and is written then; a change that adds something is in force once it is
written. Changes that come while others are being written are written together after them, in one transaction. What other
processes write is read from the store's log.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar, cast

from twisted.internet.defer import Deferred, DeferredLock
from twisted.logger import Logger
from twisted.python.failure import Failure

from perimeter.errors import Overloaded, StartupError, StateUnavailable, Unavailable
from perimeter.offload import Offload
from perimeter.state.changes import Change, Cursor, Gap
from perimeter.state.kinds import Kind, Kinds, View
from perimeter.state.store import IStateStore

_log = Logger()

T = TypeVar("T")
V = TypeVar("V", bound=View)

MOST_WAITING: Final = 1000
"""Changes that may wait to be written."""

_LAST: Final = 10.0
"""Seconds that `State.stop` takes at most: another process may be writing."""
_FORGET: Final = 600.0
"""Seconds between two rounds in which what has ended is dropped."""

Indexes = Mapping[str, Any]
"""New indexes by the name of their kind, as `perimeter.state.kinds.View.index` makes them."""


class State:
    """The contents of ``store``, in one view for each of ``kinds``.

    `load` (in a thread), then `replace` and `start` (on the reactor thread), then the rest. The functions in ``on_removed`` are
    called whenever something was taken away, by this process or by another one.
    """

    def __init__(self, store: IStateStore, kinds: Kinds, reactor: Any, thread: Offload | None = None) -> None:
        self._store = store
        self._kinds = kinds
        self._reactor = reactor
        self._views: dict[str, View] = {kind.name: kind.view(self) for kind in kinds.all}
        # One thread: the store is for one at a time, and what this thread reads is applied before it begins the next write. A
        # thread of its own, so that no flood of logins delays a revocation.
        self._thread = thread or Offload(reactor, threads=1, queue=4)
        self._cursor: Cursor = 0
        self._waiting: list[tuple[Change, Deferred[None]]] = []
        self._under_way: list[tuple[Change, Deferred[None]]] = []
        self._reading = DeferredLock()
        self._quiet: Deferred[None] | None = None
        #: removals that could not be written: tried again by each `tend`
        self._owed: list[Change] = []
        self._forgotten = reactor.seconds()
        self._unread = False
        self.on_removed: set[Callable[[], None]] = set()

    def load(self) -> tuple[Indexes, Cursor]:
        """Read the whole store. Blocks, and touches nothing that the reactor thread uses. Raises `StartupError`."""
        held, cursor = self._store.load()
        return {name: view.index(held.get(name, ())) for name, view in self._views.items()}, cursor

    def replace(self, loaded: tuple[Indexes, Cursor]) -> None:
        """Put what `load` returned in force, except for what was taken away since and is not in the store yet."""
        indexes, self._cursor = loaded
        for name, index in indexes.items():
            self._views[name].replace(index)
        self._apply_unwritten()

    def start(self) -> None:
        """Write from now on."""
        self._thread.start()

    def stop(self) -> Deferred[None]:
        """Write what waits and what is owed, then release the store. Fires when that is done, or has taken too long."""
        owed, self._owed = self._owed, []
        for change in owed:
            self._write_removal(change).addErrback(lambda _: None)  # logged
        quiet = self._quiet = Deferred()
        # Only the store's thread closes the store: not if it hangs, then, and without a disk's delay for the reactor.
        quiet.addCallback(lambda _: self._thread.proceed(self._store.close))
        quiet.addTimeout(_LAST, self._reactor).addErrback(lambda _: None)
        self._flush()
        return quiet.addBoth(lambda _: self._thread.stop())

    def view(self, kind: Kind[V]) -> V:
        """What holds ``kind`` in memory, the same object as long as this state is in use. Raises KeyError for an unknown kind."""
        return cast("V", self._views[kind.name])

    # -- for the views (`perimeter.state.writer.ChangeWriter`)

    def seconds(self) -> float:
        """The time, in epoch seconds."""
        return float(self._reactor.seconds())

    def add(self, change: Change) -> Deferred[None]:
        """Write ``change``, then apply it. Fails with `Unavailable` if it cannot be written."""

        def written(_: None) -> None:
            self._view(change).apply(change)

        return unaffected(self._write(change).addCallback(written))

    def remove(self, change: Change) -> Deferred[None]:
        """Apply ``change`` at once, and write it. Fails with `Unavailable` if it is not written yet."""
        view = self._view(change)
        view.apply(change)
        view.removed()
        if not change.passing:
            self._notify()
        return self._write_removal(change)

    def _view(self, change: Change) -> View:
        return self._views[self._kinds.of(change).name]

    def _notify(self) -> None:
        for function in list(self.on_removed):
            function()

    def _write_removal(self, change: Change) -> Deferred[None]:
        def failed(failure: Failure) -> Failure:
            self._owed.append(change)
            _log.error("a revocation is in force but not on disk yet: {error}", error=failure.getErrorMessage())
            return failure

        return unaffected(self._write(change, bounded=False).addErrback(failed))

    def problem(self) -> str:
        """What is wrong with the store, for the operator; "" if nothing is."""
        if self._owed:
            return f"{len(self._owed)} revocations are in force, but not on disk yet"
        return "changes of other processes are not seen" if self._unread else ""

    # -- writing

    def _write(self, change: Change, *, bounded: bool = True) -> Deferred[None]:
        done: Deferred[None] = Deferred()
        if bounded and len(self._waiting) >= MOST_WAITING:
            done.errback(Overloaded("too many changes wait to be written"))
            return done
        self._waiting.append((change, done))
        self._flush()
        return done

    def _flush(self) -> None:
        if self._under_way:
            return
        if not self._waiting:
            if self._quiet is not None and not self._quiet.called:
                self._quiet.callback(None)
            return
        batch = self._under_way = self._waiting
        self._waiting = []

        def written(result: Cursor | Failure) -> None:
            self._under_way = []
            failed = None
            if isinstance(result, Failure):
                failed = result
            # If another process has written in between, the next `follow` reads its changes, and these once more.
            elif result == self._cursor + len(batch):
                self._cursor = result
            for _, done in batch:
                done.callback(failed)
            self._flush()

        # `proceed`, not `run`: at most one write is queued, so the queue limit need not apply.
        self._thread.proceed(self._store.write, [change for change, _ in batch]).addErrback(_as_unavailable).addBoth(written)

    # -- from time to time

    def tend(self) -> Deferred[None]:
        """Write what is owed, and drop what has ended. Never fails."""
        owed, self._owed = self._owed, []
        for change in owed:
            self._write_removal(change).addErrback(lambda _: None)  # logged, and owed again
        now = self._reactor.seconds()
        if now - self._forgotten < _FORGET:
            return self._guarded(_nothing())
        self._forgotten = now
        for view in self._views.values():
            view.forget(now)
        return self._guarded(self._forget(now))

    async def _forget(self, now: float) -> None:
        await self._thread.run(self._store.forget, now)

    def follow(self) -> Deferred[None]:
        """Put in force what other processes have written. Never fails."""
        return self._reading.run(lambda: self._guarded(self._follow()))

    async def _follow(self) -> None:
        while True:
            asked = self._cursor
            found = await self._thread.run(self._store.since, asked)
            if isinstance(found, Gap):
                self.replace(await self._thread.run(self.load))
                for view in self._views.values():
                    view.removed()
                self._notify()
            else:
                changes, cursor = found
                self._apply(changes[self._cursor - asked :])  # without what this process has written meanwhile
                self._cursor = max(self._cursor, cursor)
            self._unread = False
            if isinstance(found, Gap) or not changes:
                return

    def _apply(self, changes: Sequence[Change]) -> None:
        """Apply changes of the log: other processes' and, harmlessly, this one's own."""
        for change in changes:
            self._view(change).apply(change)
        self._apply_unwritten()
        removals = [change for change in changes if not change.adds]
        for view in {id(view): view for view in map(self._view, removals)}.values():
            view.removed()
        if not all(change.passing for change in removals):
            self._notify()

    def _apply_unwritten(self) -> None:
        """Apply again what was taken away and is not in the store yet: what was just read may still have it.

        Additions on their way are applied when they are written.
        """
        pending: Iterable[Change] = (*(change for change, _ in (*self._under_way, *self._waiting)), *self._owed)
        for change in pending:
            if not change.adds:
                self._view(change).apply(change)

    def _guarded(self, work: Any) -> Deferred[None]:
        return Deferred.fromCoroutine(work).addErrback(self._failed)

    def _failed(self, failure: Failure) -> None:
        """Log why the store could not be read: once, until it can be read again."""
        if not failure.check(Unavailable, StartupError):
            _log.failure("the state cannot be read", failure)
        elif not self._unread:
            _log.error("changes of other processes are not seen: {error}", error=failure.getErrorMessage())
        self._unread = True


async def _nothing() -> None:
    pass


def unaffected(work: Deferred[T]) -> Deferred[T]:
    """The result of ``work``, for a caller who may cancel: the work goes on, and all that follows from it happens."""
    result: Deferred[T] = Deferred()

    def over(value: Any) -> None:
        if not result.called:
            result.callback(value)

    work.addBoth(over)
    return result


def _as_unavailable(failure: Failure) -> Failure:
    if failure.check(Unavailable):
        return failure
    _log.failure("the state cannot be written", failure)
    return Failure(StateUnavailable("the state cannot be written"))
