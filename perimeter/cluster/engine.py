"""Redis or Valkey as the store that several machines share (`perimeter.state.engine.Engine`)."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred

from perimeter.cluster.base import Bases
from perimeter.cluster.claims import CommonClaims
from perimeter.cluster.confirmed import ConfirmedWrites
from perimeter.cluster.followed import Owed
from perimeter.cluster.follower import Follower, Machine
from perimeter.cluster.log import CommonLog
from perimeter.cluster.moving import Copied, copy
from perimeter.cluster.names import ORIGIN
from perimeter.cluster.published import Publisher
from perimeter.cluster.records import RecordStore
from perimeter.cluster.sealing import PURPOSE, Sealing
from perimeter.errors import StateUnavailable
from perimeter.redis.client import RedisClient
from perimeter.secrets_key import SecretsKey
from perimeter.state.changes import Change, Held
from perimeter.state.kinds import Kinds
from perimeter.state.page import PAGE, Page
from perimeter.state.store import Claim
from perimeter.state.writer import LookupKey, finish


class RedisEngine:
    """The engine over ``client``. ``secrets_key`` is that of all machines; ``clock`` gives epoch seconds.

    ``replicas``: a claim counts only when a replica has it, too, and a record waits a moment for one.
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
        self.sealing = Sealing(*secrets_key.derive_all(PURPOSE))
        self._kinds = kinds
        writes = ConfirmedWrites(client, replicas=replicas)
        self.claims = CommonClaims(writes, clock)
        self._records = RecordStore(client, writes, kinds, self.sealing, clock)
        self._log = CommonLog(client, kinds, self.sealing)
        self._publisher = Publisher(self._log, self._records, kinds)

    def use_key(self, key: SecretsKey) -> None:
        """Use the key of the site ``key`` from now on."""
        self.sealing.use(*key.derive_all(PURPOSE))

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
        if key[0] == PAGE:
            found = await self._records.page(kind, Page.of(key))
        else:
            found = await self._records.find(kind, key)
        if not found:
            await self._check_contents()
        return found

    async def _check_contents(self) -> None:
        """Raise `StateUnavailable` if Redis has lost its contents, or has other ones: nothing is known to be absent then."""
        origin = self.claims.origin()
        if not origin or await self.client.call("GET", ORIGIN) != origin.encode("ascii"):
            raise StateUnavailable("Redis has lost its contents, or has not been read yet")

    def claim(self, claims: Sequence[Claim]) -> Deferred[Sequence[bool]]:
        """See `Engine`."""
        return ensureDeferred(finish(*map(self.claims.claim, claims)))

    def copy(self, held: Held) -> Deferred[Copied]:
        """Copy the contents of the store of a machine that had no Redis. Fails with `StateUnavailable`."""
        return ensureDeferred(copy(held, self._records, self._publisher, self._kinds))

    def last(self) -> Deferred[str]:
        """See `Engine`."""
        return ensureDeferred(self._log.last())

    def follower(self, machine: Machine, contents: Callable[[], Deferred[Held]], reactor: Any) -> Follower:
        """What follows the log for ``machine``; ``contents`` reads its whole store."""
        bases = Bases(self.client, self._log, self._kinds, self.sealing, contents)
        return Follower(self.client, self._log, bases, self._publisher, machine, reactor)
