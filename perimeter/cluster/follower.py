"""Follows the common log for this machine: one worker reads it, and writes what it has heard into the store of the machine.

What the machine has removed while Redis was away, or what a primary that failed has lost, is added to the log again, until it was
heard there and `SAFE` seconds have passed.
"""

from __future__ import annotations

import random
import secrets
from collections.abc import Sequence
from math import inf
from typing import Any, Final, Protocol

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import deferLater
from twisted.logger import Logger

from perimeter.cluster.base import Bases
from perimeter.cluster.followed import Followed, Heard, Overtaken, Owed, Settled
from perimeter.cluster.log import BEGINNING, CommonLog, Survey, reading
from perimeter.cluster.published import Publisher
from perimeter.errors import StartupError, StateUnavailable, Unavailable
from perimeter.redis.client import RedisClient
from perimeter.redis.link import Link
from perimeter.state.changes import Change
from perimeter.state.freshness import Always

_log = Logger()
_chance = random.SystemRandom()

_BLOCK: Final = 2000
"""Milliseconds that a read waits for an entry."""
_COUNT: Final = 200
"""Entries that are read at once, at most: fewer after a read that has failed, since a reply may be too long to be taken."""
HEARTBEAT: Final = 5.0
"""A machine that has heard nothing for so many seconds, and up to `_JITTER` of them more, adds an empty entry to the log."""
_JITTER: Final = 0.3
_BEATS: Final = 4
"""Empty entries at least in the time after which a machine that hears nothing is stale."""
SAFE: Final = 60.0
"""Seconds after which a removal that was heard in the log is on the replicas, too."""
_AGAIN: Final = 3.0
"""Seconds after which a removal that was not heard is added to the log again."""
_AT_ONCE: Final = 100
"""Removals that are added again, or settled, at a time."""
NEW: Final = 1.5
"""Seconds that a machine without history waits before it takes an empty Redis for a new one."""
_HANDED_OVER: Final = 0.05
"""Seconds before this worker looks again whether it has to follow, while another one still does."""
_NO_CONNECTION: Final = 0.05
"""Seconds between two looks whether there is a connection again."""
_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 0.3
"""Seconds between attempts to follow, at first and at most, and up to half of that more."""


class Machine(Protocol):
    """What the follower changes (`perimeter.cluster.state.ClusterState`)."""

    followed: Followed
    freshness: Always

    def take(self, changes: Sequence[Change]) -> Deferred[None]:
        """Write ``changes`` of the log in one transaction, and put them in force. Fails with `Unavailable`."""

    def exchange(self, changes: Sequence[Change], heard: Heard) -> Deferred[None]:
        """Put ``changes`` in place of all that is kept (`LocalStore.replace`). Fails with `Unavailable`."""

    def follow(self) -> Deferred[None]:
        """Read what other workers of this machine have written. Never fails."""

    def heard_all(self) -> None:
        """All that the log had a moment ago is in force here."""


