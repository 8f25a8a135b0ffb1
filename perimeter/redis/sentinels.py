"""The primary as Sentinels name it: all of them are asked, and the one with the newest configuration is believed.

A Sentinel that was cut off together with an old primary goes on naming it. After a failover the majority of the Sentinels has a
configuration with a higher epoch, so a gateway that reaches one of them leaves the old primary, though that still answers.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred, FirstError, gatherResults, inlineCallbacks
from twisted.python.failure import Failure

from perimeter.config.language.datatypes import BadValue
from perimeter.config.language.net_types import checked_host
from perimeter.config.site.redis_url import RedisUrl
from perimeter.errors import StateUnavailable
from perimeter.redis.connection import RedisConnection
from perimeter.redis.dialling import Dialler, at
from perimeter.redis.errors import ErrorReply
from perimeter.redis.greeting import check_mode, hello, look
from perimeter.redis.link import Found

_UNKNOWN: Final = "ERR No such master"


@attrs.frozen
class Named:
    """The primary that a Sentinel names. ``epoch`` is that of its configuration, which grows with each failover."""

    host: str
    port: int
    epoch: int


def read_named(reply: object) -> Named:
    """What ``SENTINEL MASTER`` has replied. Raises `StateUnavailable` for what is no address.

    The Sentinel that carries out a failover has the new epoch some time before it names the new primary.
    """
    facts: dict[Any, Any] = reply if isinstance(reply, dict) else {}
    try:
        host = checked_host(_bracketed(facts[b"ip"].decode("ascii"))).strip("[]")
        port, epoch = int(facts[b"port"]), int(facts[b"config-epoch"])
        if b"failover_in_progress" in facts[b"flags"].split(b","):
            epoch -= 1
        if not 0 < port < 65536:
            raise ValueError(port)
    except (KeyError, AttributeError, TypeError, ValueError, BadValue):
        raise StateUnavailable("Redis: a Sentinel names no primary") from None
    return Named(host, port, epoch)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


class _Sentinel:
    """One Sentinel, and the connection to it, which is kept."""

    def __init__(self, url: RedisUrl, server: tuple[str, int], dialler: Dialler) -> None:
        self._url = url
        self._dialler = dialler
        self._host, self._port = server
        self._connection: RedisConnection | None = None
        self._asking: Deferred[Any] | None = None
        self._waiting: list[Deferred[Named]] = []

    def ask(self) -> Deferred[Named]:
        """Fire with what it answers now. Questions at the same time are one. Fails with `StateUnavailable`."""
        result: Deferred[Named] = Deferred()
        self._waiting.append(result)
        if self._asking is None:
            asking = self._asking = self._answer()
            asking.addBoth(self._answered)
        return result

    def stop(self) -> None:
        """Close the connection, and stop what is under way."""
        if self._asking is not None:
            self._asking.cancel()
        if self._connection is not None:
            self._connection.drop("the gateway is stopping")

    def _answered(self, outcome: Named | Failure) -> None:
        self._asking = None
        waiting, self._waiting = self._waiting, []
        for result in waiting:
            if isinstance(outcome, Failure):
                result.errback(outcome)
            else:
                result.callback(outcome)

    @inlineCallbacks
    def _answer(self) -> Generator[Deferred[Any], Any, Named]:
        if self._connection is None or self._connection.problem:
            self._connection = yield self._open()
        connection = self._connection
        try:
            reply = yield connection.call("SENTINEL", "MASTER", self._url.primary)
        except ErrorReply as problem:
            if problem.text.startswith(_UNKNOWN):
                raise StateUnavailable(f"Redis: the Sentinel knows no primary called {self._url.primary}") from None
            raise
        return read_named(reply)

    @inlineCallbacks
    def _open(self) -> Generator[Deferred[Any], Any, RedisConnection]:
        """Connect. The user and the password are shown only to a Sentinel that demands them."""
        try:
            connection = yield self._greeted(attrs.evolve(self._url, username="", password=""))
        except ErrorReply as problem:
            if problem.code != "NOAUTH" or not (self._url.username or self._url.password):
                raise
            connection = yield self._greeted(self._url)
        return connection  # type: ignore[no-any-return]

    @inlineCallbacks
    def _greeted(self, url: RedisUrl) -> Generator[Deferred[Any], Any, RedisConnection]:
        connection = yield self._dialler.dial(self._host, self._port, lambda reason: None)
        try:
            check_mode((yield connection.call(*hello(url))), "sentinel")
        except BaseException:  # also if the question is cancelled
            connection.drop("the Sentinel was not greeted")
            raise
        return connection  # type: ignore[no-any-return]

    def named(self, failure: Failure) -> str:
        """What is wrong with it, in words."""
        problem = failure.value
        detail = problem.detail.removeprefix("Redis: ") if isinstance(problem, StateUnavailable) else str(problem)
        place = at(self._host, self._port)
        return detail if detail.startswith(place) else f"{place}: {detail}"


class Question:
    """One question to all Sentinels. ``result`` fires when a majority has answered, or all have answered or failed."""

    def __init__(self, sentinels: Sequence[_Sentinel]) -> None:
        self._left = len(sentinels)
        self._majority = self._left // 2 + 1
        self._answers: list[Named] = []
        self._problem = ""
        self.result: Deferred[Named] = Deferred()
        for sentinel in sentinels:
            sentinel.ask().addCallbacks(self._answered, self._failed, errbackArgs=(sentinel,))

    def _answered(self, named: Named) -> None:
        self._answers.append(named)
        self._settled()

    def _failed(self, failure: Failure, sentinel: _Sentinel) -> None:
        self._problem = self._problem or sentinel.named(failure)
        self._settled()

    def _settled(self) -> None:
        self._left -= 1
        if self.result.called or (self._left and len(self._answers) < self._majority):
            return
        if self._answers:
            self.result.callback(max(self._answers, key=lambda named: named.epoch))
        else:
            self.result.errback(StateUnavailable(f"Redis: no Sentinel answers; {self._problem}"))


class Sentinels:
    """Finds the primary that the Sentinels of ``url`` name (`perimeter.redis.link.Finder`)."""

    def __init__(self, url: RedisUrl, dialler: Dialler) -> None:
        self._url = url
        self._dialler = dialler
        self._sentinels = [_Sentinel(url, server, dialler) for server in url.servers]

    @inlineCallbacks
    def connect(self, lost: Callable[[str], object]) -> Generator[Deferred[Any], Any, Found]:
        """See `Finder`."""
        named: Named = yield Question(self._sentinels).result
        found: Found = yield self._dialler.primary(self._url, named.host, named.port, named.epoch, lost)
        return found

    @inlineCallbacks
    def look(self, found: Found) -> Generator[Deferred[Any], Any, float]:
        """See `Finder`. Sentinels that do not answer are no reason to leave a primary that does."""

        def compare(outcome: Named | Failure) -> None:
            if isinstance(outcome, Named) and outcome.epoch > found.epoch and at(outcome.host, outcome.port) != found.place:
                raise StateUnavailable(f"Redis: the Sentinels name another primary, {at(outcome.host, outcome.port)}")

        named = Question(self._sentinels).result.addBoth(compare)
        try:
            results = yield gatherResults([look(found.connection), named], consumeErrors=True)
        except FirstError as problem:
            problem.subFailure.raiseException()
        return results[0]  # type: ignore[no-any-return]

    def stop(self) -> None:
        """See `Finder`."""
        for sentinel in self._sentinels:
            sentinel.stop()
