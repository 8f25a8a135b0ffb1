"""A connection to an upstream: one request at a time, its response taken apart as it comes.

The connection knows HTTP and its own state; what a response or its failure means for the client is
`perimeter.proxy.forwarding`'s, which is told through the `Listening` interface.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from perimeter.errors import BadRequest, UpstreamBadReply
from perimeter.http.grammar import has_bare_lf, parse_response_head
from perimeter.http.h1.framing import BodyReader, ChunkedReader, CloseReader, LengthReader
from perimeter.model import Field, ResponseHead

if TYPE_CHECKING:
    from perimeter.proxy.pool import PooledServer, UpstreamPool

#: Bounds of an upstream's response head, and of the informational responses in front of it.
_MAX_HEAD = 64 * 1024
_MAX_FIELDS = 200
_MAX_INTERIM = 10
#: Seconds in which a connection that is told to close may still take what was written to it.
_CLOSE_TIME = 10.0


class Listening(Protocol):
    """Whoever sent the request that this connection is busy with."""

    def reply_interim(self, head: ResponseHead) -> None:
        """An informational response (1xx but 101)."""

    def reply_head(self, head: ResponseHead, length: int | None) -> None:
        """The final response begins. ``length`` is that of its body in octets, None where it is not known, 0 where it has
        none. Raises `UpstreamBadReply` for a 101 that switches to what was not offered."""

    def reply_whole(self, head: ResponseHead, body: bytes) -> None:
        """The final response, all of it at once; the connection is no longer this listener's."""

    def reply_data(self, data: bytes) -> None:
        """Octets of the body, or of the tunnel."""

    def reply_settled(self) -> None:
        """All that came with the last read has been told."""

    def reply_end(self, trailers: Sequence[Field]) -> None:
        """The response is complete; the connection is no longer this listener's."""

    def reply_failed(self, refusal: UpstreamBadReply) -> None:
        """The response cannot be understood; the connection has been dropped."""

    def reply_lost(self, clean: bool, seen: bool) -> None:
        """The connection ended before the response did. ``seen``: some octets of a reply had come."""

    def reply_timeout(self) -> None:
        """Nothing came for the upstream's ``read_timeout``; the connection has been dropped."""

    def pause_request(self) -> None:
        """The upstream takes less than it is sent."""

    def resume_request(self) -> None:
        """The upstream has caught up."""


