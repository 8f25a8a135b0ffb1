"""A connection to an upstream: one request at a time, its response taken apart as it comes.

The connection knows HTTP and its own state. What a response or its failure means for the client is decided by
`perimeter.proxy.forwarding`, through the `ReplyReceiver` interface; who keeps the connection between requests is its `Owner`.

Its state is a `Phase` of the response and a `Sending` of the request. The deadline follows from both, in one place
(`UpstreamConnection._set_deadline`): a server has ``read_timeout`` for each step of its answer, counted from the end of the
request, and for taking more of a request that it has stopped taking. A client that reads slowly stops that clock.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import IntEnum
from math import inf
from typing import Protocol

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from perimeter.errors import BadRequest, UpstreamBadReply
from perimeter.http.grammar import has_bare_lf, parse_response_head
from perimeter.http.h1.framing import BodyReader, ChunkedReader, CloseReader, LengthReader
from perimeter.http.h1.heads import HeadMemory
from perimeter.model import Field, ResponseHead
from perimeter.net.contract import Transport
from perimeter.net.deadlines import Deadlines
from perimeter.net.turns import Turns

#: Bounds of an upstream's response head, and of the informational responses in front of it.
_MAX_HEAD = 64 * 1024
_MAX_FIELDS = 200
_MAX_INTERIM = 10
#: Seconds in which a connection that is told to close may still take what was written to it.
_CLOSE_TIME = 10.0


class Phase(IntEnum):
    """How far the response has come."""

    IDLE = 0  #: no request is under way
    HEAD = 1  #: the response's head is awaited
    BODY = 2  #: its body is being read
    TUNNEL = 3  #: the server has switched protocols: everything that comes is data
    CLOSING = 4  #: ends as soon as the server has taken what was written
    CLOSED = 5


class Sending(IntEnum):
    """How far the request has gone."""

    FLOWING = 0  #: more of its body is to come from the client
    STALLED = 1  #: more is to come, and the server takes less than it is sent
    COMPLETE = 2


# As names of the module, because CPython 3.11 takes 0.1 µs to look up a member of an enum.
_IDLE, _HEAD, _BODY, _TUNNEL, _CLOSING, _CLOSED = Phase
_FLOWING, _STALLED, _COMPLETE = Sending


class Owner(Protocol):
    """Who keeps a connection while it serves no request."""

    clock: Callable[[], float]
    deadlines: Deadlines
    turns: Turns
    """Where a connection waits with the rest of an answer that takes long to take apart."""
    read_timeout: float
    """Seconds that the server has for each step of its answer."""

    def opened(self, connection: UpstreamConnection) -> None:
        """The server has accepted the connection."""

    def released(self, connection: UpstreamConnection) -> None:
        """The connection can serve another request."""

    def unusable(self, connection: UpstreamConnection) -> None:
        """An idle connection is about to be dropped: it serves no further request."""

    def lost(self, connection: UpstreamConnection) -> None:
        """The connection has ended."""


class ReplyReceiver(Protocol):
    """The sender of the request that a connection serves. Methods are called with what the server sends."""

    def reply_interim(self, head: ResponseHead) -> None:
        """An informational response (1xx but 101)."""

    def reply_head(self, head: ResponseHead, length: int | None) -> None:
        """The final response begins. ``length`` is the length of its body in bytes, None where it is not known, 0 where it
        has none. Raises `UpstreamBadReply` for a 101 that switches to what was not offered."""

    def reply_whole(self, head: ResponseHead, body: bytes) -> None:
        """The final response, all of it at once; the connection serves this receiver no longer."""

    def reply_data(self, data: bytes) -> None:
        """Bytes of the body, or of the tunnel."""

    def reply_settled(self) -> None:
        """Everything that came with the last read has been passed on."""

    def reply_end(self, trailers: Sequence[Field]) -> None:
        """The response is complete; the connection serves this receiver no longer."""

    def reply_failed(self, refusal: UpstreamBadReply) -> None:
        """The response cannot be understood; the connection has been dropped."""

    def reply_lost(self, clean: bool, seen: bool) -> None:
        """The connection ended before the response did. ``seen``: some bytes of a reply had come."""

    def reply_timeout(self) -> None:
        """Nothing came for the upstream's ``read_timeout``; the connection has been dropped."""

    def pause_request(self) -> None:
        """The upstream takes less than it is sent."""

    def resume_request(self) -> None:
        """The upstream has caught up."""


