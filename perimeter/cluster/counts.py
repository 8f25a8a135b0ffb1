"""Counts of failures that all nodes add to, such as wrong passwords: they do not begin anew at another node.

A count is a hash of the engine that ends after a while without a failure. Its time is the engine's, so clocks of nodes do not
matter: a node gets ages. A count that is dropped leaves a mark, so that the other nodes drop their copies when they ask next. Its
name is a keyed digest: the engine shows no names of users and no addresses.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from typing import Any, Final

import attrs

from perimeter.cluster.names import PREFIX
from perimeter.cluster.scripts import RunsScripts
from perimeter.errors import StateUnavailable
from perimeter.redis.script import Script

_MOST: Final = 1_000_000
"""Failures and seconds that a reply can name; more is a fault of the engine."""

MOST_BEGUN: Final = 20_000
"""Counts that are begun in a minute on all nodes together. The nodes keep further ones for themselves: a flood of made-up names
does not fill the engine."""

_BEGUN: Final = f"{PREFIX}attempts-begun"

# Milliseconds of the engine; each count is failures, last, dropped.
_NOW: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
"""

# A failure. KEYS: the count, how many counts were begun in this minute and, if a guess counts once, its mark. ARGV: the limit
# below which the count goes down, how much in a second, the milliseconds that it is kept, and the most that begin in a minute.
_ADD: Final = Script(
    _NOW
    + """
local function number(text) return tonumber(text or '0') end
local found = redis.call('HMGET', KEYS[1], 'failures', 'last', 'dropped')
local failures, last, dropped = number(found[1]), number(found[2]), number(found[3])
if failures == 0 and dropped == 0 then
  local begun = redis.call('INCR', KEYS[2])
  if begun == 1 then
    redis.call('PEXPIRE', KEYS[2], 60000)
  end
  if begun > tonumber(ARGV[4]) then
    return {1, 0, -1}
  end
end
if not KEYS[3] or redis.call('SET', KEYS[3], '1', 'NX', 'PX', ARGV[3]) then
  if failures < tonumber(ARGV[1]) then
    failures = math.max(0, failures - math.floor((now - last) / 1000 * tonumber(ARGV[2])))
  end
  failures, last = failures + 1, now
  redis.call('HSET', KEYS[1], 'failures', failures, 'last', string.format('%.0f', now))
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
end
return {failures, now - last, dropped > 0 and now - dropped or -1}
"""
)

_FIND: Final = Script(
    _NOW
    + """
local replies = {}
for place, key in ipairs(KEYS) do
  local found = redis.call('HMGET', key, 'failures', 'last', 'dropped')
  local dropped = tonumber(found[3] or '0')
  replies[place] = {tonumber(found[1] or '0'), now - tonumber(found[2] or now), dropped > 0 and now - dropped or -1}
end
return replies
"""
)

_DROP: Final = Script(
    _NOW
    + """
for _, key in ipairs(KEYS) do
  redis.call('DEL', key)
  redis.call('HSET', key, 'dropped', string.format('%.0f', now))
  redis.call('PEXPIRE', key, ARGV[1])
end
return #KEYS
"""
)


@attrs.frozen
class Count:
    """``failures`` so far, the last one ``age`` seconds ago; ``dropped`` seconds ago a node has dropped the count, or None."""

    failures: int
    age: float
    dropped: float | None


@attrs.frozen
class Decay:
    """How a count below ``limit`` goes down: by ``rate`` failures each second."""

    limit: int
    rate: float


NO_DECAY: Final = Decay(0, 0.0)


class SharedCounts:
    """The counts on the engine of ``redis``. ``key`` is 32 bytes that all nodes have. A count is kept for ``kept`` seconds."""

    def __init__(self, redis: RunsScripts, key: bytes, kept: float) -> None:
        self._redis = redis
        self._key = key
        self._kept = int(kept * 1000)

    async def add(self, name: bytes, decay: Decay = NO_DECAY, once: bytes = b"") -> Count:
        """Count a failure for ``name``, unless one with the same ``once`` was counted for it already (b"": each one counts).

        Returns the count after it. Raises `Unavailable`.
        """
        keys = [self._written("attempts", name), _BEGUN]
        if once:
            keys.append(self._written("guess", len(name).to_bytes(4, "big") + name + once))
        return _read(await self._redis.run(_ADD, keys, [decay.limit, f"{decay.rate:.9f}", self._kept, MOST_BEGUN]))

    async def find(self, names: Sequence[bytes]) -> list[Count]:
        """The counts of ``names``, in their order. Raises `Unavailable`."""
        found = await self._redis.run(_FIND, [self._written("attempts", name) for name in names], [])
        if not isinstance(found, list) or len(found) != len(names):
            raise StateUnavailable("Redis has answered something else than counts")
        return [_read(one) for one in found]

    async def drop(self, names: Sequence[bytes]) -> None:
        """Drop the counts of ``names`` on all nodes. Raises `Unavailable`."""
        await self._redis.run(_DROP, [self._written("attempts", name) for name in names], [self._kept])

    def _written(self, what: str, name: bytes) -> str:
        return f"{PREFIX}{what}:{hmac.digest(self._key, name, hashlib.sha256)[:16].hex()}"


def _read(reply: Any) -> Count:
    match reply:
        case [int(failures), int(age), int(dropped)] if 0 <= failures <= _MOST and age <= _MOST * 1000:
            # an age below 0: the clock of a new primary is behind that of the last one
            return Count(failures, max(0, age) / 1000, None if dropped == -1 else max(0, dropped) / 1000)
    raise StateUnavailable("Redis has answered something else than a count")
