"""One connection to a Redis server or a Sentinel: calls are pipelined, and each has a deadline.

A connection on which anything is out of order (a late reply, a reply that is none, an error that is not about the call) is
closed, and all its calls fail: nothing that comes after it could be matched with a call.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final, Protocol, cast

import hiredis
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

from perimeter.errors import StateUnavailable
from perimeter.redis.errors import CUT_OFF, ErrorReply
from perimeter.redis.framing import BadReply, Framing

MOST_WAITING: Final = 10_000
"""Calls of one connection that wait for their replies at a time. Further ones fail."""

CLOSED: Final = "the connection was closed"
"""The reason of a connection that the other side has ended, or the network."""

Argument = bytes | str | int
"""An argument of a command. Text is sent in UTF-8."""


class _Transport(Protocol):
    def write(self, data: bytes) -> None: ...

    def abortConnection(self) -> None: ...


class RedisConnection(TwistedProtocol):
    """Calls of one connection. ``timeout`` (seconds): how long each may wait. ``clock`` is the reactor.

    ``lost`` is called once, with what is wrong in words, when the connection is closed by either side.
    """

    def __init__(self, clock: IReactorTime, timeout: float, lost: Callable[[str], object]) -> None:
        self._clock = clock
        self._timeout = timeout
        self._lost = lost
        self._framing = Framing()
        self._reader = hiredis.Reader(notEnoughData=_MORE)
        self._waiting: deque[tuple[Deferred[Any], float]] = deque()
        self._out: list[bytes] = []
        self._flushing: IDelayedCall | None = None
        self._timer: IDelayedCall | None = None
        #: called when the server has said that it may be cut off from the others
        self.suspect: Callable[[], object] = lambda: None
        #: why the connection is closed; "" while it is open
        self.problem = ""

    def call(self, *arguments: Argument, patience: float = 0.0) -> Deferred[Any]:
        """Send a command, with others of this turn, and fire with its reply. Fails with `StateUnavailable` or `ErrorReply`.

        Strings in the reply are bytes, maps are dicts. Errors inside an array are elements of it. The reply may take
        ``patience`` (seconds) more than the timeout, for a command that waits.
        """
        if self.problem:
            return fail(StateUnavailable(self.problem))
        if len(self._waiting) >= MOST_WAITING:
            return fail(StateUnavailable("Redis: too many calls wait for their replies"))
        if self._flushing is None:
            self._flushing = self._clock.callLater(0, self._flush)
        self._out.append(hiredis.pack_command(arguments))  # type: ignore[arg-type]  # its stub has a tuple of one item
        result: Deferred[Any] = Deferred()
        wait = self._timeout + patience
        self._waiting.append((result, self._clock.seconds() + wait))
        if self._timer is None:
            self._timer = self._clock.callLater(wait, self._check)
        return result

    @property
    def local(self) -> str:
        """The IP address of this machine on the connection."""
        return str(cast(Any, self.transport).getHost().host)

    def drop(self, reason: str) -> None:
        """Close the connection at once. All calls fail with ``reason``."""
        if self.problem:
            return
        self.problem = f"Redis: {reason}"
        for timer in (self._timer, self._flushing):
            if timer is not None:
                timer.cancel()
        self._timer = self._flushing = None
        self._out.clear()
        if self.transport is not None:
            cast(_Transport, self.transport).abortConnection()
        waiting, self._waiting = self._waiting, deque()
        # first, so that a caller who calls again does so on another connection
        self._lost(reason)
        for result, _ in waiting:
            result.errback(StateUnavailable(self.problem))

    # -- the wire

    def dataReceived(self, data: bytes) -> None:
        """See Twisted's ``Protocol``."""
        if self.problem:
            return
        try:
            self._framing.check(data)
            self._reader.feed(data)
        except BadReply as problem:
            self.drop(str(problem))
            return
        while not self.problem:
            try:
                reply = self._reader.gets()
            except Exception:  # also of Python itself: a list as a key of a map, memory
                self.drop("it sent what is no reply of Redis")
                return
            if reply is _MORE:
                return
            self._deliver(reply)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """See Twisted's ``Protocol``."""
        self.drop(CLOSED)

    def _deliver(self, reply: Any) -> None:
        if not self._waiting:
            self.drop("it sent a reply without a question")
            return
        result, _ = self._waiting.popleft()
        if not isinstance(reply, hiredis.ReplyError):
            result.callback(reply)
            return
        problem = ErrorReply(str(reply))
        if problem.code == CUT_OFF:
            self.suspect()
        elif not problem.final:
            self.drop(problem.detail.removeprefix("Redis: "))
        result.errback(problem)

    def _flush(self) -> None:
        self._flushing = None
        out, self._out = self._out, []
        cast(_Transport, self.transport).write(b"".join(out))

    def _check(self) -> None:
        self._timer = None
        if not self._waiting:
            return
        left = self._waiting[0][1] - self._clock.seconds()
        if left > 0:
            self._timer = self._clock.callLater(left, self._check)
        else:
            self.drop("it did not answer in time")


_MORE: Final = object()
