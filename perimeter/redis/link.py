"""Keeps one connection to the primary: finds it, greets it, looks at it each second, and finds it anew when it is lost."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

import attrs
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from perimeter.errors import StateUnavailable
from perimeter.redis.connection import MOST_WAITING, Argument, RedisConnection
from perimeter.redis.errors import ErrorReply
from perimeter.redis.greeting import Greeting
from perimeter.redis.script import Script

_log = Logger()

FIRST_PAUSE: Final = 0.05
"""Seconds before the second attempt to connect. Each further pause is twice as long, up to `LONGEST_PAUSE`."""

LONGEST_PAUSE: Final = 0.25
"""Short, since machines that come to a new primary one after the other accept for as long what the first of them revokes."""

LOOK: Final = 1.0
"""Seconds between two looks whether the server answers and is still the primary."""

SOON: Final = 0.2
"""Seconds between two looks when there is a reason to look."""

SILENCE: Final = 60.0
"""Seconds in which the same problem is logged once."""


@attrs.frozen
class Found:
    """A connection to the primary, which has greeted; ``place`` is its host and port, for messages.

    ``epoch`` is that of the configuration in which Sentinels named it, 0 without Sentinels.
    """

    connection: RedisConnection
    place: str
    greeting: Greeting
    epoch: int = 0


class Finder(Protocol):
    """Finds the primary. All methods are for the reactor thread."""

    def connect(self, lost: Callable[[str], object]) -> Deferred[Found]:
        """Connect to the primary and greet it. ``lost`` is called when that connection is closed, also before this fires.

        Fails with `StateUnavailable` in bounded time.
        """

    def look(self, found: Found) -> Deferred[float]:
        """Fire with how far the server's clock is ahead (seconds). Fails if it is to be left: it is no primary any more."""

    def stop(self) -> None:
        """Close connections to others than the primary."""