@implementer(IPushProducer)
class UpstreamConnection(TwistedProtocol):
    """One connection, kept by its owner or serving a receiver."""

    transport: Transport  # type: ignore[assignment]

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self.deadline = inf
        #: requests answered on this connection, and when it last became idle (seconds)
        self.served = 0
        self.idle_since = 0.0
        self._phase = _IDLE
        self._sending = _COMPLETE
        #: the client reads more slowly than the response comes
        self._paused = False
        #: in ``turns``, with data that the body's reader has yet to look at
        self._waiting = False
        self._receiver: ReplyReceiver | None = None
        self._bodiless = False
        self._expects_tunnel = False
        self._head: ResponseHead | None = None
        self._reader: BodyReader | None = None
        self._pending = b""
        self._interim = 0
        self._seen = False
        #: a busy service repeats a response head within a second
        self._last_head: HeadMemory[ResponseHead] = HeadMemory()

    def connectionMade(self) -> None:
        """The server has accepted."""
        self.transport.registerProducer(self, True)
        self._owner.opened(self)
        self._owner.deadlines.watch(self)

    def _set_deadline(self) -> None:
        """The one place that says how long to wait, from the state as it is now."""
        phase = self._phase
        if phase is _CLOSING:
            self.deadline = self._owner.clock() + _CLOSE_TIME
        elif phase is _HEAD or phase is _BODY:
            waiting = self._sending is not _FLOWING and not self._paused
            self.deadline = self._owner.clock() + self._owner.read_timeout if waiting else inf
        else:
            self.deadline = inf

    # -- a request

    def begin(self, receiver: ReplyReceiver, *, head_only: bool, tunnel: bool, complete: bool) -> None:
        """The connection serves ``receiver`` from now on.

        ``head_only``: the request is a HEAD; ``tunnel``: it asked for an upgrade; ``complete``: it has no body still to come.
        """
        self._receiver = receiver
        self._bodiless = head_only
        self._expects_tunnel = tunnel
        self._phase = _HEAD
        self._head = None
        self._reader = None
        self._interim = 0
        self._seen = False
        if complete:
            self._sending = _COMPLETE
            self.deadline = self._owner.clock() + self._owner.read_timeout  # as `_set_deadline`, without the call
        else:
            self._sending = _FLOWING

    def send(self, data: bytes) -> None:
        """Send bytes of the request, or of the tunnel."""
        self.transport.write(data)

    def request_sent(self) -> None:
        """The request is complete: from now on the server has ``read_timeout`` for each step of its answer."""
        self._sending = _COMPLETE
        self._set_deadline()

    def become_tunnel(self) -> None:
        """The server has answered 101: everything that comes is data."""
        self._phase = _TUNNEL
        self._set_deadline()

    def leave(self) -> None:
        """The receiver wants no more of this response: the connection cannot be used again."""
        self._receiver = None
        if self._phase is _TUNNEL:
            self.close()
        else:
            self.drop()

    def pause(self) -> None:
        """Read no more of the response until `resume`."""
        self._paused = True
        self._set_deadline()
        self.transport.pauseProducing()

    def resume(self) -> None:
        """Undo `pause`."""
        self._paused = False
        self._set_deadline()
        if self._reader is not None and self._reader.behind:
            self._await_turn()
        else:
            self.transport.resumeProducing()

    def close(self) -> None:
        """End a connection that serves no request; what was written to it is sent first."""
        if self._phase < _CLOSING:
            self._phase = _CLOSING
            self._set_deadline()
            self.transport.unregisterProducer()
            self.transport.loseConnection()

    def drop(self) -> None:
        """End the connection at once."""
        if self._phase < _CLOSING:
            self._phase = _CLOSED
            self.transport.abortConnection()

    def has_input(self) -> bool:
        """Whether something has come on an idle connection: its end, or bytes that no request asked for. Costs a system call.

        TLS sends bytes of its own too, but a new connection costs less than a lost request.
        """
        return self.transport.has_input()

    # -- its response

    def dataReceived(self, data: bytes) -> None:
        """Bytes from the server."""
        receiver = self._receiver
        if receiver is None:
            # No request is under way: an answer to nothing would be the next client's answer (attack 18).
            self._owner.unusable(self)
            self.drop()
            return
        self._seen = True
        phase = self._phase
        if phase is _TUNNEL:
            receiver.reply_data(data)
            return
        try:
            if phase is _HEAD:
                rest = self._read_head(receiver, self._pending + data if self._pending else data)
                if rest is not None:
                    self._read_body(receiver, rest)
            else:
                self._read_body(receiver, data)
            if self._receiver is receiver:
                if self._sending is _COMPLETE and not self._paused and self._phase is not _TUNNEL:
                    self.deadline = self._owner.clock() + self._owner.read_timeout  # as `_set_deadline`, without the call
                receiver.reply_settled()
        except BadRequest as malformed:
            self._fail(UpstreamBadReply(malformed.detail))
        except UpstreamBadReply as malformed:
            self._fail(malformed)

    def _fail(self, refusal: UpstreamBadReply) -> None:
        receiver, self._receiver = self._receiver, None
        self.drop()
        if receiver is not None:
            receiver.reply_failed(refusal)

    def _read_head(self, receiver: ReplyReceiver, data: bytes) -> bytes | None:
        """Read heads until the final one. Returns what follows it, or None while it is not whole (or the response is over)."""
        memory = self._last_head
        while True:
            rest = memory.after(data)
            if rest is not None:
                head, data = memory.head, rest
            else:
                end = data.find(b"\r\n\r\n")
                if end < 0 or end > _MAX_HEAD:
                    self._incomplete_head(data)
                    return None
                text, data = data[: end + 4], data[end + 4 :]
                head = parse_response_head(text, _MAX_FIELDS)
                memory.keep(text, head)
            if head.status >= 200:
                self._pending = b""
                return self._final(receiver, head, data)
            if head.status == 101:
                if not self._expects_tunnel:
                    raise UpstreamBadReply("a switch of protocols that the client did not ask for")
                self._pending = b""
                self._head = head
                receiver.reply_head(head, None)
                if data and self._phase is _TUNNEL:
                    receiver.reply_data(data)
                return None
            self._interim += 1
            if self._interim > _MAX_INTERIM:
                raise UpstreamBadReply("too many informational responses")
            receiver.reply_interim(head)

    def _incomplete_head(self, data: bytes) -> None:
        """Keep what there is of a head, unless it can never become a good one."""
        if len(data) > _MAX_HEAD:
            raise UpstreamBadReply("the response head is too large")
        if has_bare_lf(data):
            raise UpstreamBadReply("a bare LF in the response head")
        self._pending = data

    def _final(self, receiver: ReplyReceiver, head: ResponseHead, data: bytes) -> bytes | None:
        """Decide the framing of the final response's body (RFC 9112, section 6.3), and pass on its head."""
        self._head = head
        headers = head.headers
        length: int | None = headers.content_length
        if self._bodiless or head.status in (204, 304):
            if head.status == 204 and (headers.chunked or length):
                raise UpstreamBadReply("a body announced in a 204 response")
            receiver.reply_head(head, length)
            self._end(receiver, (), data)
            return None
        if headers.chunked:
            self._reader = ChunkedReader()
            length = None
        elif length is not None:
            if len(data) == length:
                self._release(head, b"")
                receiver.reply_whole(head, data)
                return None
            if not length:
                receiver.reply_head(head, 0)
                self._end(receiver, (), data)
                return None
            self._reader = LengthReader(length)
        else:
            self._reader = CloseReader()
        self._phase = _BODY
        receiver.reply_head(head, length)
        return data

    def _read_body(self, receiver: ReplyReceiver, data: bytes) -> None:
        reader = self._reader
        if reader is None or not (data or reader.behind):
            return
        body, rest = reader.feed(data)
        if body:
            receiver.reply_data(body)
        if self._receiver is not receiver:
            return
        if rest is not None:
            self._end(receiver, reader.trailers, rest)
        elif reader.behind:
            self.transport.pauseProducing()
            self._await_turn()

    def _await_turn(self) -> None:
        """Let others be served before the rest of many small chunks (attack 46). Nothing is read until then."""
        if not self._waiting:
            self._waiting = True
            self._owner.turns.wait(self)

    def take_turn(self) -> None:
        """Go on with the chunks that waited (from `perimeter.net.turns`); `resume` does so where the client is slow."""
        self._waiting = False
        if self._receiver is not None and not self._paused:
            self.dataReceived(b"")
            if not self._waiting and not self._paused and self._phase < _CLOSING:
                self.transport.resumeProducing()

    def _end(self, receiver: ReplyReceiver, trailers: Sequence[Field], rest: bytes) -> None:
        """The response is complete; ``rest`` came behind it."""
        head = self._head
        assert head is not None
        self._release(head, rest)
        receiver.reply_end(trailers)

    def _release(self, head: ResponseHead, rest: bytes) -> None:
        """Serve no request. The owner gets the connection back only where both sides are surely in step."""
        self._receiver = None
        self._reader = None
        self._head = None
        self.served += 1
        headers = head.headers
        reusable = headers.keep_alive if head.minor == 0 else not headers.close
        if self._phase >= _CLOSING:
            return
        if rest or not reusable or self._sending is not _COMPLETE or self._expects_tunnel:
            self.close()
            return
        self._phase = _IDLE
        self.deadline = inf
        self.idle_since = self._owner.clock()
        self._owner.released(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The server has ended the connection, or we have."""
        self._phase = _CLOSED
        owner = self._owner
        owner.lost(self)
        owner.deadlines.forget(self)
        receiver, self._receiver = self._receiver, None
        if receiver is None:
            return
        clean = reason.check(ConnectionDone) is not None
        if clean and self._reader is not None and self._reader.end():
            receiver.reply_end(())
            return
        receiver.reply_lost(clean, self._seen)

    # -- flow control, for the transport (IPushProducer)

    def pauseProducing(self) -> None:
        """The server takes less than it is sent."""
        if self._receiver is not None:
            if self._sending is _FLOWING:
                self._sending = _STALLED
            self._set_deadline()
            self._receiver.pause_request()

    def resumeProducing(self) -> None:
        """The server has caught up."""
        if self._receiver is not None:
            if self._sending is _STALLED:
                self._sending = _FLOWING
                self._set_deadline()
            self._receiver.resume_request()

    def stopProducing(self) -> None:
        """The transport is gone; `connectionLost` does the rest."""

    def deadline_expired(self) -> None:
        """Nothing came for ``read_timeout``, or what was to be sent before the close is not taken (from the sweep)."""
        self.deadline = inf
        if self._phase >= _CLOSING:
            self.transport.abortConnection()
            return
        receiver, self._receiver = self._receiver, None
        self.drop()
        if receiver is not None:
            receiver.reply_timeout()
