"""The state as the reactor thread sees it: whole in memory, so that no look-up waits for a disk, and none can fail.

A change that takes something away is in force at once and is written then; a change that adds something is in force once it is
written. Changes that come while others are being written are written together after them, in one transaction. What other
processes write is read from the store's log. A change is answered when it is in force in every process (`perimeter.state.peers`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import inf
from typing import Any, Final, NoReturn, TypeVar, cast

from twisted.internet.defer import Deferred, DeferredLock, fail, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from perimeter.errors import NotWritten, StartupError, StateUnavailable, Unavailable
from perimeter.offload import Offload
from perimeter.secrets_key import SecretsKey
from perimeter.state.changes import Change, Cursor, Gap
from perimeter.state.finder import RecordFinder
from perimeter.state.freshness import ALWAYS, Always
from perimeter.state.kinds import Kind, Kinds, View
from perimeter.state.partial import PartialView
from perimeter.state.peers import ALONE, Peers
from perimeter.state.store import Claim, IStateStore
from perimeter.state.write_queue import Batch, WriteQueue, fire
from perimeter.state.writer import LookupKey, stale_fault, unaffected

_log = Logger()

V = TypeVar("V", bound=View)

_LAST: Final = 10.0
"""Seconds that `State.stop` takes at most: another process may be writing."""
_CLAIM: Final = 10.0
"""Seconds that a claim takes at most."""
_FORGET: Final = 600.0
"""Seconds between two rounds in which what has ended is dropped."""

LOOK_INTERVAL: Final = 1.0
"""Least seconds between two reads of the store for an unknown token or session that no process has announced."""
_LOOK: Final = 2.0
"""Seconds that a client waits for such a read."""

Indexes = Mapping[str, Any]
"""New indexes by the name of their kind, as `perimeter.state.kinds.View.index` makes them."""


class State:
    """The contents of ``store``, in one view for each of ``kinds``.

    `load` (in a thread), then `replace` and `start` (on the reactor thread), then the rest. The functions in ``on_removed`` are
    called whenever something was taken away, by this process or by another one. With ``freshness``, other machines take things
    away, too: while it says that the state is stale, nothing is added, claimed or looked up.
    """

    def __init__(
        self, store: IStateStore, kinds: Kinds, reactor: Any, thread: Offload | None = None, freshness: Always = ALWAYS
    ) -> None:
        self._store = store
        self._kinds = kinds
        self._reactor = reactor
        self._views: dict[str, View] = {kind.name: kind.view(self) for kind in kinds.all}
        # One thread: the store is for one at a time, and what this thread reads is applied before it begins the next write. A
        # thread of its own, so that no flood of logins delays a revocation.
        self._thread = thread or Offload(reactor, threads=1, queue=4)
        self._cursor: Cursor = 0
        self._peers: Peers = ALONE
        self.freshness = freshness
        self._queue: WriteQueue[Change, Cursor, None] = WriteQueue(self._thread, self._commit, self._written)
        self._claims: WriteQueue[Claim, Sequence[bool], bool] = WriteQueue(self._thread, store.claim, fire)
        self._finder = RecordFinder(self._thread, store.find)
        self._reading = DeferredLock()
        #: callers that wait for a read of the log that has not begun
        self._asking: list[Deferred[None]] = []
        self._looked = -inf
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
        self._apply_owed()

    def start(self) -> None:
        """Write from now on."""
        self._thread.start()

    def use_key(self, key: SecretsKey) -> None:
        """Use the key of the site ``key`` from now on, if the state has anything that is sealed with it."""

    def settled(self) -> Deferred[None]:
        """Fires when the state is known, or after a few seconds: a gateway that starts is ready then. Never fails."""
        return succeed(None)

    def join(self, peers: Peers) -> None:
        """Share the store with ``peers`` from now on."""
        self._peers = peers
        self.freshness.join(peers)
        peers.begin(self._cursor, self.follow)

    def leave(self) -> None:
        """Stop sharing the store, because another one is in use. Its numbers mean nothing to the peers from now on."""
        self._peers = ALONE

    def stop(self) -> Deferred[None]:
        """Write what waits and what is owed, then release the store. Fires when that is done, or has taken too long."""
        self._peers.end()
        owed, self._owed = self._owed, []
        for change in owed:
            self._write_removal(change).addErrback(lambda _: None)  # logged
        quiet = self._queue.finish().addCallback(lambda _: self._claims.finish())
        # Only the store's thread closes the store: not if it hangs, then, and without a disk's delay for the reactor.
        quiet.addCallback(lambda _: self._thread.proceed(self._store.close))
        quiet.addTimeout(_LAST, self._reactor).addErrback(lambda _: None)
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
        if self.stale:
            return fail(stale_fault())
        return unaffected(self._queue.add(change))

    def remove(self, change: Change) -> Deferred[None]:
        """Apply ``change`` at once, and write it. Fails with `NotWritten` if it is not written yet."""
        view = self._view(change)
        view.apply(change)
        view.removed()
        if not change.passing:
            self._notify()
        return self._write_removal(change).addErrback(_in_force)

    def claim(self, digest: bytes, until: float) -> Deferred[bool]:
        """Whether this is the first claim of ``digest``. Fails with `Unavailable` if the store does not answer in time, too."""
        if self.stale:
            return fail(stale_fault())
        return unaffected(self._claims.add((digest, until))).addTimeout(_CLAIM, self._reactor, _late)

    @property
    def stale(self) -> bool:
        """See `ChangeWriter`."""
        return self.freshness.stale

    @property
    def spared(self) -> float:
        """See `ChangeWriter`."""
        return self.freshness.spared

    def find(self, kind: str, key: LookupKey) -> Deferred[Sequence[Change]]:
        """See `ChangeWriter`."""
        if self.stale:
            return fail(stale_fault())
        return unaffected(self._finder.find(kind, key)).addTimeout(_LOOK, self._reactor, _late)

    def _view(self, change: Change) -> View:
        return self._views[self._kinds.of(change).name]

    def _notify(self) -> None:
        for function in list(self.on_removed):
            function()

    def _write_removal(self, change: Change) -> Deferred[None]:
        written = self._queue.add(change, bounded=False)
        return unaffected(written.addErrback(lambda failure: self._not_written(change, failure)))

    def _not_written(self, change: Change, failure: Failure) -> Failure:
        self._owed.append(change)
        _log.error("a revocation is in force but not on disk yet: {error}", error=failure.getErrorMessage())
        return failure

    def problem(self) -> str:
        """What is wrong with the store, for the operator; "" if nothing is."""
        if self.stale:
            return f"tokens and sessions get 503: {self.freshness.reason}"
        if self._owed:
            return f"{len(self._owed)} revocations are in force, but not on disk yet"
        return "changes of other processes are not seen" if self._unread or self._peers.late else ""

    # -- writing

    def _commit(self, changes: Sequence[Change]) -> Cursor:
        """Write ``changes`` and inform the peers, in the store's thread, so that the peers need not wait for the reactor."""
        cursor = self._store.write(changes)
        self._peers.wrote(cursor)
        return cursor

    def _written(self, batch: Batch[Change, None], cursor: Cursor) -> None:
        # If another process has written in between, the next `follow` reads its changes, and these once more.
        if cursor == self._cursor + len(batch):
            self._cursor = cursor
        for change, _ in batch:
            if change.adds:
                self._view(change).apply(change)
        self._peers.applied(self._cursor)
        self._peers.everywhere(cursor).addCallback(lambda _: fire(batch, [None] * len(batch)))

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
        self._apply_owed()
        return self._guarded(self._forget(now))

    async def _forget(self, now: float) -> None:
        if self._peers.leads:
            await self._thread.run(self._store.forget, now)
        for name, view in self._views.items():
            if isinstance(view, PartialView) and not view.complete:
                view.count_again(await self._thread.run(self._store.count, name))

    def grow_old(self) -> bool:
        """Whether the state has become stale, or is fresh again, since the last call. To be called once a second.

        Then remembered decisions are made again. What is under way is not cut, but has to be judged again.
        """
        turned, stale = self.freshness.turned(), self.stale
        if turned and self.freshness.silent == inf:  # at each start, usually for less than a second
            _log.info("tokens and sessions get 503 until Redis has been heard")
        elif turned and stale:
            _log.error("tokens and sessions get 503 from now on: {reason}", reason=self.freshness.reason)
        elif turned:
            _log.info("the other machines are heard: tokens and sessions are good again")
        if turned or stale:  # also what was decided while it was fresh for a moment
            for view in self._views.values():
                view.removed()
        return turned

    def follow(self) -> Deferred[None]:
        """Put changes of other processes in force. Never fails.

        All callers before the next read of the log share it.
        """
        asked: Deferred[None] = Deferred()
        self._asking.append(asked)
        if len(self._asking) == 1:
            self._reading.run(self._look)
        return asked

    def _look(self) -> Deferred[None]:
        asking, self._asking = self._asking, []

        def seen(_: None) -> None:
            for asked in asking:
                asked.callback(None)

        return self._guarded(self._follow()).addCallback(seen)

    def catch_up(self) -> Deferred[None] | None:
        """Read the store for an unknown token or session of a client, since another process may have written it.

        None if no read is needed: the peers have written nothing new, and the last read was less than `LOOK_INTERVAL` ago. So a
        flood of made-up tokens costs one read a second. Fails with `StateUnavailable` if there are new changes that cannot be
        read.
        """
        if self.stale:
            return fail(stale_fault())
        now, target = self.seconds(), self._peers.committed
        if target <= self._cursor and 0 <= now - self._looked < LOOK_INTERVAL:
            return None
        self._looked = now

        def seen(_: object) -> None:
            if self._cursor < target:
                raise StateUnavailable("what another process has written cannot be read")

        return unaffected(self.follow()).addTimeout(_LOOK, self._reactor).addBoth(seen)

    async def _follow(self) -> None:
        mark = self.freshness.mark()
        while True:
            asked = self._cursor
            found = await self._thread.run(self._store.since, asked)
            if isinstance(found, Gap):
                self.replace(await self._thread.run(self.load))
                self._peers.applied(self._cursor)
                for view in self._views.values():
                    view.removed()
                self._notify()
            else:
                changes, cursor = found
                self._apply(changes[self._cursor - asked :])  # without what this process has written meanwhile
                self._cursor = max(self._cursor, cursor)
                self._peers.applied(self._cursor)
            self._unread = False
            if isinstance(found, Gap) or not changes:
                self.freshness.read(mark)
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
        for change in (*self._queue.pending(), *self._owed):
            if not change.adds:
                self._view(change).apply(change)

    def _apply_owed(self) -> None:
        """Apply again what was taken away while it is not where other processes see it: views forget what has ended."""
        self._apply_unwritten()

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


def _in_force(failure: Failure) -> NoReturn:
    failure.trap(Unavailable)
    raise NotWritten(getattr(failure.value, "detail", ""))


def _late(_: object, seconds: float) -> NoReturn:
    raise StateUnavailable(f"the state store has not answered for {seconds:.0f} seconds")
