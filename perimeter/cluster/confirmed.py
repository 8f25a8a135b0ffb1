"""Writes to Redis that wait for a replica (``WAIT``): a failover would lose what only the primary has.

``WAIT`` holds up what comes after it on its connection, so these writes have one of their own, and those that come meanwhile go
together after it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

import attrs
from twisted.internet.defer import Deferred, DeferredList, ensureDeferred
from twisted.python.failure import Failure

from perimeter.errors import Overloaded, StateUnavailable
from perimeter.redis.client import RedisClient
from perimeter.redis.link import Link

T = TypeVar("T")

_REPLICA: Final = 100
"""Milliseconds that writes wait for a replica."""

MOST_WAITING: Final = 1000
"""Writes that wait at most while others are made."""


@attrs.frozen
class _Write:
    work: Callable[[Link], Deferred[Any]]
    needed: bool
    done: Deferred[Any] = attrs.field(factory=Deferred)


class ConfirmedWrites:
    """Writes over ``client``. Without ``replicas`` none is waited for."""

    def __init__(self, client: RedisClient, *, replicas: bool) -> None:
        self._client = client
        self._replicas = replicas
        self._link: Link | None = None
        self._waiting: list[_Write] = []
        self._under_way = False

    def write(self, work: Callable[[Link], Deferred[T]], *, needed: bool) -> Deferred[T]:
        """Do ``work`` on a connection, then wait for a replica. Fires with what ``work`` has returned, or fails as it does.

        ``needed``: fails with `StateUnavailable` if no replica has it in time, though the primary may have it. Fails with
        `Overloaded` if `MOST_WAITING` wait.
        """
        one = _Write(work, needed)
        if len(self._waiting) >= MOST_WAITING:
            one.done.errback(Overloaded("too many writes wait for Redis"))
        else:
            self._waiting.append(one)
            self._begin()
        return one.done

    def _begin(self) -> None:
        if self._under_way or not self._waiting:
            return
        self._under_way = True
        batch, self._waiting = self._waiting, []

        def over(result: Any) -> None:
            self._under_way = False
            outcomes = [result] * len(batch) if isinstance(result, Failure) else result
            for one, outcome in zip(batch, outcomes, strict=True):
                one.done.callback(outcome)  # a failure as well
            self._begin()

        ensureDeferred(self._make(batch)).addBoth(over)

    async def _make(self, batch: list[_Write]) -> list[Any]:
        link = self._connection()
        made: list[tuple[bool, Any]] = await DeferredList([one.work(link) for one in batch], consumeErrors=True)
        outcomes = [outcome for _, outcome in made]
        if not self._replicas or not any(success for success, _ in made):
            return outcomes
        problem = await self._unconfirmed(link)
        if problem is None:
            return outcomes
        return [problem if success and one.needed else outcome for one, (success, outcome) in zip(batch, made, strict=True)]

    async def _unconfirmed(self, link: Link) -> Failure | None:
        """Wait for a replica. Returns why it is not known that one has all writes so far."""
        try:
            if await link.call("WAIT", 1, _REPLICA, patience=_REPLICA / 1000) >= 1:
                return None
        except StateUnavailable:
            return Failure()
        return Failure(StateUnavailable("no replica of Redis has confirmed a write"))

    def _connection(self) -> Link:
        if self._link is None:
            self._link = self._client.reader()
        return self._link
