"""A machine: the real index of tokens, the real follower and freshness. Its disk and its processor are models."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, cast

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import deferLater

from bench.cluster.clock import VirtualClock
from bench.cluster.engine import Engine, EngineClient
from perimeter.cluster import follower as follower_module
from perimeter.cluster.base import Bases
from perimeter.cluster.confirmed import ConfirmedWrites
from perimeter.cluster.followed import FOLLOWED, Followed, Heard, Owed, Settled
from perimeter.cluster.follower import Follower
from perimeter.cluster.local import with_followed
from perimeter.cluster.log import CommonLog, Entry
from perimeter.cluster.published import Publisher
from perimeter.cluster.records import RecordStore
from perimeter.cluster.sealing import Sealing
from perimeter.errors import Unavailable
from perimeter.model import Grant, GrantKind, Principal
from perimeter.redis.client import RedisClient
from perimeter.run.build.state_kinds import STATE_KINDS
from perimeter.state.changes import Change, Held
from perimeter.state.freshness import Always, Freshness
from perimeter.state.kinds import Kinds
from perimeter.state.writer import ChangeWriter
from perimeter.tokens.revocation import RevokedGrant
from perimeter.tokens.stored import TOKENS, StoredTokens

KINDS: Final = with_followed(STATE_KINDS)
NEVER: Final = 4_000_000_000.0
CHANGE: Final = 6e-6
"""Seconds of a machine's processor to read a change, verify it and put it in force."""


class SharedLog(CommonLog):
    """The log. Each entry is verified and parsed once for all machines, to save time. In virtual time each machine does it."""

    def __init__(self, client: RedisClient, kinds: Kinds, sealing: Sealing, parsed: dict[bytes, Entry]) -> None:
        super().__init__(client, kinds, sealing)
        self._parsed = parsed

    def entries(self, reply: Any) -> list[Entry]:
        """See `CommonLog`."""
        found: list[Entry] = []
        for key, stream in () if reply is None else reply.items():
            for id, fields in stream:
                entry = self._parsed.get(fields[1])
                if entry is None:
                    (entry,) = super().entries({key: [(id, fields)]})
                    self._parsed[fields[1]] = entry
                found.append(entry if entry.id == id.decode() else Entry(id.decode(), entry.name, entry.changes))
        return found


class _Writer:
    """`ChangeWriter` for the views: they are only looked at, and changed by the machine."""

    stale = False
    spared = 0.0

    def __init__(self, clock: VirtualClock) -> None:
        self.seconds = clock.seconds

    def catch_up(self) -> None:
        """Nothing is asked."""


class Machine:
    """One machine (`perimeter.cluster.follower.Machine`) that takes ``disk`` seconds to write something.

    ``in_force`` is called with each revoked id that it hears of. Without ``again`` it forgets what it has added to the log.
    """

    def __init__(
        self,
        engine: Engine,
        parsed: dict[bytes, Entry],
        disk: float,
        *,
        again: bool = True,
        in_force: Callable[[str], None] = lambda id: None,
    ) -> None:
        self._clock = clock = engine.clock
        self._disk = disk
        self._again = again
        self._in_force = in_force
        self.chance: random.Random = engine.chance
        self.client = EngineClient(engine)
        writer = cast(ChangeWriter, _Writer(clock))
        self.followed: Followed = FOLLOWED.view(writer)
        self.tokens: StoredTokens = TOKENS.view(writer)
        self._heard = Freshness("engine", 60.0, clock=clock.seconds)
        self._heard.compared(0.0)
        self.freshness: Always = self._heard
        client, sealing = cast(RedisClient, self.client), Sealing(b"k" * 32)
        log = SharedLog(client, KINDS, sealing, parsed)
        records = RecordStore(client, ConfirmedWrites(client, replicas=True), KINDS, sealing, clock.seconds)
        self.publisher = Publisher(log, records, KINDS)
        self.bases = Bases(client, log, KINDS, sealing, lambda: succeed(self.contents()))
        self.follower = Follower(client, log, self.bases, self.publisher, self, clock)
        #: when it had heard all of the log for the first time
        self.ready: float | None = None
        self._revoked: dict[str, RevokedGrant] = {}

    # -- for the follower

    def take(self, changes: Sequence[Change]) -> Deferred[None]:
        """See `perimeter.cluster.follower.Machine`."""
        seconds = self._disk * self.chance.uniform(0.7, 1.5) + len(changes) * CHANGE
        return deferLater(cast(Any, self._clock), seconds, self._apply, changes)

    def exchange(self, changes: Sequence[Change], heard: Heard) -> Deferred[None]:
        """See `perimeter.cluster.follower.Machine`. What was removed here stays removed."""
        return self.take([*changes, heard])

    def follow(self) -> Deferred[None]:
        """See `perimeter.cluster.follower.Machine`: there are no other workers."""
        return succeed(None)

    def heard_all(self) -> None:
        """See `perimeter.cluster.follower.Machine`."""
        self._heard.heard()
        self._heard.read(self._heard.mark())
        if self.ready is None:
            self.ready = self._clock.seconds()

    def contents(self) -> Held:
        """What its store has."""
        return {"tokens": list(self._revoked.values()), "followed": [self.followed.heard]}

    def _apply(self, changes: Iterable[Change]) -> None:
        for change in changes:
            if isinstance(change, RevokedGrant):
                self._revoke(change)
            elif isinstance(change, Heard | Owed | Settled):
                self.followed.apply(change)

    def _revoke(self, change: RevokedGrant) -> None:
        self.tokens.apply(change)
        self._revoked[change.id] = change
        self._in_force(change.id)

    # -- for the load

    def revoke(self, id: str) -> Deferred[bool]:
        """Revoke an access token, as `perimeter.cluster.state.ClusterState` does. Fires with whether it was answered with 200."""
        return Deferred.fromCoroutine(self._remove(RevokedGrant(id, NEVER)))

    async def _remove(self, change: RevokedGrant) -> bool:
        self._revoke(change)
        owed = Owed(change.id, self._clock.seconds(), *KINDS.encode(change))
        await self.take([owed] if self._again else [])
        try:
            await self.publisher.publish_owed(owed)
        except Unavailable:
            return False
        return True

    def refuses(self, id: str) -> bool:
        """Whether the access token with this id is refused here."""
        return not self.tokens.good(Principal("alice", "local", grant=Grant(id, 0.0, NEVER, GrantKind.ACCESS_TOKEN)))


def deterministic(chance: random.Random) -> None:
    """Make the follower draw its pauses from ``chance``."""
    follower_module._chance = chance  # type: ignore[assignment]
