"""Leases: at most one node at a time does a piece of work, such as the rotation of the signing keys.

A lease is a key of the engine with a life. Its holder renews it at each third of that life, so slow work keeps it, and the work
of a node that died can be begun again soon. A lease alone does not keep a process out that was paused, and acts when its lease
is over: so each lease has a fencing number, higher than those of all leases before it, and what the work writes carries it.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure

from perimeter.cluster.names import PREFIX
from perimeter.cluster.scripts import RunsScripts
from perimeter.errors import StateUnavailable, Unavailable
from perimeter.redis.script import Script

LIFE: Final = 10.0
"""Seconds of a lease: if its holder dies, the next one waits at most this long."""

_MARGIN: Final = 0.1
"""Part of the life by which the holder counts it shorter than the engine does."""

_FENCE: Final = f"{PREFIX}fence"

# A failover may lose the last number, and with it the order, so a number is at least the time of the engine in microseconds.
_TAKE: Final = Script("""
if not redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then
  return false
end
local now = redis.call('TIME')
local fence = math.max(tonumber(redis.call('GET', KEYS[2]) or '0') + 1, now[1] * 1000000 + now[2])
fence = string.format('%.0f', fence)
redis.call('SET', KEYS[2], fence)
return fence
""")

_RENEW: Final = Script("""
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
""")

_RELEASE: Final = Script("""
if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('DEL', KEYS[1])
end
return 0
""")


class Clocks:
    """The reactor for waits, and a clock in seconds that no change of the time of day moves."""

    def __init__(self, reactor: IReactorTime, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.reactor = reactor
        self.monotonic = monotonic


class Lease:
    """A lease that was taken. ``fence`` is its number. Use it in a ``with`` block, whose end releases it."""

    def __init__(self, redis: RunsScripts, key: str, owner: str, fence: int, life: float, sent: float, clock: Clocks) -> None:
        self.fence = fence
        self._redis = redis
        self._key = key
        self._owner = owner
        self._life = life
        self._clock = clock
        self._until = self._end(sent)
        self._renewing = LoopingCall(self._renew)
        self._renewing.clock = clock.reactor
        self._renewing.start(life / 3, now=False)

    @property
    def held(self) -> bool:
        """Whether no other node can have the lease yet. False after a pause of this process that was longer than the life."""
        return self._clock.monotonic() < self._until

    def __enter__(self) -> Lease:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def release(self) -> None:
        """Let another node have it at once. If the engine does not answer, it ends by itself."""
        self._until = 0.0
        if self._renewing.running:
            self._renewing.stop()
            self._redis.run(_RELEASE, [self._key], [self._owner]).addErrback(_ends_by_itself)

    def _end(self, sent: float) -> float:
        return sent + self._life * (1 - _MARGIN)

    def _renew(self) -> Deferred[None]:
        sent = self._clock.monotonic()

        def renewed(count: Any) -> None:
            if not self._renewing.running:
                return
            if count == 1:
                self._until = self._end(sent)
            else:  # it has ended, or a failover has lost it: another node may have it
                self._until = 0.0
                self._renewing.stop()

        return self._redis.run(_RENEW, [self._key], [self._owner, _milliseconds(self._life)]).addCallbacks(
            renewed, _ends_by_itself
        )


class Leases:
    """Takes leases on the engine of ``redis``, for all that one node does."""

    def __init__(self, redis: RunsScripts, clock: Clocks) -> None:
        self._redis = redis
        self._clock = clock

    async def take(self, name: str, life: float = LIFE) -> Lease | None:
        """The lease ``name`` for ``life`` seconds at a time; None if it is taken. Raises `Unavailable`."""
        owner, sent = secrets.token_hex(16), self._clock.monotonic()
        key = f"{PREFIX}lease:{name}"
        found = await self._redis.run(_TAKE, [key, _FENCE], [owner, _milliseconds(life)])
        if found is None:
            return None
        try:
            fence = int(found)
        except (TypeError, ValueError):
            raise StateUnavailable("Redis has answered a lease with something else than a number") from None
        return Lease(self._redis, key, owner, fence, life, sent, self._clock)


def _milliseconds(seconds: float) -> int:
    return int(seconds * 1000)


def _ends_by_itself(failure: Failure) -> None:
    """Ignore that the engine does not answer: a lease that is not renewed ends."""
    failure.trap(Unavailable)
