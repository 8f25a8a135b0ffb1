"""The common log: a stream in Redis (`XADD`, `XREAD`), with entries of several changes.

An entry has one field, the changes with their MAC. The id that Redis gives to an entry is its place in the log.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import attrs

from perimeter.cluster.names import LOG, ORIGIN
from perimeter.cluster.sealing import Sealing, unreadable
from perimeter.cluster.text import decode, encode
from perimeter.redis.client import RedisClient
from perimeter.redis.connection import Argument
from perimeter.redis.script import Script
from perimeter.state.changes import Change
from perimeter.state.kinds import Kinds

BEGINNING: Final = "0-0"
"""The place before the first entry."""

MOST_ENTRIES: Final = 1_000_000
"""Entries that the log has, about, at most. A new base is made long before that, so that it always reaches back to one."""

_FIELD: Final = "e"

# KEYS: the log. Replies with the id of the last entry, also of one that was deleted.
_LAST: Final = Script("""
if redis.call('EXISTS', KEYS[1]) == 0 then return '0-0' end
local about = redis.call('XINFO', 'STREAM', KEYS[1])
for i = 1, #about, 2 do
    if about[i] == 'last-generated-id' then return about[i + 1] end
end
""")
# KEYS: the log, the name of the contents. ARGV: a place. Replies with the name of the contents, the ids of the last entry and of
# the last deleted one, the number of entries that were ever added, and whether there is an entry at the place.
_SURVEY: Final = Script("""
local origin, last, deleted, added = redis.call('GET', KEYS[2]), '0-0', '0-0', 0
if redis.call('EXISTS', KEYS[1]) == 0 then return {origin, last, deleted, added, 0} end
local about = redis.call('XINFO', 'STREAM', KEYS[1])
for i = 1, #about, 2 do
    if about[i] == 'last-generated-id' then last = about[i + 1] end
    if about[i] == 'max-deleted-entry-id' then deleted = about[i + 1] end
    if about[i] == 'entries-added' then added = about[i + 1] end
end
return {origin, last, deleted, added, #redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1])}
""")


def place(id: str) -> tuple[int, int]:
    """The id of an entry as a value that can be compared. Raises ValueError."""
    milliseconds, _, number = id.partition("-")
    return int(milliseconds), int(number)


@attrs.frozen
class Entry:
    """An entry of the log. ``name`` was given to it by the machine that has added it."""

    id: str
    name: str
    changes: Sequence[Change]


@attrs.frozen
class Survey:
    """What there is in Redis: the name of the contents ("" if there are none), the ids of the last entry and of the last one that
    was deleted, and how many entries were ever added. ``known``: the entry at the place that was asked for is in the log."""

    origin: str
    last: str
    deleted: str
    added: int
    known: bool

    def follows(self, cursor: str) -> bool:
        """Whether a reader that has read up to ``cursor``, the place that was asked for, can go on there."""
        return self.known or (cursor == BEGINNING and self.deleted == BEGINNING)


class CommonLog:
    """The log, as changes of ``kinds``. All methods raise `perimeter.errors.StateUnavailable`."""

    def __init__(self, client: RedisClient, kinds: Kinds, sealing: Sealing) -> None:
        self._client = client
        self._kinds = kinds
        self._sealing = sealing

    async def append(self, name: str, changes: Iterable[Change]) -> str:
        """Add one entry with this ``name``. Returns its id."""
        value = self._sealing.seal(LOG, encode(self._kinds, changes, name))
        return _text(await self._client.call("XADD", LOG, "MAXLEN", "~", MOST_ENTRIES, "*", _FIELD, value))

    async def last(self) -> str:
        """The id of the last entry; `BEGINNING` if there has never been one."""
        return _text(await self._client.run(_LAST, [LOG], []))

    async def survey(self, cursor: str) -> Survey:
        """What there is, at this moment."""
        origin, last, deleted, added, known = await self._client.run(_SURVEY, [LOG, ORIGIN], [cursor])
        return Survey("" if origin is None else _text(origin), _text(last), _text(deleted), int(added), known == 1)

    async def trim(self, first: str) -> None:
        """Delete the entries before the one with the id ``first``."""
        await self._client.call("XTRIM", LOG, "MINID", "~", first)

    def entries(self, reply: Any) -> list[Entry]:
        """The entries in the reply to `reading`; none if there was nothing to read in time."""
        found: list[Entry] = []
        for stream in () if reply is None else dict(reply).values():
            for id, fields in stream:
                if len(fields) != 2:
                    raise unreadable("an entry of the log has other fields")
                (name,), changes = decode(self._kinds, self._sealing.open(LOG, fields[1]), 1)
                found.append(Entry(_text(id), name, changes))
        return found


def reading(cursor: str, count: int, milliseconds: int) -> tuple[Argument, ...]:
    """The command that reads up to ``count`` entries after ``cursor``, and waits if there are none."""
    return ("XREAD", "COUNT", count, "BLOCK", milliseconds, "STREAMS", LOG, cursor)


def _text(value: bytes) -> str:
    return value.decode("ascii", "replace")
