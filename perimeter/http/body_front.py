"""The beginning of a request's body, for a target that looks at it before another target forwards it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from zope.interface import implementer

from perimeter.http.exchange import Exchange
from perimeter.http.roles import IBodyFront, IBodySink
from perimeter.model import Field


@implementer(IBodyFront)
class WatchedBody:
    """Lets the body pass as it comes, and shows its beginning to ``look``, at most ``limit`` bytes of it.

    ``look`` takes all that has come so far, and whether that is the whole body. It is called a few times: when something has
    come, whenever twice as much has come, and at the end. It must not raise.
    """

    def __init__(self, limit: int, look: Callable[[bytes, bool], None]) -> None:
        self._limit = limit
        self._look = look
        self._seen = bytearray()
        self._size = 0
        self._next_look = 1
        self._sink: IBodySink | None = None

    def before(self, sink: IBodySink) -> IBodySink:
        """See `IBodyFront`."""
        self._sink = sink
        return self

    def release(self) -> None:
        """See `IBodyFront`: nothing was held back."""

    def body_data(self, data: bytes) -> None:
        """See `IBodySink`."""
        self._size += len(data)
        seen = self._seen
        if len(seen) < self._limit:
            seen += data[: self._limit - len(seen)]
            if len(seen) >= self._next_look or len(seen) == self._limit:
                self._show(False)
        assert self._sink is not None
        self._sink.body_data(data)

    def body_end(self, trailers: Sequence[Field]) -> None:
        """See `IBodySink`."""
        if self._size <= self._limit:
            self._show(True)
        assert self._sink is not None
        self._sink.body_end(trailers)

    def _show(self, whole: bool) -> None:
        self._next_look = 2 * len(self._seen)
        self._look(bytes(self._seen), whole)


@implementer(IBodyFront)
class HeldBody:
    """Holds a body back until it is complete, and gives it to ``done``; None if it has more than ``limit`` bytes.

    ``done`` refuses the exchange, or hands it to a target, which then gets the body as if it had just come. It must not raise.
    """

    def __init__(self, exchange: Exchange, limit: int, done: Callable[[bytes | None], None]) -> None:
        self._exchange = exchange
        self._limit = limit
        self._done = done
        self._data = b""
        self._trailers: Sequence[Field] = ()
        self._sink: IBodySink | None = None

    def begin(self) -> None:
        """Take the body."""
        self._exchange.receive(self)

    def body_data(self, data: bytes) -> None:
        """See `IBodySink`."""
        self._data += data
        if len(self._data) > self._limit:
            self._data = b""
            self._done(None)

    def body_end(self, trailers: Sequence[Field]) -> None:
        """See `IBodySink`."""
        self._trailers = trailers
        self._exchange.front = self
        self._done(self._data)

    def before(self, sink: IBodySink) -> IBodySink:
        """See `IBodyFront`."""
        self._sink = sink
        return sink

    def release(self) -> None:
        """See `IBodyFront`."""
        data, self._data = self._data, b""
        assert self._sink is not None
        if data:
            self._sink.body_data(data)
        self._sink.body_end(self._trailers)
