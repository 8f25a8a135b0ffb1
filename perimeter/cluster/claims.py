"""Names that count once on all machines: of several claims of a name the first succeeds. The primary of Redis decides.

A claim waits for a replica (``WAIT``), because a failover would forget it otherwise. ``WAIT`` holds up what comes after it on its
connection, so claims have one of their own, and those that come meanwhile go together after it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from twisted.internet.defer import Deferred, ensureDeferred

from perimeter.cluster.names import ORIGIN, claim_of
from perimeter.errors import Overloaded, StateUnavailable
from perimeter.redis.client import RedisClient
from perimeter.redis.link import Link
from perimeter.redis.script import Script
from perimeter.state.store import Claim
from perimeter.state.writer import finish

_REPLICA: Final = 100
"""Milliseconds that claims wait for a replica."""

MOST_WAITING: Final = 1000
"""Claims that wait at most while others are made."""

# KEYS: the claim, the name of the contents. ARGV: that name as this machine knows it, milliseconds. Replies with 1 for the first
# claim, 0 for a later one, and -1 if these are other contents.
_CLAIM: Final = Script("""
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return -1 end
return redis.call('SET', KEYS[1], '1', 'NX', 'PX', ARGV[2]) and 1 or 0
""")


class CommonClaims:
    """Makes claims. ``clock`` gives epoch seconds. ``replicas``: a claim counts only when a replica has it, too."""

    def __init__(self, client: RedisClient, clock: Callable[[], float], *, replicas: bool) -> None:
        self._client = client
        self._clock = clock
        self._replicas = replicas
        self._link: Link | None = None
        self._waiting: list[tuple[Claim, Deferred[bool]]] = []
        self._under_way = False
        #: the name of the contents of Redis that this machine belongs to; "" while it does not know
        self.origin: Callable[[], str] = str

    def claim(self, claim: Claim) -> Deferred[bool]:
        """Whether this is the first claim of its digest.

        Fails with `StateUnavailable` if that is not known, or not safe: the name is used up then. Fails with `Overloaded` if
        `MOST_WAITING` wait.
        """
        done: Deferred[bool] = Deferred()
        if len(self._waiting) >= MOST_WAITING:
            done.errback(Overloaded("too many claims wait for Redis"))
            return done
        self._waiting.append((claim, done))
        self._begin()
        return done

    def _begin(self) -> None:
        if self._under_way or not self._waiting:
            return
        self._under_way = True
        batch, self._waiting = self._waiting, []

        def over(result: Any) -> None:
            self._under_way = False
            for number, (_, done) in enumerate(batch):
                done.callback(result[number] if isinstance(result, list) else result)
            self._begin()

        ensureDeferred(self._make([claim for claim, _ in batch])).addBoth(over)

    async def _make(self, claims: Sequence[Claim]) -> list[bool]:
        origin, link = self.origin(), self._connection()
        asked: list[Deferred[Any]] = []
        for digest, until in claims:
            life = max(1, int((until - self._clock()) * 1000))
            asked.append(link.run(_CLAIM, [claim_of(digest), ORIGIN], [origin, life]))
        replies = await finish(*asked)
        if not origin or -1 in replies:
            raise StateUnavailable("Redis has lost its contents, or has not been read yet")
        if self._replicas and await link.call("WAIT", 1, _REPLICA, patience=_REPLICA / 1000) < 1:
            raise StateUnavailable("no replica of Redis has confirmed a claim")
        return [reply == 1 for reply in replies]

    def _connection(self) -> Link:
        if self._link is None:
            self._link = self._client.reader()
        return self._link
