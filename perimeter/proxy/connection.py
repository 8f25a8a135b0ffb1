"""A connection to an upstream: it serves one request at a time, and parses the response while it arrives.

The connection handles HTTP and its own state. `perimeter.proxy.forwarding` decides what a response or a failure means for the
client, through the `ReplyReceiver` interface. A `ConnectionOwner` keeps the connection between requests.

The state is a `ReplyPhase` of the response and a `Sending` of the request. `UpstreamConnection._set_deadline` alone derives the
deadline from both. A server has ``read_timeout`` for each step of its response, counted from the end of the request, and for
reading more of a request after it has stopped reading. While the client reads slowly, there is no deadline.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf
from typing import Protocol

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from perimeter.connection_faults import begins_tls_alert
from perimeter.errors import BadRequest, UpstreamBadReply
from perimeter.http.grammar import has_bare_lf, parse_response_head
from perimeter.http.h1.framing import BodyReader, ChunkedReader, CloseReader, LengthReader
from perimeter.http.h1.heads import HeadMemory
from perimeter.model import Field, ResponseHead
from perimeter.net.contract import Transport
from perimeter.net.deadlines import Deadlines
from perimeter.net.tls import TLSEnded
from perimeter.net.turns import Turns
from perimeter.proxy.faults import ended_fault
from perimeter.proxy.reply import ReplyPhase, ReplyReceiver, Sending

#: Limits of an upstream's response head (bytes, header lines), and of the informational responses before it.
_MAX_HEAD = 64 * 1024
_MAX_FIELDS = 200
_MAX_INTERIM = 10
#: Seconds in which a closing connection may still send what was written to it.
_CLOSE_TIME = 10.0
#: Seconds before a server closes an idle connection during which it is not used any more.
_MARGIN = 1.0


# Module constants, because CPython 3.11 takes 0.1 µs to look up a member of an enum.
_IDLE, _HEAD, _BODY, _TUNNEL, _CLOSING, _CLOSED = ReplyPhase
_FLOWING, _STALLED, _COMPLETE = Sending


def _usable(kept: int) -> float:
    """Seconds for which a connection may be idle that its server keeps for ``kept`` seconds: a request takes time to arrive."""
    return kept - min(_MARGIN, kept / 2)


class ConnectionOwner(Protocol):
    """Keeps a connection while it serves no request."""

    clock: Callable[[], float]
    deadlines: Deadlines
    turns: Turns
    """A connection waits here with the rest of a response that takes long to parse."""
    read_timeout: float
    """Seconds that the server has for each step of its response."""
    idle_timeout: float
    """Seconds for which a connection may be idle and still be used."""

    def opened(self, connection: UpstreamConnection) -> None:
        """The server has accepted the connection."""

    def released(self, connection: UpstreamConnection) -> None:
        """The connection can serve another request."""

    def unusable(self, connection: UpstreamConnection) -> None:
        """An idle connection is about to be dropped. It cannot serve another request."""

    def lost(self, connection: UpstreamConnection) -> None:
        """The connection has ended."""


@implementer(IPushProducer)
class UpstreamConnection(TwistedProtocol):
    """One connection. It serves a receiver, or its owner keeps it."""

    transport: Transport  # type: ignore[assignment]
    fault = ""
    """Why the server has ended TLS, if it has."""
    idle_since: float
    """The time when it last became idle (seconds)."""
    # of the request that it serves, set by `begin`
    _bodiless: bool
    _expects_tunnel: bool
    _last = False
    _interim: int
    _seen: bool

    def __init__(self, owner: ConnectionOwner) -> None:
        self._owner = owner
        self.deadline = inf
        #: number of requests answered on this connection
        self.served = 0
        self._phase = _IDLE
        #: COMPLETE between requests
        self._sending = _COMPLETE
        #: the client reads more slowly than the response arrives
        self._paused = False
        #: waits in ``turns``; the body's reader has data that it has not parsed yet
        self._waiting = False
        self._receiver: ReplyReceiver | None = None
        self._head: ResponseHead | None = None
        self._reader: BodyReader | None = None
        self._pending = b""
        #: the last response head (a busy service repeats the same bytes within a second)
        self._last_head: HeadMemory[ResponseHead] = HeadMemory()

    def connectionMade(self) -> None:
        """The server has accepted the connection."""
        self.transport.registerProducer(self, True)
        self._owner.opened(self)
        self._owner.deadlines.watch(self)

    def _set_deadline(self) -> None:
        """Derive the deadline from the state. All other methods leave the decision to this one."""
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
        """Serve ``receiver`` from now on.

        ``head_only``: the request is a HEAD. ``tunnel``: it asks for an upgrade. ``complete``: no body follows.
        """
        self._receiver = receiver
        self._bodiless = head_only
        self._expects_tunnel = tunnel
        self._phase = _HEAD
        self._interim = 0
        self._seen = False
        if complete:
            self.deadline = self._owner.clock() + self._owner.read_timeout  # as `_set_deadline`, without the call
        else:
            self._sending = _FLOWING

    def close_after(self) -> None:
        """Serve no other request after this one."""
        self._last = True

    def send(self, data: bytes) -> None:
        """Send bytes of the request or the tunnel."""
        self.transport.write(data)

    def request_sent(self) -> None:
        """The request is complete. From now on the server has ``read_timeout`` for each step of its response."""
        self._sending = _COMPLETE
        self._set_deadline()

    def become_tunnel(self) -> None:
        """The server has answered 101. Everything it sends from now on is data."""
        self._phase = _TUNNEL
        self._set_deadline()

    def leave(self) -> None:
        """The receiver needs no more of this response. The connection cannot be used again."""
        self._receiver = None
        if self._phase is _TUNNEL:
            self.close()
        else:
            self.drop()

    def pause(self) -> None:
        """Stop reading the response until `resume`."""
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
        """Close a connection that serves no request, after everything written has been sent."""
        if self._phase < _CLOSING:
            self._phase = _CLOSING
            self._set_deadline()
            self.transport.unregisterProducer()
            self.transport.loseConnection()

    def drop(self) -> None:
        """Abort the connection."""
        if self._phase < _CLOSING:
            self._phase = _CLOSED
            self.transport.abortConnection()

    def has_input(self) -> bool:
        """Whether an idle connection has received its end or bytes that no request asked for. Costs a system call.

        TLS itself sends bytes too, but an unnecessary new connection costs less than a lost request.
        """
        return self.transport.has_input()

    # -- its response

    def dataReceived(self, data: bytes) -> None:
        """Bytes from the server."""
        receiver = self._receiver
        if receiver is None:
            # No request is under way: the next client would get these bytes as its response (attack 18).
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
                if rest is not None and self._receiver is receiver:
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
        """Parse heads up to the final one. Returns the bytes after it, or None if it is incomplete or the response is over."""
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
                    # RFC 9110, section 7.8: a server MUST NOT switch to a protocol that was not offered.
                    raise UpstreamBadReply("a 101 response, although the request did not ask for an upgrade")
                receiver.reply_head(head, None)
                if data and self._phase is _TUNNEL:
                    receiver.reply_data(data)
                return None
            self._interim += 1
            if self._interim > _MAX_INTERIM:
                raise UpstreamBadReply("too many informational responses")
            receiver.reply_interim(head)

    def _incomplete_head(self, data: bytes) -> None:
        """Keep an incomplete head, unless it can never become a valid one."""
        if len(data) > _MAX_HEAD:
            raise UpstreamBadReply("the response head is too large")
        if begins_tls_alert(data):
            raise UpstreamBadReply("it speaks TLS on this port: set https:// in servers")
        if has_bare_lf(data):
            raise UpstreamBadReply("a bare LF in the response head")
        self._pending = data

    def _final(self, receiver: ReplyReceiver, head: ResponseHead, data: bytes) -> bytes | None:
        """Decide how the body of the final response is framed (RFC 9112, section 6.3), and pass on its head."""
        self._head = head
        headers = head.headers
        length: int | None = headers.content_length
        if self._bodiless or head.status in (204, 304):
            if head.status == 204 and (headers.chunked or length):
                # RFC 9110, section 8.6: a server MUST NOT send Content-Length with 204; the bytes could be the next response.
                raise UpstreamBadReply("a 204 response that announces a body")
            receiver.reply_head(head, length)
            if self._receiver is receiver:
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
            self._reader = LengthReader(length)
        else:
            self._reader = CloseReader()
        self._phase = _BODY
        receiver.reply_head(head, length)
        return data

    def _read_body(self, receiver: ReplyReceiver, data: bytes) -> None:
        reader = self._reader
        assert reader is not None
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
        """Serve other connections before the rest of many small chunks (attack 46). Nothing is read until then."""
        if not self._waiting:
            self._waiting = True
            self._owner.turns.wait(self)

    def take_turn(self) -> None:
        """Continue with the chunks that waited (called by `perimeter.net.turns`). If the client is slow, `resume` does this."""
        self._waiting = False
        if self._receiver is not None and not self._paused:
            self.dataReceived(b"")
            if not self._waiting and not self._paused and self._phase < _CLOSING:
                self.transport.resumeProducing()

    def _end(self, receiver: ReplyReceiver, trailers: Sequence[Field], rest: bytes) -> None:
        """The response is complete. ``rest`` are the bytes that arrived after it."""
        head = self._head
        assert head is not None
        self._release(head, rest)
        receiver.reply_end(trailers)

    def _release(self, head: ResponseHead, rest: bytes) -> None:
        """The request is over. The owner gets the connection back only if both sides certainly agree where the response ended."""
        self._receiver = None
        self._reader = None
        self.served += 1
        headers = head.headers
        reusable = headers.keep_alive if head.minor == 0 else not headers.close
        if self._phase is _CLOSED:
            return
        if rest or not reusable or self._sending is not _COMPLETE or self._expects_tunnel or self._last:
            self.close()
            return
        self._phase = _IDLE
        owner = self._owner
        self.idle_since = now = owner.clock()
        kept = headers.kept_idle
        self.deadline = now + (owner.idle_timeout if kept is None else min(owner.idle_timeout, _usable(kept)))
        owner.released(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The server or the gateway has closed the connection."""
        self._phase = _CLOSED
        owner = self._owner
        owner.lost(self)
        owner.deadlines.forget(self)
        receiver, self._receiver = self._receiver, None
        if receiver is None:
            return
        if isinstance(reason.value, TLSEnded):
            self.fault = ended_fault(reason.value.reason)
        clean = reason.check(ConnectionDone) is not None
        if clean and self._reader is not None and self._reader.end():
            receiver.reply_end(())
            return
        receiver.reply_lost(clean, self._seen)

    # -- flow control, for the transport (IPushProducer)

    def pauseProducing(self) -> None:
        """The server reads more slowly than it is sent data."""
        if self._receiver is not None:
            if self._sending is _FLOWING:
                self._sending = _STALLED
            self._set_deadline()
            self._receiver.pause_request()

    def resumeProducing(self) -> None:
        """The server has read what was sent."""
        if self._receiver is not None:
            if self._sending is _STALLED:
                self._sending = _FLOWING
                self._set_deadline()
            self._receiver.resume_request()

    def stopProducing(self) -> None:
        """The transport has ended. `connectionLost` handles that."""

    def deadline_expired(self) -> None:
        """Nothing arrived for ``read_timeout``, an idle connection has expired, or a closing one takes nothing any more."""
        if self._phase is _IDLE:
            self._owner.unusable(self)
            self.close()
            return
        if self._phase >= _CLOSING:
            self.transport.abortConnection()
            return
        receiver, self._receiver = self._receiver, None
        self.drop()
        if receiver is not None:
            receiver.reply_timeout()
