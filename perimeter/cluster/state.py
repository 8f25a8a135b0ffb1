"""The state of a machine that shares it with others over Redis.

Records are in Redis alone. Everything else is whole in the store of this machine and in memory. What is added goes into the
common log, and is in force when it was heard there. What is removed is in force here at once, and noted in the store of this
machine in the same transaction, until it is safe in the log. One worker of the machine follows the log; the others follow the
store.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any, Final, NoReturn

from twisted.internet.defer import Deferred, ensureDeferred, fail
from twisted.internet.task import LoopingCall, deferLater
from twisted.python.failure import Failure

from perimeter.cluster.engine import RedisEngine
from perimeter.cluster.followed import FOLLOWED, Followed, Heard, Owed
from perimeter.cluster.local import LocalStore
from perimeter.cluster.log import place
from perimeter.errors import StateUnavailable
from perimeter.offload import Offload
from perimeter.secrets_key import SecretsKey
from perimeter.state.changes import Change, Extent, Held
from perimeter.state.freshness import Freshness
from perimeter.state.kinds import Kinds
from perimeter.state.state import State
from perimeter.state.writer import LookupKey, stale_fault, unaffected

_HEAR: Final = 2.0
"""Seconds that a change or a look-up waits until the log was heard up to a place."""

_SETTLE: Final = 3.0
"""Seconds that a gateway that starts waits until it has heard of the other machines."""
_LOOK: Final = 0.02

_TURN: Final = 0.2
"""Seconds between two looks whether this worker has to follow the log."""


class ClusterState(State):
    """`perimeter.state.state.State` over ``store`` and ``engine``. ``kinds`` are those of the store, with `FOLLOWED`.

    While ``freshness`` is stale, nothing is added, claimed or looked up; what is removed goes on to Redis.
    """

    def __init__(
        self,
        store: LocalStore,
        kinds: Kinds,
        reactor: Any,
        engine: RedisEngine,
        freshness: Freshness,
        thread: Offload | None = None,
    ) -> None:
        super().__init__(store, kinds, reactor, thread, freshness)
        self.engine = engine
        self._heard = freshness
        self._local = store
        self.followed: Followed = self.view(FOLLOWED)
        engine.claims.origin = lambda: self.followed.heard.origin
        self._follower = engine.follower(self, self._contents, reactor)
        self._turns = LoopingCall(self._turn)
        self._turns.clock = reactor
        #: callers that wait for a question that was not asked yet
        self._asking_last: list[Deferred[None]] = []
        self._asked = False

    def use_key(self, key: SecretsKey) -> None:
        """See `State`."""
        self.engine.use_key(key)

    def start(self) -> None:
        """See `State`. Connects to Redis."""
        super().start()
        self._reactor.wary = True
        self.engine.start()
        self._turns.start(_TURN)

    def settled(self) -> Deferred[None]:
        """See `State`. Without Redis, the gateway is ready all the same: not every request needs the state."""
        return ensureDeferred(self._settle(self._reactor.seconds() + _SETTLE))

    async def _settle(self, end: float) -> None:
        while self.stale and self._reactor.seconds() < end:
            await deferLater(self._reactor, _LOOK)

    def stop(self) -> Deferred[None]:
        """See `State`."""
        if self._turns.running:
            self._turns.stop()
        stopped = self._follower.stop().addBoth(lambda _: super(ClusterState, self).stop())
        return stopped.addBoth(lambda _: self.engine.stop())

    def _turn(self) -> None:
        if self._peers.leads and not self._follower.running:
            self._follower.start()
        elif self._follower.running and not self._peers.leads:
            self._follower.stop()

    # -- for the views

    def add(self, change: Change) -> Deferred[None]:
        """See `State`. A change that is no record is in force on this machine when this fires, and soon on the others."""
        if self.stale:
            return fail(stale_fault())
        records = self._kinds.of(change).records
        if records is not None and isinstance(change, records.change):
            return unaffected(self.engine.keep(change).addCallback(lambda _: self._view(change).apply(change)))
        return unaffected(ensureDeferred(self._publish(change)))

    async def _publish(self, change: Change) -> None:
        await self._hear(await self.engine.publish([change]))

    def _write_removal(self, change: Change) -> Deferred[None]:
        owed = Owed(secrets.token_hex(8), self.seconds(), *self._kinds.encode(change))
        written, noted = self._queue.add_all((change, owed))
        noted.addErrback(lambda _: None)  # the other one fails, too

        def failed(failure: Failure) -> Failure:
            return self._not_written(change, failure)

        written.addErrback(failed)

        def sent(result: Failure | None) -> Any:
            # Also if the disk is full: the other machines must know.
            return self.engine.publish_owed(owed).addCallback(lambda _: result)

        return unaffected(written.addBoth(sent))

    def claim(self, digest: bytes, until: float) -> Deferred[bool]:
        """See `State`: on all machines."""
        if self.stale:
            return fail(stale_fault())
        return unaffected(self.engine.claim([(digest, until)]).addCallback(lambda results: results[0]))

    def find(self, kind: str, key: LookupKey) -> Deferred[Sequence[Change]]:
        """See `State`: in Redis."""
        if self.stale:
            return fail(stale_fault())
        return unaffected(self.engine.find(kind, key))

    def _apply_owed(self) -> None:
        """See `State`: what this machine owes the common log is still among the records of Redis."""
        super()._apply_owed()
        for owed in self.followed.owed.values():
            change = self._kinds.decode(owed.word, owed.body)
            self._view(change).apply(change)

    def catch_up(self) -> Deferred[None]:
        """Wait until this worker has everything that is in the log now. All callers before the next question share it."""
        if self.stale:
            return fail(stale_fault())
        asked: Deferred[None] = Deferred()
        self._asking_last.append(asked)
        self._ask()
        return unaffected(asked)

    def _ask(self) -> None:
        if self._asked or not self._asking_last:
            return
        self._asked = True
        asking, self._asking_last = self._asking_last, []

        def over(result: Failure | None) -> None:
            self._asked = False
            for asked in asking:
                asked.callback(result)
            self._ask()

        ensureDeferred(self._up_to_date()).addBoth(over)

    async def _up_to_date(self) -> None:
        await self._hear(await self.engine.last())

    def _hear(self, cursor: str) -> Deferred[None]:
        return self.followed.reached(cursor).addTimeout(_HEAR, self._reactor, _unheard)

    def problem(self) -> str:
        """See `State`."""
        return super().problem() or self.engine.client.problem or self._follower.problem

    # -- for the follower (`perimeter.cluster.follower.Machine`)

    def take(self, changes: Sequence[Change]) -> Deferred[None]:
        """Write ``changes`` of the log in one transaction, and put them in force. Fails with `Unavailable`."""
        return self._thread.proceed(self._commit, changes).addCallback(lambda _: self.follow())

    def exchange(self, changes: Sequence[Change], heard: Heard) -> Deferred[None]:
        """Put ``changes`` in place of all that is kept (`LocalStore.replace`). Fails with `Unavailable`."""

        def replace() -> None:
            self._peers.wrote(self._local.replace(changes, heard))

        return self._thread.proceed(replace).addCallback(lambda _: self.follow())

    def heard_all(self) -> None:
        """All that the log had at the time of the entry that was heard last is in force here."""
        self._compare()
        at = place(self.followed.heard.cursor)[0] / 1000 - self.engine.client.offset
        self._heard.heard(max(self.seconds() - at, 0.0))

    def grow_old(self) -> bool:
        """See `State`."""
        self._compare()
        return super().grow_old()

    def _compare(self) -> None:
        """Compare the clocks, as they were at the latest look at the primary."""
        if self.engine.client.run_id:
            self._heard.compared(self.engine.client.offset)

    def _contents(self) -> Deferred[Held]:
        def held() -> Held:
            loaded, _ = self._local.load()
            return {kind: [one for one in changes if not isinstance(one, Extent)] for kind, changes in loaded.items()}

        return self._thread.proceed(held)


def _unheard(_: object, seconds: float) -> NoReturn:
    raise StateUnavailable(f"the changes of the other machines have not been heard for {seconds:.0f} seconds")