@implementer(IPushProducer)
class UpstreamConnection(TwistedProtocol):
    """One connection, in the pool or serving a listener."""

    transport: Any

    def __init__(self, pool: UpstreamPool, server: PooledServer) -> None:
        self.pool = pool
        self.server = server
        self.deadline = inf
        #: requests answered on this connection, and when it last became idle
        self.served = 0
        self.idle_since = 0.0
        self._listener: Listening | None = None
        self._bodiless = False
        self._expects_tunnel = False
        self._request_done = True
        self._head: ResponseHead | None = None
        self._reader: BodyReader | None = None
        self._pending = b""
        self._interim = 0
        self._seen = False
        self._tunnel = False
        self._paused = False
        self._closed = False
        #: the last response block, unparsed and parsed (a busy service repeats it within a second)
        self._head_text = b""
        self._head_parsed: ResponseHead | None = None

    def connectionMade(self) -> None:
        """The server has accepted."""
        self.transport.registerProducer(self, True)
        self.pool.connections.add(self)
        self.pool.deadlines.watch(self)

    # -- a request

    def begin(self, listener: Listening, *, head_only: bool, tunnel: bool, complete: bool) -> None:
        """The connection is ``listener``'s from now on.

        ``head_only``: the request is a HEAD; ``tunnel``: it asked for an upgrade; ``complete``: it has no body still to come.
        """
        self._listener = listener
        self._bodiless = head_only
        self._expects_tunnel = tunnel
        self._request_done = complete
        self._head = None
        self._reader = None
        self._interim = 0
        self._seen = False
        if complete:
            self.deadline = self.pool.clock() + self.pool.settings.read_timeout

    def send(self, data: bytes) -> None:
        """Octets of the request, or of the tunnel."""
        self.transport.write(data)

    def request_sent(self) -> None:
        """The request is complete: from now on the upstream has ``read_timeout`` for each step of its answer."""
        self._request_done = True
        self.deadline = self.pool.clock() + self.pool.settings.read_timeout

    def become_tunnel(self) -> None:
        """The upstream has answered 101: whatever comes is data."""
        self._tunnel = True
        self.deadline = inf

    def leave(self) -> None:
        """The listener wants no more of this response: the connection cannot be used again."""
        self._listener = None
        if self._tunnel:
            self.close()
        else:
            self.drop()

    def pause(self) -> None:
        """Read no more of the response for now."""
        self._paused = True
        self.deadline = inf
        self.transport.pauseProducing()

    def resume(self) -> None:
        """Undo `pause`."""
        self._paused = False
        if self._listener is not None and self._request_done and not self._tunnel:
            self.deadline = self.pool.clock() + self.pool.settings.read_timeout
        self.transport.resumeProducing()

    def close(self) -> None:
        """End a connection in order that serves nobody."""
        if not self._closed:
            self._closed = True
            self.deadline = self.pool.clock() + _CLOSE_TIME
            self.transport.unregisterProducer()
            self.transport.loseConnection()

    def drop(self) -> None:
        """End the connection at once."""
        if not self._closed:
            self._closed = True
            self.transport.abortConnection()

    # -- its response

    def dataReceived(self, data: bytes) -> None:
        """Octets from the upstream."""
        listener = self._listener
        if listener is None:
            # Nobody asked: an answer to nothing would be the next client's answer (attack 18).
            self.pool.discard(self)
            self.drop()
            return
        self._seen = True
        if self._tunnel:
            listener.reply_data(data)
            return
        try:
            if self._head is None:
                rest = self._read_head(listener, self._pending + data if self._pending else data)
                if rest is not None:
                    self._read_body(listener, rest)
            else:
                self._read_body(listener, data)
            if self._listener is listener:
                if self._request_done and not self._tunnel and not self._paused:
                    self.deadline = self.pool.clock() + self.pool.settings.read_timeout
                listener.reply_settled()
        except BadRequest as malformed:
            self._fail(UpstreamBadReply(malformed.detail))
        except UpstreamBadReply as malformed:
            self._fail(malformed)

    def _fail(self, refusal: UpstreamBadReply) -> None:
        listener, self._listener = self._listener, None
        self.drop()
        if listener is not None:
            listener.reply_failed(refusal)

    def _read_head(self, listener: Listening, data: bytes) -> bytes | None:
        """Read heads until the final one. Returns what follows it, or None while it is not whole (or the response is over)."""
        while True:
            head = self._head_parsed
            if head is not None and data.startswith(self._head_text):
                data = data[len(self._head_text) :]
            else:
                end = data.find(b"\r\n\r\n")
                if end < 0 or end > _MAX_HEAD:
                    self._incomplete_head(data)
                    return None
                text, data = data[: end + 4], data[end + 4 :]
                head = self._head_parsed = parse_response_head(text, _MAX_FIELDS)
                self._head_text = text
            if head.status >= 200:
                self._pending = b""
                return self._final(listener, head, data)
            if head.status == 101:
                if not self._expects_tunnel:
                    raise UpstreamBadReply("a switch of protocols that nobody asked for")
                self._pending = b""
                listener.reply_head(head, None)
                self._head = head
                if data and self._tunnel:
                    listener.reply_data(data)
                return None
            self._interim += 1
            if self._interim > _MAX_INTERIM:
                raise UpstreamBadReply("too many informational responses")
            listener.reply_interim(head)

    def _incomplete_head(self, data: bytes) -> None:
        """Keep what there is of a head, unless it can never become a good one."""
        if len(data) > _MAX_HEAD:
            raise UpstreamBadReply("the response head is too large")
        if has_bare_lf(data):
            raise UpstreamBadReply("a bare LF in the response head")
        self._pending = data

    def _final(self, listener: Listening, head: ResponseHead, data: bytes) -> bytes | None:
        """Decide the framing of the final response's body (RFC 9112, section 6.3), and tell of its head."""
        self._head = head
        headers = head.headers
        length: int | None = headers.content_length
        if self._bodiless or head.status in (204, 304):
            if head.status == 204 and (headers.chunked or length):
                raise UpstreamBadReply("a body announced in a 204 response")
            listener.reply_head(head, length)
            self._end(listener, (), data)
            return None
        if headers.chunked:
            self._reader = ChunkedReader()
            length = None
        elif length is not None:
            if len(data) == length:
                self._release(head, b"")
                listener.reply_whole(head, data)
                return None
            if not length:
                listener.reply_head(head, 0)
                self._end(listener, (), data)
                return None
            self._reader = LengthReader(length)
        else:
            self._reader = CloseReader()
        listener.reply_head(head, length)
        return data

    def _read_body(self, listener: Listening, data: bytes) -> None:
        reader = self._reader
        if reader is None or not data:
            return
        body, rest = reader.feed(data)
        if body:
            listener.reply_data(body)
        if rest is not None and self._listener is listener:
            self._end(listener, reader.trailers, rest)

    def _end(self, listener: Listening, trailers: Sequence[Field], rest: bytes) -> None:
        """The response is complete; ``rest`` came behind it."""
        head = self._head
        assert head is not None
        self._release(head, rest)
        listener.reply_end(trailers)

    def _release(self, head: ResponseHead, rest: bytes) -> None:
        """Serve nobody. The connection goes back to the pool only where both sides are surely in step."""
        self._listener = None
        self._reader = None
        self._head = None
        self.served += 1
        headers = head.headers
        reusable = headers.keep_alive if head.minor == 0 else not headers.close
        if rest or not reusable or not self._request_done or self._expects_tunnel or self._closed:
            self.close()
        else:
            self.idle_since = self.pool.clock()
            self.pool.give_back(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The upstream's end, or ours."""
        self._closed = True
        self.pool.connections.discard(self)
        self.pool.deadlines.forget(self)
        listener, self._listener = self._listener, None
        if listener is None:
            self.pool.discard(self)
            return
        clean = reason.check(ConnectionDone) is not None
        if clean and self._reader is not None and self._reader.end():
            listener.reply_end(())
            return
        listener.reply_lost(clean, self._seen)

    # -- flow control, for the transport (IPushProducer)

    def pauseProducing(self) -> None:
        """The upstream takes less than it is sent."""
        if self._listener is not None:
            if not self._tunnel:
                self.deadline = self.pool.clock() + self.pool.settings.read_timeout
            self._listener.pause_request()

    def resumeProducing(self) -> None:
        """The upstream has caught up."""
        if self._listener is not None:
            if not self._request_done:
                self.deadline = inf
            self._listener.resume_request()

    def stopProducing(self) -> None:
        """The transport is gone; `connectionLost` does the rest."""

    def deadline_expired(self) -> None:
        """Nothing came for ``read_timeout``, or what was to be sent before the close is not taken (from the sweep)."""
        self.deadline = inf
        if self._closed:
            self.transport.abortConnection()
            return
        listener, self._listener = self._listener, None
        self.drop()
        if listener is not None:
            listener.reply_timeout()