class Link:
    """One connection to the primary that ``finder`` finds. Only one of several links should be ``logged``.

    While there is no connection, calls wait for one, at most ``timeout`` seconds from its loss; later ones fail at once.
    """

    def __init__(self, clock: IReactorTime, finder: Finder, timeout: float, *, logged: bool = True) -> None:
        self._clock = clock
        self._logged = logged
        self._finder = finder
        self._timeout = timeout
        self._reported = ("", 0.0)
        self._found: Found | None = None
        self._finding: Deferred[Any] | None = None
        self._again: IDelayedCall | None = None
        self._pause = FIRST_PAUSE
        self._away_since = 0.0
        self._looked = 0.0
        self._queue: dict[Deferred[None], IDelayedCall] = {}
        #: whether it was started, and not stopped
        self.running = False
        #: why there is no connection; "" while there is one
        self.problem = "Redis: not connected yet"
        #: how far the server's clock is ahead, in seconds
        self.offset = 0.0

    def start(self) -> None:
        """Begin to connect."""
        self.running = True
        self._away_since = self._clock.seconds()
        self._find()

    def stop(self) -> None:
        """Close the connection. Calls fail."""
        self.running = False
        self.problem = "Redis: the gateway is stopping"
        self._stop_again()
        if self._finding is not None:
            self._finding.cancel()
        found, self._found = self._found, None
        if found is not None:
            found.connection.drop("the gateway is stopping")
        self._release(StateUnavailable(self.problem))

    def call(self, *arguments: Argument, patience: float = 0.0) -> Deferred[Any]:
        """See `RedisConnection.call`. Without a connection, the wait for one counts as well."""
        if self._found is not None:
            return self._found.connection.call(*arguments, patience=patience)
        left = self._away_since + self._timeout - self._clock.seconds()
        if not self.running or left <= 0 or len(self._queue) >= MOST_WAITING:
            return fail(StateUnavailable(self.problem))
        asked = self._clock.seconds()
        connected: Deferred[None] = Deferred(self._forget)
        self._queue[connected] = self._clock.callLater(left, self._give_up, connected)
        return connected.addCallback(
            lambda _: self.call(*arguments, patience=patience - (self._clock.seconds() - asked)),
        )

    def run(
        self, script: Script, keys: Sequence[bytes | str], arguments: Sequence[Argument], patience: float = 0.0
    ) -> Deferred[Any]:
        """Fire with what ``script`` returns, as `call` does. A server that does not know it is sent its source."""
        rest = (len(keys), *keys, *arguments)
        asked = self._clock.seconds()

        def with_source(failure: Failure) -> Deferred[Any]:
            problem = failure.value
            if not isinstance(problem, ErrorReply) or problem.code != "NOSCRIPT":
                return fail(failure)
            return self.call("EVAL", script.source, *rest, patience=patience - (self._clock.seconds() - asked))

        return self.call("EVALSHA", script.digest, *rest, patience=patience).addErrback(with_source)

    @property
    def run_id(self) -> str:
        """The run_id of the primary: another one after each start of a server. "" without a connection."""
        return "" if self._found is None else self._found.greeting.run_id

    @property
    def primary(self) -> str:
        """Host and port of the primary, for people. "" without a connection."""
        return "" if self._found is None else self._found.place

    @property
    def local(self) -> str:
        """The IP address of this machine on the connection. "" without one."""
        return "" if self._found is None else self._found.connection.local

    @property
    def version(self) -> str:
        """The version of the primary, for people. "" without a connection."""
        return "" if self._found is None else self._found.greeting.version

    # -- calls that wait for a connection

    def _forget(self, connected: Deferred[None]) -> None:
        timer = self._queue.pop(connected, None)
        if timer is not None:
            timer.cancel()

    def _give_up(self, connected: Deferred[None]) -> None:
        del self._queue[connected]
        connected.errback(StateUnavailable(self.problem))

    def _release(self, problem: StateUnavailable | None = None) -> None:
        queue, self._queue = self._queue, {}
        for connected, timer in queue.items():
            if timer.active():
                timer.cancel()
            if connected.called:  # cancelled by one of those before it
                continue
            if problem is None:
                connected.callback(None)
            else:
                connected.errback(problem)

    # -- the connection

    def _find(self) -> None:
        self._again = None
        finding = self._finding = self._finder.connect(self._lost)
        finding.addCallbacks(self._connected, self._not_found)
        finding.addErrback(lambda failure: _log.failure("the connection to Redis", failure))

    def _connected(self, found: Found) -> None:
        self._finding = None
        if found.connection.problem:
            self._not_found(Failure(StateUnavailable(found.connection.problem)))
            return
        self._found = found
        found.connection.suspect = self._suspect
        self._looked = self._clock.seconds()
        self.problem = ""
        self.offset = found.greeting.offset
        self._again = self._clock.callLater(self._soon(LOOK), self._look)
        if self._logged:
            _log.info("Redis: connected to the primary {place}", place=found.place)
        self._release()

    def _not_found(self, failure: Failure) -> None:
        self._finding = None
        if not self.running:
            return
        problem = failure.value
        self._report(problem.detail if isinstance(problem, StateUnavailable) else f"Redis: {problem}")
        self._find_later()

    def _lost(self, reason: str) -> None:
        if self._found is None:
            return
        self._found = None
        self._stop_again()
        self._away_since = self._clock.seconds()
        self._report(f"Redis: {reason}")
        self._find_later()

    def _find_later(self) -> None:
        self._again = self._clock.callLater(self._soon(self._pause), self._find)
        self._pause = min(self._pause * 2, LONGEST_PAUSE)

    def _look(self) -> None:
        assert self._found is not None
        found = self._found
        self._looked = self._clock.seconds()
        self._again = self._clock.callLater(self._soon(LOOK), self._look)
        # a connection that has lasted is a reason to connect again at once
        self._pause = FIRST_PAUSE
        self._finder.look(found).addCallbacks(self._seen, lambda failure: self._unfit(found, failure))

    def _suspect(self) -> None:
        """The server has said that it may be cut off: look at once whether there is another primary."""
        if self._found is not None and self._clock.seconds() - self._looked >= SOON:
            self._stop_again()
            self._look()

    def _seen(self, offset: float) -> None:
        self.offset = offset

    def _unfit(self, found: Found, failure: Failure) -> None:
        problem = failure.value
        found.connection.drop(problem.detail.removeprefix("Redis: ") if isinstance(problem, StateUnavailable) else str(problem))

    def _report(self, problem: str) -> None:
        self.problem = problem
        now = self._clock.seconds()
        last, when = self._reported
        if self._logged and (problem != last or now - when >= SILENCE):
            self._reported = (problem, now)
            _log.warn("{problem}", problem=problem)

    def _soon(self, seconds: float) -> float:
        return seconds * random.uniform(0.7, 1.3)  # noqa: S311, because it spreads load and keeps no secret

    def _stop_again(self) -> None:
        if self._again is not None:
            self._again.cancel()
            self._again = None
