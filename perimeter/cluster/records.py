"""Records in Redis: API tokens and sessions, each under one key, with indexes by everything else that they are looked up by.

The value of a record has the change that adds it and what is kept beside it, and ends with the record. It is never renamed, and a
script writes it and its entries in the indexes together. An index has digests of records in the order of their ends; what it says
is not trusted: the record itself has to have the key that was asked for.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from math import inf
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred

from perimeter.cluster.names import index_of, records_of
from perimeter.cluster.sealing import Sealing
from perimeter.cluster.text import decode, encode
from perimeter.errors import StateUnavailable
from perimeter.redis.client import RedisClient
from perimeter.redis.script import Script
from perimeter.state.changes import Change
from perimeter.state.kinds import Effect, Kinds, Records
from perimeter.state.writer import LookupKey, finish

_PAGE: Final = 200
"""Records that one answer has at most: it is parsed in one turn of the reactor."""
_AT_ONCE: Final = 50
"""Questions that are asked together."""
_ATTEMPTS: Final = 5
"""How often a record is changed that others change meanwhile."""

LONGEST: Final = 3650 * 86400.0
"""Seconds after which Redis drops a record at the latest, except one without an end."""

# KEYS: the record, its index by id, further indexes, then the ids of parents. ARGV: the value, milliseconds until it ends (0:
# never), the end (epoch seconds), the digest, the number of parents, the time. A record whose parent has ended is not written.
_KEEP: Final = Script("""
local life, parents = tonumber(ARGV[2]), tonumber(ARGV[5])
if redis.call('EXISTS', KEYS[1]) == 1 or redis.call('EXISTS', KEYS[2]) == 1 then return 0 end
for i = #KEYS - parents + 1, #KEYS do
    if redis.call('EXISTS', KEYS[i]) == 0 then return 0 end
end
if life > 0 then
    redis.call('SET', KEYS[1], ARGV[1], 'PX', life)
    redis.call('SET', KEYS[2], ARGV[4], 'PX', life)
else
    redis.call('SET', KEYS[1], ARGV[1])
    redis.call('SET', KEYS[2], ARGV[4])
end
for i = 3, #KEYS - parents do
    local new = redis.call('EXISTS', KEYS[i]) == 0
    redis.call('ZREMRANGEBYSCORE', KEYS[i], '-inf', ARGV[6])
    redis.call('ZADD', KEYS[i], ARGV[3], ARGV[4])
    if life == 0 then redis.call('PERSIST', KEYS[i])
    elseif new then redis.call('PEXPIRE', KEYS[i], life)
    else redis.call('PEXPIRE', KEYS[i], life, 'GT') end