class Follower:
    """Follows from `start` until the Deferred of `stop` has fired. ``client`` gives a connection of its own for reading."""

    def __init__(
        self, client: RedisClient, log: CommonLog, bases: Bases, publisher: Publisher, machine: Machine, reactor: Any
    ) -> None:
        self._client = client
        self._common = log
        self._bases = bases
        self._publisher = publisher
        self._machine = machine
        self._reactor = reactor
        self._work: Deferred[None] | None = None
        self._stopping = False
        #: callers of `stop` that wait
        self._waiting: list[Deferred[None]] = []
        self._reader: Link | None = None
        #: by name of what is owed: when it was heard in the log of the present primary (reactor's seconds)
        self._confirmed: dict[str, float] = {}
        #: by name: when it was added to the log last
        self._sent: dict[str, float] = {}
        self._run = ""
        #: when that run was seen first: what was added to the log before may be lost (epoch seconds)
        self._since = 0.0
        #: when an entry was heard or added last (reactor's seconds), and how much of `HEARTBEAT` is waited more this time
        self._latest, self._jitter = 0.0, 0.0
        self._count = _COUNT
        self._surveyed = -inf
        self.problem = ""

    @property
    def running(self) -> bool:
        """Whether this process follows the log."""
        return self._work is not None

    def start(self) -> None:
        """Follow from now on."""
        self._run = ""
        self._stopping = False
        self._work = Deferred.fromCoroutine(self._follow())
        self._work.addBoth(self._ended)

    def _ended(self, _: object) -> None:
        self._work = None
        self.problem = ""
        self._close()
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            one.callback(None)

    def stop(self) -> Deferred[None]:
        """Follow no more. Fires when nothing is under way; never fails."""
        if self._work is None:
            return succeed(None)
        self._stopping = True
        done: Deferred[None] = Deferred()
        self._waiting.append(done)
        self._work.cancel()
        return done

    async def _follow(self) -> None:
        pause = _PAUSE
        while not self._stopping:
            try:
                await self._catch_up()
                pause = _PAUSE
                while not self._stopping:
                    await self._read()
            except Overtaken:
                await deferLater(self._reactor, _HANDED_OVER)
                continue
            except (Unavailable, StartupError) as error:
                if self.problem != str(error):
                    self.problem = str(error)
                    _log.error("the changes of other machines are not seen: {error}", error=self.problem)
            except CancelledError:
                return
            except Exception:
                self.problem = "an error, which is in the log"
                _log.failure("the common log cannot be followed")
            self._close()
            self._count = max(1, self._count // 8)
            await deferLater(self._reactor, pause * _chance.uniform(1.0, 1.5))
            pause = min(pause * 2, _LONGEST_PAUSE)
            while self._client.problem and not self._stopping:
                await deferLater(self._reactor, _NO_CONNECTION)

    def _close(self) -> None:
        if self._reader is not None:
            self._reader.stop()
            self._reader = None

    # -- the place in the log

    async def _catch_up(self) -> None:
        """Begin to read: where this machine has stopped, or with everything."""
        self._close()
        await self._machine.follow()
        await self._check()
        self._reader = self._client.reader()
        await self._publisher.publish(self._name(), ())  # so that it is known at once that the end of the log was read

    async def _check(self) -> None:
        """Find out whether the log goes on where this machine is. Puts everything in force again if not."""
        heard = self._machine.followed.heard
        survey = await self._common.survey(heard.cursor)
        run = self._client.run_id
        self._surveyed = self._reactor.seconds()
        if run != self._run:
            self._run = run
            self._since = self._reactor.seconds()
            self._confirmed.clear()
            self._sent.clear()
        if not survey.origin:
            survey = await self._first(heard)
            heard = self._machine.followed.heard
        if heard.origin and heard.origin != survey.origin:
            raise StateUnavailable(
                "Redis has the contents of other machines; to join them, remove cluster.db while the gateway is stopped"
            )
        if heard.origin and survey.follows(heard.cursor):
            await self._bases.renew(survey.added)
            return
        if heard.origin or survey.last != BEGINNING:
            _log.info("reading everything from Redis: the log does not go on where this machine was")
        changes, cursor = await self._bases.load()
        await self._machine.exchange(changes, Heard(survey.origin, cursor))
        self._confirmed.clear()

    async def _first(self, heard: Heard) -> Survey:
        """There is nothing in Redis, or no more: put what this machine has there.

        A machine that has nothing waits first: if Redis has lost its contents, another machine may have them.
        """
        if heard.origin:
            _log.warn("Redis has lost its contents: this machine writes what it has")
        else:
            await deferLater(self._reactor, NEW)
        await self._bases.begin(heard.origin or secrets.token_hex(8))
        return await self._common.survey(heard.cursor)

    # -- reading

    async def _read(self) -> None:
        """Read what is new, or wait for it, and do what is due."""
        assert self._reader is not None
        heard = self._machine.followed.heard
        beat = min(HEARTBEAT, self._machine.freshness.limit / _BEATS)
        block = min(_BLOCK, int(beat * 1000))
        count = self._count
        reply = await self._reader.call(*reading(heard.cursor, count, block), patience=block / 1000)
        entries = self._common.entries(reply)
        self._count = min(_COUNT, 2 * count)
        now = self._reactor.seconds()
        if entries:
            owed = self._machine.followed.owed
            changes = [change for entry in entries for change in entry.changes]
            await self._machine.take([*changes, Heard(heard.origin, entries[-1].id, heard.cursor)])
            self._confirmed.update({entry.name: now for entry in entries if entry.name in owed})
            self._latest, self._jitter = now, _chance.uniform(0.0, _JITTER)
            if len(entries) < count:
                self._machine.heard_all()
                if self.problem:
                    self.problem = ""
                    _log.info("the changes of other machines are seen again")
        elif now - self._latest >= beat * (1 + self._jitter):
            self._latest, self._jitter = now, 0.0
            await self._publisher.publish(self._name(), ())
        if now - self._surveyed >= HEARTBEAT or self._client.run_id != self._run:
            await self._check()
        await self._settle(now)

    @staticmethod
    def _name() -> str:
        return secrets.token_hex(8)

    # -- what is owed

    async def _settle(self, now: float) -> None:
        """Add what was not heard to the log again, and forget what is safe."""
        owed = self._machine.followed.owed
        if not owed:
            return
        late = [one for one in owed.values() if one.name not in self._confirmed and self._due(one, now)]
        for one in late[:_AT_ONCE]:
            self._sent[one.name] = now
            await self._publisher.publish_owed(one)
        safe = [name for name, at in self._confirmed.items() if now - at >= SAFE][:_AT_ONCE]
        if safe:
            for name in safe:
                if name in owed:  # once more: a record that was on its way to Redis at that moment is there by now
                    await self._publisher.affect_owed(owed[name])
            await self._machine.take([Settled(tuple(safe))])
            for name in safe:
                self._confirmed.pop(name, None)
                self._sent.pop(name, None)

    def _due(self, owed: Owed, now: float) -> bool:
        sent = self._sent.get(owed.name)
        if sent is not None:
            return now - sent >= _AGAIN
        return owed.at <= self._since or not 0 <= now - owed.at < _AGAIN
