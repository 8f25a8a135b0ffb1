"""What a machine begins with that has nothing, or has missed a part of the log: everything but records, up to a place in the log.

A machine writes a new base after `EVERY` entries of the log, from its own store. Then the entries before the base before that are
deleted, so that the log always reaches back to a base.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Final

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from perimeter.cluster.followed import Heard, of_this_machine
from perimeter.cluster.log import BEGINNING, CommonLog
from perimeter.cluster.names import BASE, BASE_LEASE, ORIGIN, base_of
from perimeter.cluster.sealing import Sealing, unreadable
from perimeter.cluster.text import decode, encode
from perimeter.errors import StateUnavailable
from perimeter.redis.client import RedisClient
from perimeter.redis.script import Script
from perimeter.state.changes import Change, Held
from perimeter.state.kinds import Kinds

_log = Logger()

EVERY: Final = 100_000
"""Entries of the log between two bases."""
_SLICE: Final = 500
"""Changes in one value: it is read or written in one turn of the reactor."""
_LEASE: Final = 60_000
"""Milliseconds for which one machine alone writes a base."""
_UNFINISHED: Final = 3600
"""Seconds after which a base goes that was not completed."""
_OLD: Final = 600
"""Seconds for which a base is still there after the next one: machines may be reading it."""

# KEYS: the description of the base, the list of its changes, that of the base before (or the same). ARGV: the description,
# seconds for which the base before stays.
_PUT: Final = Script("""
redis.call('SET', KEYS[1], ARGV[1])
redis.call('PERSIST', KEYS[2])
if KEYS[3] ~= KEYS[2] then redis.call('EXPIRE', KEYS[3], ARGV[2]) end
return 1
""")
# KEYS: the lease. ARGV: its owner.
_RELEASE: Final = Script("if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end return 1")


@attrs.frozen
class Base:
    """The name of its list, the place in the log, how many slices it has, and how many entries the log had had."""

    name: str
    cursor: str
    slices: int
    added: int


class Bases:
    """Reads and writes bases. ``contents`` reads the whole store of this machine. All methods raise `StateUnavailable`."""

    def __init__(
        self, client: RedisClient, log: CommonLog, kinds: Kinds, sealing: Sealing, contents: Callable[[], Deferred[Held]]
    ) -> None:
        self._client = client
        self._log = log
        self._kinds = kinds
        self._sealing = sealing
        self._contents = contents
        #: how many entries the log had had when the present base was made, as far as this process knows
        self._added = 0

    async def load(self) -> tuple[list[Change], str]:
        """The changes of the base, and the place in the log after which to go on."""
        base, changes = await self._present(), list[Change]()
        cursor = BEGINNING if base is None else base.cursor
        if base is not None:
            name = base_of(base.name)
            for number in range(base.slices):
                values = await self._client.call("LRANGE", name, number, number)
                if not values:
                    raise StateUnavailable("the base of the common log was replaced meanwhile")
                (place,), some = decode(self._kinds, self._sealing.open(name, values[0]), 1)
                if place != str(number):
                    raise unreadable("the base of the common log is not complete")
                changes += some
        if not (await self._log.survey(cursor)).follows(cursor):
            raise StateUnavailable("the common log does not reach back to its base")
        return changes, cursor

    async def begin(self, origin: str) -> None:
        """Give contents to an empty Redis: those of this machine, under the name ``origin``."""
        async with _Lease(self._client):
            if await self._client.call("GET", ORIGIN) is None:
                await self._make(0, BEGINNING)
                await self._client.call("SET", ORIGIN, origin, "NX")

    async def renew(self, added: int) -> None:
        """Make a new base if the log, which has had ``added`` entries, has grown by `EVERY`."""
        if added - self._added < EVERY:
            return
        present = await self._present()
        self._added = 0 if present is None else min(present.added, added)
        if added - self._added < EVERY:
            return
        try:
            async with _Lease(self._client):
                await self._make(added)
        except _Taken:
            return  # another machine does it
        if present is not None:
            await self._log.trim(present.cursor)

    async def _present(self) -> Base | None:
        value = await self._client.call("GET", BASE)
        if value is None:
            return None
        (name, cursor, slices, added), _ = decode(self._kinds, self._sealing.open(BASE, value), 4)
        return Base(name, cursor, int(slices), int(added))

    async def _make(self, added: int, cursor: str = "") -> None:
        """Write what this machine has; ``cursor`` is its place in the log, if that is another one than the machine has heard."""
        held = await self._contents()
        before = await self._present()
        every = [change for changes in held.values() for change in changes]
        heard = next((one.cursor for one in every if isinstance(one, Heard)), BEGINNING)
        own = set(map(id, of_this_machine(every)))
        made = secrets.token_hex(8)
        name, slices = base_of(made), 0
        for slices, some in enumerate(_slices([one for one in every if id(one) not in own]), 1):
            value = self._sealing.seal(name, encode(self._kinds, some, str(slices - 1)))
            await self._client.call("RPUSH", name, value)
            await self._client.call("EXPIRE", name, _UNFINISHED)
        description = encode(self._kinds, (), made, cursor or heard, str(slices), str(added))
        old = name if before is None else base_of(before.name)
        await self._client.run(_PUT, [BASE, name, old], [self._sealing.seal(BASE, description), _OLD])
        self._added = added
        _log.info("wrote a new base of the common log: {changes} changes", changes=len(every) - len(own))


class _Taken(StateUnavailable):
    """Another machine has the lease."""


class _Lease:
    """Only one machine writes a base at a time, for efficiency: two would do no harm."""

    def __init__(self, client: RedisClient) -> None:
        self._client = client
        self._owner = secrets.token_hex(8)

    async def __aenter__(self) -> None:
        if await self._client.call("SET", BASE_LEASE, self._owner, "NX", "PX", _LEASE) is None:
            raise _Taken("another machine writes a base of the common log")

    async def __aexit__(self, *_: object) -> None:
        await self._client.run(_RELEASE, [BASE_LEASE], [self._owner])


def _slices(changes: Sequence[Change]) -> Iterator[Sequence[Change]]:
    rest = iter(changes)
    while some := list(islice(rest, _SLICE)):
        yield some