end
return 1
""")
# KEYS: the index by id. ARGV: the beginning of the keys of records.
_BY_ID: Final = Script("""
local digest = redis.call('GET', KEYS[1])
if not digest then return {} end
return {digest, redis.call('GET', ARGV[1] .. digest)}
""")
# KEYS: the index. ARGV: the beginning of the keys of records, the time, how many to skip, how many to return.
_BY_INDEX: Final = Script("""
local found = {}
for _, digest in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. ARGV[2], '+inf', 'LIMIT', ARGV[3], ARGV[4])) do
    found[#found + 1] = digest
    found[#found + 1] = redis.call('GET', ARGV[1] .. digest)
end
return found
""")
# KEYS: the record, its index by id, further indexes. ARGV: the value as it was read, the new one ('' to delete it), the digest.
_EXCHANGE: Final = Script("""
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[2] ~= '' then
    redis.call('SET', KEYS[1], ARGV[2], 'KEEPTTL')
    return 1
end
redis.call('DEL', KEYS[1], KEYS[2])
for i = 3, #KEYS do redis.call('ZREM', KEYS[i], ARGV[3]) end
return 1
""")


@attrs.frozen
class _Found:
    """A record as it is in Redis: its digest, the bytes of its value, and the changes in it, of which the first adds it."""

    digest: str
    value: bytes
    changes: Sequence[Change]


class RecordStore:
    """The records of ``kinds``. ``clock`` gives epoch seconds. All methods raise `perimeter.errors.Unavailable`."""

    def __init__(self, client: RedisClient, kinds: Kinds, sealing: Sealing, clock: Callable[[], float]) -> None:
        self._client = client
        self._kinds = kinds
        self._sealing = sealing
        self._clock = clock

    async def keep(self, record: Change, *beside: Change) -> None:
        """Store ``record``, and what is kept ``beside`` it. Does nothing if it exists, has ended, or its parent has ended."""
        kind = self._kinds.of(record)
        records = self._kinds.records_of(kind.name)
        keys, ends, now = records.keys(record), records.ends(record), self._clock()
        if ends <= now:
            return
        digest, name = keys[0][1], records_of(kind.name) + keys[0][1]
        life = 0 if ends == inf else max(1, int(min(ends - now, LONGEST) * 1000))
        parents = [index_of(kind.name, ("id", *key[1:])) for key in keys if key[0] == "parent"]
        value = self._sealing.seal(name, encode(self._kinds, (record, *beside)))
        await self._client.run(
            _KEEP,
            [name, *_indexes(kind.name, keys), *parents],
            [value, life, "+inf" if ends == inf else repr(ends), digest, len(parents), repr(now)],
        )

    async def find(self, kind: str, key: LookupKey) -> list[Change]:
        """The records with ``key``, as changes that lead to them."""
        changes: list[Change] = []
        async for digest, value in self._values(kind, key):
            changes += self._open(kind, key, digest, value).changes
        return changes

    async def affect(self, change: Change) -> None:
        """Carry out what ``change`` does to records. To do so again has no effect."""
        kind = self._kinds.of(change)
        effect = None if kind.records is None else kind.records.effect(change)
        if kind.records is None or effect is None:
            return
        for at in range(0, len(effect.keys), _AT_ONCE):
            some = effect.keys[at : at + _AT_ONCE]
            await _together(self._affect(kind.name, kind.records, effect, key) for key in some)

    async def _affect(self, kind: str, records: Records[Any], effect: Effect[Any], key: LookupKey) -> None:
        # All of them first: what is deleted moves the following ones in the index.
        found = [one async for one in self._values(kind, key)]
        for at in range(0, len(found), _AT_ONCE):
            some = found[at : at + _AT_ONCE]
            await _together(self._change(kind, records, effect, key, digest, value) for digest, value in some)

    async def _change(
        self, kind: str, records: Records[Any], effect: Effect[Any], key: LookupKey, digest: str, value: bytes | None
    ) -> None:
        name = records_of(kind) + digest
        for _ in range(_ATTEMPTS):
            if value is None:
                return
            try:
                found = self._open(kind, key, digest, value)
            except StateUnavailable:
                return  # logged; no machine accepts it, either
            record, *beside = found.changes
            after = effect.applied(record)
            noted = beside if after is None or effect.note is None else [effect.note(after, beside[0] if beside else None)]
            new = b"" if after is None else self._sealing.seal(name, encode(self._kinds, (after, *noted)))
            if new == value:
                return
            keys = [name, *_indexes(kind, records.keys(record))]
            if await self._client.run(_EXCHANGE, keys, [value, new, digest]):
                return
            value = await self._client.call("GET", name)
        raise StateUnavailable("a record in Redis changes all the time")

    async def _values(self, kind: str, key: LookupKey) -> AsyncIterator[tuple[str, bytes]]:
        """Digest and value of each record that the index has for ``key``."""
        start, index = records_of(kind), index_of(kind, key)
        if key[0] == "digest":
            pairs = [key[1].encode("ascii"), await self._client.call("GET", start + key[1])]
        elif key[0] == "id":
            pairs = await self._client.run(_BY_ID, [index], [start])
        else:
            skip, now = 0, repr(self._clock())
            while True:
                pairs = await self._client.run(_BY_INDEX, [index], [start, now, skip, _PAGE])
                for pair in _pairs(pairs):
                    yield pair
                if len(pairs) < 2 * _PAGE:
                    return
                skip += _PAGE
        for pair in _pairs(pairs):
            yield pair

    def _open(self, kind: str, key: LookupKey, digest: str, value: bytes) -> _Found:
        """The record of a value. Raises `StateUnavailable` if it is not a record with ``key``."""
        name, records = records_of(kind) + digest, self._kinds.records_of(kind)
        _, changes = decode(self._kinds, self._sealing.open(name, value))
        if not changes or not isinstance(changes[0], records.change):
            raise StateUnavailable("a value in Redis is no record")
        keys = records.keys(changes[0])
        if tuple(key) not in map(tuple, keys) or keys[0][1] != digest:
            raise StateUnavailable("an index in Redis leads to another record")
        return _Found(digest, value, changes)


def _indexes(kind: str, keys: Sequence[LookupKey]) -> list[str]:
    return [index_of(kind, key) for key in keys[1:]]


def _pairs(flat: Sequence[bytes | None]) -> list[tuple[str, bytes]]:
    """Digest and value of each record that there is, of ``flat`` with both in turn."""
    pairs = zip(flat[::2], flat[1::2], strict=False)
    return [(digest.decode("ascii", "replace"), value) for digest, value in pairs if digest is not None and value is not None]


async def _together(work: Iterable[Any]) -> None:
    await finish(*[Deferred.fromCoroutine(one) for one in work])
