"""Redis or Valkey as the store that several machines share (`perimeter.state.engine.Engine`)."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from typing import Any, Final

from twisted.internet.defer import Deferred, ensureDeferred

from perimeter.cluster.base import Bases
from perimeter.cluster.followed import Owed
from perimeter.cluster.follower import Follower, Machine
from perimeter.cluster.log import CommonLog
from perimeter.cluster.names import ORIGIN, claim_of
from perimeter.cluster.published import Publisher
from perimeter.cluster.records import RecordStore
from perimeter.cluster.sealing import PURPOSE, Sealing
from perimeter.errors import StateUnavailable
from perimeter.redis.client import RedisClient
from perimeter.redis.script import Script
from perimeter.secrets_key import SecretsKey
from perimeter.state.changes import Change, Held
from perimeter.state.kinds import Kinds
from perimeter.state.store import Claim
from perimeter.state.writer import LookupKey, finish

_REPLICA: Final = 100
"""Milliseconds that a claim waits for a replica."""

# KEYS: the claim, the name of the contents. ARGV: that name as this machine knows it, milliseconds. Replies with 1 for the first
# claim, 0 for a later one, and -1 if these are other contents.
_CLAIM: Final = Script("""
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return -1 end
return redis.call('SET', KEYS[1], '1', 'NX', 'PX', ARGV[2]) and 1 or 0
""")


class RedisEngine:
    """The engine over ``client``. ``secrets_key`` is that of all machines; ``clock`` gives epoch seconds.

    ``replicas``: a claim counts only when a replica has it, too.
    """

    def __init__(
        self,
        client: RedisClient,
        secrets_key: SecretsKey,
        kinds: Kinds,
        clock: Callable[[], float],
        *,
        replicas: bool = False,
    ) -> None:
        self.client = client
        self.secrets = secrets_key
        self.sealing = Sealing(*secrets_key.derive_all(PURPOSE))
        self._kinds = kinds
        self._clock = clock
        self._replicas = replicas
        #: the name of the contents of Redis that this machine belongs to; "" while it does not know
        self.origin: Callable[[], str] = str
        self._records = RecordStore(client, kinds, self.sealing, clock)
        self._log = CommonLog(client, kinds, self.sealing)
        self._publisher = Publisher(self._log, self._records, kinds)

    def start(self) -> None:
        """Connect."""
        self.client.start()

    def stop(self) -> Deferred[None]:
        """See `Engine`."""
        return self.client.stop()

    def publish(self, changes: Sequence[Change]) -> Deferred[str]:
        """See `Engine`."""
        return ensureDeferred(self._publisher.publish(secrets.token_hex(8), changes))

    def publish_owed(self, owed: Owed) -> Deferred[str]:
        """As `publish`, for a removal that this machine has noted."""
        return ensureDeferred(self._publisher.publish_owed(owed))

    def keep(self, record: Change) -> Deferred[None]:
        """See `Engine`."""
        return ensureDeferred(self._records.keep(record))

    def find(self, kind: str, key: LookupKey) -> Deferred[Sequence[Change]]:
        """See `Engine`."""
        return ensureDeferred(self._find(kind, key))

    async def _find(self, kind: str, key: LookupKey) -> Sequence[Change]:
        if key[0] == "page":
            raise StateUnavailable("the state is in Redis, which has no list of all users' tokens and sessions: name a user")
        found = await self._records.find(kind, key)
        if not found:
            await self._check_contents()
        return found

    async def _check_contents(self) -> None:
        """Raise `StateUnavailable` if Redis has lost its contents, or has other ones: nothing is known to be absent then."""
        origin = self.origin()
        if not origin or await self.client.call("GET", ORIGIN) != origin.encode("ascii"):
            raise _other_contents()

    def claim(self, claims: Sequence[Claim]) -> Deferred[Sequence[bool]]:
        """See `Engine`. A claim of which it is not known whether it is safe fails: the name is used up then."""
        return ensureDeferred(self._claim(claims))

    async def _claim(self, claims: Sequence[Claim]) -> Sequence[bool]:
        origin, asked = self.origin(), list[Deferred[Any]]()
        for digest, until in claims:
            life = max(1, int((until - self._clock()) * 1000))
            asked.append(self.client.run(_CLAIM, [claim_of(digest), ORIGIN], [origin, life]))
        replies = await finish(*asked)
        if not origin or -1 in replies:
            raise _other_contents()
        if self._replicas and await self.client.call("WAIT", 1, _REPLICA) < 1:
            raise StateUnavailable("no replica of Redis has confirmed a claim")
        return [reply == 1 for reply in replies]

    def last(self) -> Deferred[str]:
        """See `Engine`."""
        return ensureDeferred(self._log.last())

    def follower(self, machine: Machine, contents: Callable[[], Deferred[Held]], reactor: Any) -> Follower:
        """What follows the log for ``machine``; ``contents`` reads its whole store."""
        bases = Bases(self.client, self._log, self._kinds, self.sealing, contents)
        return Follower(self.client, self._log, bases, self._publisher, machine, reactor)


def _other_contents() -> StateUnavailable:
    return StateUnavailable("Redis has lost its contents, or has not been read yet")
