"""The body of a request, on its way from a client's connection to whoever takes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from perimeter.errors import BodyTooLarge
from perimeter.http.h1.framing import BodyReader
from perimeter.model import RequestHead

if TYPE_CHECKING:
    from perimeter.http.h1.connection import Channel
    from perimeter.http.roles import IBodySink


class RequestSide:
    """The request's side of an exchange: its head, and its body.

    What `perimeter.http.exchange.Exchange` is built on, and made by it: an object of its own, or a second ``__init__``, costs
    each request some percent of its time.
    """

    __slots__ = (
        "_channel",
        "_continue",
        "_ended",
        "_paused",
        "_reader",
        "_sink",
        "body_done",
        "head",
        "max_body",
        "received",
    )

    _channel: Channel
    _continue: bool
    _ended: bool
    _paused: bool
    _reader: BodyReader | None
    _sink: IBodySink | None
    body_done: bool
    head: RequestHead
    max_body: int | None
    received: int

    @property
    def has_body(self) -> bool:
        """Whether the request came with a body (of no known emptiness)."""
        return self._reader is not None

    def receive(self, sink: IBodySink) -> None:
        """Deliver the body to ``sink`` from now on; a client that waits for it is told 100 Continue (RFC 9110, section
        10.1.1)."""
        self._sink = sink
        if self._reader is None:
            sink.body_end(())
            return
        if self._continue:
            self._continue = False
            self._channel.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._channel.body_wanted()

    def pause_body(self) -> None:
        """Let no more of the body come until `resume_body`."""
        if not self._paused and not self._ended:
            self._paused = True
            self._channel.flow_changed()

    def resume_body(self) -> None:
        """Undo `pause_body`."""
        if self._paused:
            self._paused = False
            self._channel.flow_changed()

    @property
    def body_paused(self) -> bool:
        """Whether nobody takes the body at the moment."""
        return self._paused or self._sink is None

    @property
    def awaiting_continue(self) -> bool:
        """Whether the client waits for 100 Continue before it sends its body."""
        return self._continue

    @property
    def behind(self) -> bool:
        """Whether some of what `feed` was given has yet to be looked at."""
        return self._reader is not None and self._reader.behind

    def feed(self, data: bytes) -> bytes | None:
        """Octets of the body from the channel. Returns what follows the body, or None while it is not complete.

        Raises `BadRequest` where the framing is malformed and `BodyTooLarge` where the route's limit is passed.
        """
        assert self._reader is not None
        body, rest = self._reader.feed(data)
        sink = self._sink
        if body:
            self.received += len(body)
            if self.max_body is not None and self.received > self.max_body:
                raise BodyTooLarge("the body is longer than max_body")
            if sink is not None:
                sink.body_data(body)
        if rest is not None:
            self.body_done = True
            if sink is not None and not self._ended:
                sink.body_end(self._reader.trailers)
        return rest
