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

from perimeter.cluster.confirmed import ConfirmedWrites
from perimeter.cluster.names import index_of, list_of, realms_of, records_of
from perimeter.cluster.record_scripts import BY_ID, BY_INDEX, EXCHANGE, KEEP, LISTED
from perimeter.cluster.sealing import Sealing
from perimeter.cluster.text import decode, encode
from perimeter.errors import StateUnavailable
from perimeter.redis.client import RedisClient
from perimeter.redis.connection import Argument
from perimeter.state.changes import Change
from perimeter.state.kinds import Effect, Kinds, Records
from perimeter.state.page import Page
from perimeter.state.writer import LookupKey, finish

_PAGE: Final = 100
"""Records that one answer has at most: it is parsed in one turn of the reactor."""
_AT_ONCE: Final = 50
"""Questions that are asked together."""
_ATTEMPTS: Final = 5
"""How often a record is changed that others change meanwhile."""

LONGEST: Final = 3650 * 86400.0
"""Seconds after which Redis drops a record at the latest, except one without an end."""


@attrs.frozen
class _Found:
    """A record as it is in Redis: its digest, the bytes of its value, and the changes in it, of which the first adds it."""

    digest: str
    value: bytes
    changes: Sequence[Change]


class RecordStore:
    """The records of ``kinds``. ``clock`` gives epoch seconds. All methods raise `perimeter.errors.Unavailable`."""

    def __init__(
        self, client: RedisClient, writes: ConfirmedWrites, kinds: Kinds, sealing: Sealing, clock: Callable[[], float]
    ) -> None:
        self._client = client
        self._writes = writes
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
        lists, listed = _lists(kind.name, records, record), records.listed(record)
        created, realm = ("", "") if listed is None else (repr(listed.created), listed.realm)
        ended = "+inf" if ends == inf else repr(ends)
        names: list[str | bytes] = [name, *_indexes(kind.name, keys), *lists, realms_of(kind.name), *parents]
        arguments: list[Argument] = [
            value,
            life,
            ended,
            digest,
            len(parents),
            repr(now),
            len(lists),
            created,
            realm,
            records_of(kind.name),
        ]
        # A replica is not needed: while all are away, users can sign in. Usually it has the record before the answer is sent.
        await self._writes.write(lambda link: link.run(KEEP, names, arguments), needed=False)

    async def find(self, kind: str, key: LookupKey) -> list[Change]:
        """The records with ``key``, as changes that lead to them: those that came from others are behind them."""
        found = [self._open(kind, key, digest, value) async for digest, value in self._values(kind, key)]
        return _in_order(self._kinds.records_of(kind), found)

    async def page(self, kind: str, page: Page) -> list[Change]:
        """The records of a page, and those that came from them, as `find` returns them."""
        records, found = self._kinds.records_of(kind), list[_Found]()
        if page.user:
            realms = [page.realm] if page.realm else [_text(one) for one in await self._client.call("SMEMBERS", realms_of(kind))]
            for realm in realms:
                key = ("owner", realm, page.user)
                found += [self._open(kind, key, digest, value) async for digest, value in self._values(kind, key)]
            shown = [(listed, one) for one in found if (listed := records.listed(one.changes[0])) is not None]
            shown = [(listed, one) for listed, one in shown if page.passing or not listed.passing]
            shown.sort(key=lambda pair: pair[0].created, reverse=page.latest)
            found = [one for _, one in shown][page.first : page.first + page.most]
        else:
            found = await self._listed(kind, records, page)
        children = await finish(*[self._family(kind, records, one) for one in found])
        return [change for one, more in zip(found, children, strict=True) for change in (*one.changes, *more)]

    def _family(self, kind: str, records: Records[Any], found: _Found) -> Deferred[list[Change]]:
        return Deferred.fromCoroutine(self.find(kind, ("parent", *records.keys(found.changes[0])[1][1:])))

    async def _listed(self, kind: str, records: Records[Any], page: Page) -> list[_Found]:
        """The records of a page of all users."""
        merged = list[tuple[float, _Found]]()
        for passing in (False, True) if page.passing else (False,):
            name, at = list_of(kind, page.realm, passing=passing), 0
            wanted = page.first + page.most if page.passing else page.most
            start = 0 if page.passing else page.first
            taken = list[tuple[float, _Found]]()
            while len(taken) < wanted:
                count = min(_PAGE, wanted - len(taken))
                flat = await self._client.run(LISTED, [name], [records_of(kind), start + at, count, int(page.latest)])
                for digest, value in _pairs(flat):
                    one = self._open(kind, ("digest", digest), digest, value)
                    listed = records.listed(one.changes[0])
                    taken += [] if listed is None else [(listed.created, one)]
                at = len(taken)
                if len(flat) < 2 * count:
                    break
            merged += taken
        merged.sort(key=lambda pair: pair[0], reverse=page.latest)
        return [one for _, one in (merged[page.first : page.first + page.most] if page.passing else merged)]

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
            keys = [name, *_indexes(kind, records.keys(record)), *_lists(kind, records, record)]
            if await self._client.run(EXCHANGE, keys, [value, new, digest]):
                return
            value = await self._client.call("GET", name)
        raise StateUnavailable("a record in Redis changes all the time")

    async def _values(self, kind: str, key: LookupKey) -> AsyncIterator[tuple[str, bytes]]:
        """Digest and value of each record that the index has for ``key``."""
        start, index = records_of(kind), index_of(kind, key)
        if key[0] == "digest":
            pairs = [key[1].encode("ascii"), await self._client.call("GET", start + key[1])]
        elif key[0] == "id":
            pairs = await self._client.run(BY_ID, [index], [start])
        else:
            skip, now = 0, repr(self._clock())
            while True:
                pairs = await self._client.run(BY_INDEX, [index], [start, now, skip, _PAGE])
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


def _lists(kind: str, records: Records[Any], record: Change) -> list[str]:
    listed = records.listed(record)
    return [] if listed is None else [list_of(kind, realm, passing=listed.passing) for realm in ("", listed.realm)]


def _in_order(records: Records[Any], found: Sequence[_Found]) -> list[Change]:
    """The changes of ``found``; what came from another record is behind all that did not."""
    ordered = sorted(found, key=lambda one: any(key[0] == "parent" for key in records.keys(one.changes[0])))
    return [change for one in ordered for change in one.changes]


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogatepass")


def _indexes(kind: str, keys: Sequence[LookupKey]) -> list[str]:
    return [index_of(kind, key) for key in keys[1:]]


def _pairs(flat: Sequence[bytes | None]) -> list[tuple[str, bytes]]:
    """Digest and value of each record that there is, of ``flat`` with both in turn."""
    pairs = zip(flat[::2], flat[1::2], strict=False)
    return [(digest.decode("ascii", "replace"), value) for digest, value in pairs if digest is not None and value is not None]


async def _together(work: Iterable[Any]) -> None:
    await finish(*[Deferred.fromCoroutine(one) for one in work])
