"""A client's HTTP/1.1 connection: from the bytes of the transport to exchanges, one after the other, and back.

The connection owns the buffer, the deadlines and the flow control. It answers pipelined requests in order by taking up the next
one only when the last is done. What a request means is decided behind `perimeter.http.connections.ConnectionSite.dispatch`.

Of what one read brings, one request (or one batch of chunks of a body) is served at once. The rest waits in ``site.turns`` until
other connections were served, and nothing more is read until then (attack 46).

Deadlines are absolute and kept by `perimeter.net.deadlines`, one periodic sweep for all connections, so that moving one is an
assignment to ``deadline``. They follow from the phase:

* a head must be complete within ``head_timeout`` of its first byte (of the accept, for the first one);
* an idle connection is closed after ``idle_timeout``;
* a body must come at ``body_min_rate`` at least, and a response must be taken at that rate, measured over each
  ``body_timeout`` and ``send_timeout``.
"""

from __future__ import annotations

from collections.abc import Collection
from math import inf
from typing import TYPE_CHECKING

from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from perimeter.errors import BadRequest, Refusal, RequestTimeout
from perimeter.http.exchange import Exchange
from perimeter.http.h1.flow import MAX_WAITING, Flow, Phase, next_flow
from perimeter.http.h1.framing import BodyReader, body_reader
from perimeter.http.h1.heads import BadHead, HeadReader, remains, without_empty_lines
from perimeter.http.h1.writer import HTTP_2_PREFACE, GoAwayWriter, Writer
from perimeter.model import ClientConnection, EarlyEnd, Version, canonical_address

if TYPE_CHECKING:
    from perimeter.http.connections import ConnectionSite
    from perimeter.net.contract import AcceptedTransport

#: Seconds in which the rest of a request must come at ``body_min_rate``, while it is discarded after its response.
_LINGER_STEP = 5.0

# As globals: an enum's member costs five times as much to look up.
_HEAD, _BODY, _ANSWERING, _TUNNEL, _LINGER, _CLOSED = Phase
_HTTP_1_0 = Version.HTTP_1_0


@implementer(IPushProducer)
class Http1Connection(TwistedProtocol):
    """One client connection: the `perimeter.http.carrier.Carrier` of its exchanges.

    ``site`` is shared, ``listener`` names the section that accepted it on ``local_port``.
    """

    transport: AcceptedTransport  # type: ignore[assignment]
    writer: Writer
    deadline: float
    #: the client waits for 100 Continue before it sends the body of its request; set with ``_reader``
    _continue: bool

    def __init__(self, site: ConnectionSite, listener: str, local_port: int) -> None:
        self.site = site
        self.listener = listener
        self._local_port = local_port
        self._phase = _HEAD
        #: when the connection began to wait for a head, or to close
        self._since = 0.0
        #: no further request is served after the current one
        self._closing = False
        self._exchange: Exchange | None = None
        self._heads = HeadReader()
        #: of the request's body
        self._reader: BodyReader | None = None
        #: bytes that came and were not looked at
        self._pending = b""
        #: a request is being dispatched: what follows it must wait
        self._advancing = False
        #: in ``site.turns``
        self._waiting = False
        self._reads_paused = False
        self._writes_paused = False
        #: bytes discarded in LINGER since the last look, and when it ends at the latest
        self._discarded = 0
        self._linger_end = inf
        #: bytes received and sent at the start of the current measuring window; None if none is open
        self._mark: int | None = None

    # -- the connection

    def connectionMade(self) -> None:
        """The connection is there, its TLS handshake done."""
        transport = self.transport
        peer = transport.getPeer()
        self.connection = ClientConnection(
            canonical_address(peer.host),
            peer.port,
            self.listener,
            self._local_port,
            transport.tls_version,
            transport.client_certificate,
            transport.local_address,
        )
        self.writer = Writer(transport)
        transport.registerProducer(self, True)
        self._since = self.site.clock()
        self.deadline = self._since + self.site.limits.head_timeout
        self.site.deadlines.watch(self)
        self.site.connections.add(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The client is gone, or we have closed."""
        phase, self._phase = self._phase, _CLOSED
        self.site.deadlines.forget(self)
        self.site.connections.discard(self)
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.client_gone()
        elif self._pending and phase is _HEAD:
            # The client left in the middle of a head: that too is one line in the audit log.
            Exchange(self, remains(self._pending), self.connection, self.site.clock(), False).client_gone()

    @property
    def exchanges(self) -> Collection[Exchange]:
        """The exchange under way, if there is one."""
        return () if self._exchange is None else (self._exchange,)

    def shut_down(self, idle: bool = True) -> None:
        """See `HttpConnection`."""
        self._closing = True
        self.writer.last = True
        if idle and self._phase is _HEAD and not self._waiting:
            self._close(_CLOSED)

    @property
    def address(self) -> str:
        """See `HttpConnection`."""
        return self.connection.address

    @property
    def silent_since(self) -> float:
        """See `HttpConnection`. A head that comes in pieces is silence too: only complete ones count."""
        busy = self._exchange is not None or self._waiting or self.transport.buffered
        return inf if busy else self._since

    def make_room(self) -> bool:
        """See `HttpConnection`."""
        if self._phase is _HEAD:
            if self.transport.has_input():
                return False
            if self._pending:
                head = remains(self._pending)
                self._pending = b""
                Exchange(self, head, self.connection, self.site.clock(), False).client_gone(EarlyEnd.CROWDED_OUT)
        self.transport.close_now()
        return True

    def cut(self) -> None:
        """See `HttpConnection`."""
        self._closing = self.writer.last = True
        exchange = self._exchange
        if exchange is not None:
            exchange.shut_down()
        elif self._phase is not _CLOSED:
            self._close(_CLOSED)

    def _enter(self, phase: Phase) -> None:
        """Change the phase; the deadline follows from it."""
        self._phase = phase
        if phase is _HEAD:
            site = self.site
            self._since = now = site.clock()
            self.deadline = now + site.limits.idle_timeout
        elif phase is _ANSWERING and self._writes_paused:
            pass  # the window that is open measures how fast the client takes the response
        elif phase <= _TUNNEL:
            self._stop_measuring()
        else:
            flushed = phase is _LINGER and not self.transport.buffered
            self._since = now = self.site.clock()
            limits = self.site.limits
            self._linger_end = now + limits.linger_timeout
            self.deadline = now + (min(_LINGER_STEP, limits.linger_timeout) if flushed else limits.send_timeout)

    # -- reading

    def dataReceived(self, data: bytes) -> None:
        """Bytes from the client."""
        phase = self._phase
        if phase is _HEAD:
            if self._waiting:
                self._pending += data
            else:
                self._advance(self._pending + data if self._pending else data)
            return
        exchange = self._exchange
        if exchange is not None:
            if phase is _TUNNEL:
                exchange.tunnel_receive(data)
                return
            self._pending = self._pending + data if self._pending else data
            if len(self._pending) > MAX_WAITING or (phase is _BODY and not exchange.body_paused):
                self.flow_changed()
        elif phase is _LINGER:
            self._discard(data)

    def _discard(self, data: bytes) -> None:
        """Skip a part of a request that has been answered. At its end the connection ends: the client has nothing more to send.

        A body of many small chunks is not taken apart (attack 46): it ends when the client says so, or by time.
        """
        self._discarded += len(data)
        reader = self._reader
        if reader is not None:
            try:
                rest = reader.feed(data)[1]
            except BadRequest:
                rest = None
                self._reader = None
            if rest is not None:
                self._close(_CLOSED)
            elif reader.behind:
                self._reader = None

    def _advance(self, data: bytes) -> None:
        """Take up the request at the start of ``data``. If it is answered on the spot, what follows it waits for a turn."""
        if self._writes_paused:
            # The last responses wait to be taken: the next one could not be held back, and would wait in memory.
            self._pending = data
            self.flow_changed()
            return
        self._advancing = True
        try:
            begun = self._begin(data)
        finally:
            self._advancing = False
        if begun and self._pending and self._phase is _HEAD:
            self.deadline = inf
            self._await_turn()
            self.flow_changed()
        elif self._reads_paused:
            self.flow_changed()

    def _await_turn(self) -> None:
        """Let others be served first; nothing is read until then."""
        self._waiting = True
        self.site.turns.wait(self)

    def take_turn(self) -> None:
        """Continue with the data that waited (from `perimeter.net.turns`)."""
        self._waiting = False
        if self._phase is _BODY:
            self.flow_changed()
        elif self._phase is _HEAD:
            self._enter(_HEAD)
            self._advance(self._pending)
            if self._closing and self._phase is _HEAD and not self._waiting:
                self._close(_CLOSED)

    def _begin(self, data: bytes) -> bool:
        """Take up the request at the start of ``data``, if its head is complete. ``_pending`` is what follows the head."""
        site = self.site
        heads = self._heads
        try:
            rest = heads.read(data, site.limits)
        except BadHead as bad:
            self._refuse_head(bad.line, bad.refusal)
            return False
        if rest is None:
            self._pending = data = without_empty_lines(data)
            if data:
                # Absolute from the head's first byte: a client that drips cannot move it (attack 22).
                self.deadline = min(self.deadline, site.clock() + site.limits.head_timeout)
            return False
        self._pending = rest
        head = heads.head
        headers = head.headers
        writer = self.writer
        version = writer.version = head.version
        writer.last = self._closing or headers.close or (version is _HTTP_1_0 and not headers.keep_alive)
        if headers.chunked or headers.content_length:
            self._reader = body_reader(headers)
            self._continue = headers.expect_continue and version is not _HTTP_1_0
            self._phase = _BODY
        else:
            self._phase = _ANSWERING
        self._mark = None
        self.deadline = inf
        exchange = self._exchange = Exchange(self, head, self.connection, site.clock(), self._phase is _BODY)
        site.dispatch(exchange)
        return True

    def _refuse_head(self, line: bytes, refusal: Refusal) -> None:
        """Refuse an invalid head, and close. The audit log gets the readable part of the request line."""
        exchange = self._exchange = Exchange(self, remains(line), self.connection, self.site.clock(), False)
        if line == HTTP_2_PREFACE:
            self.writer = GoAwayWriter(self.transport)
        self._reader = None
        self._enter(_BODY)
        exchange.refuse(refusal)

    # -- the request's body, for the exchange

    def body_wanted(self) -> None:
        """See `Carrier`."""
        if self._continue:
            self._continue = False
            self.writer.proceed()
        if self._mark is None and self._phase is _BODY:
            self._measure(self.site.limits.body_timeout)
        self.flow_changed()

    def flow_changed(self) -> None:
        """Do what `next_flow` says."""
        while (flow := self._next_flow()) is Flow.FEED:
            self._feed()
        hold = flow is Flow.HOLD
        if hold != self._reads_paused and self._phase is not _CLOSED:
            self._reads_paused = hold
            if hold:
                self.transport.pauseProducing()
            else:
                if self._phase is _BODY:
                    self._measure(self.site.limits.body_timeout)
                self.transport.resumeProducing()

    def _next_flow(self) -> Flow:
        exchange, reader = self._exchange, self._reader
        return next_flow(
            self._phase,
            len(self._pending) + (self._phase is _BODY and reader is not None and reader.behind),
            waiting=self._waiting,
            writes_paused=self._writes_paused,
            body_paused=exchange is None or exchange.body_paused,
        )

    def _feed(self) -> None:
        """Give the exchange the part of its body that has arrived. It may be answered then, and the next request begin."""
        exchange, reader = self._exchange, self._reader
        assert exchange is not None
        assert reader is not None
        data, self._pending = self._pending, b""
        try:
            body, rest = reader.feed(data)
            if reader.behind:
                self._await_turn()  # before the sink has a chance to ask for more
            if body:
                exchange.body_data(body)
        except Refusal as refusal:
            if isinstance(refusal, BadRequest):
                self._reader = None  # its end cannot be known any more
            exchange.fail_body(refusal)
            return
        if rest is not None and self._exchange is exchange:
            self._pending = rest
            self._enter(_ANSWERING)
            exchange.body_end(reader.trailers)

    def discard_body(self) -> None:
        """See `Carrier`. The connection must end if the body has not come as a whole."""
        exchange, reader = self._exchange, self._reader
        data, self._pending = self._pending, b""
        if data and exchange is not None and reader is not None and not self._continue:
            try:
                body, rest = reader.feed(data)
                exchange.body_data(body)
            except Refusal as refusal:
                rest = None
                if isinstance(refusal, BadRequest):
                    self._reader = None
            if rest is not None:
                self._pending = rest
                self._enter(_ANSWERING)
                exchange.body_end(())
        if self._phase is _BODY:
            self.writer.last = True

    def open_tunnel(self, lines: bytes) -> None:
        """See `Carrier`."""
        self.writer.switch(lines)
        self._enter(_TUNNEL)
        data, self._pending = self._pending, b""
        if data and self._exchange is not None:
            self._exchange.tunnel_receive(data)
        self.flow_changed()

    # -- the response, for the exchange

    def close_after(self) -> None:
        """See `Carrier`."""
        self.writer.last = True

    def response_done(self) -> None:
        """The response has been written: go on with the next request, which may have come already, or close."""
        self._exchange = None
        phase = self._phase
        if phase is not _ANSWERING or self.writer.last:
            # A response that came before the request was complete: the rest of the request is discarded, within bounds.
            self._close(_LINGER if phase is _BODY else _CLOSED)
            return
        self._phase = _HEAD  # as `_enter`, without the call
        site = self.site
        self._since = now = site.clock()
        self.deadline = now + site.limits.idle_timeout
        if self._advancing:
            return
        if self._pending:
            self._advance(self._pending)
        elif self._reads_paused:
            self.flow_changed()

    def abort(self) -> None:
        """Cut the connection at once."""
        self._exchange = None
        if self._phase is not _CLOSED:
            self._phase = _CLOSED
            self.transport.abortConnection()

    def _close(self, phase: Phase) -> None:
        """Close once everything is written: at once (CLOSED), or after LINGER.

        "If a server performs an immediate close of a TCP connection, there is a significant risk that the client will not be able
        to read the last HTTP response" (RFC 9112, section 9.6), so the rest of the request is read first. Our side stays open
        while the end of a body is awaited: a client that sees our end, or the close_notify of TLS, may stop in the middle of its
        upload with an error and never look at the response. Nothing is awaited after what is no request, or while the client
        waits for 100 Continue, and a response that lasts until the connection ends (section 6.3) has to end it: there our side is
        closed first.
        """
        data, self._pending = self._pending, b""
        self._enter(phase)
        transport = self.transport
        transport.unregisterProducer()
        if phase is _CLOSED:
            transport.loseConnection()
            return
        self.flow_changed()
        if self._reader is None or self._continue or self.writer.until_close:
            transport.loseWriteConnection()
        if data:
            self._discard(data)

    # -- flow control, for the transport (IPushProducer)

    def pauseProducing(self) -> None:
        """The client takes less than it is sent."""
        self._writes_paused = True
        exchange = self._exchange
        if exchange is not None:
            if self._mark is None:
                self._measure(self.site.limits.send_timeout)
            if exchange.responder is not None:
                exchange.responder.pause()

    def resumeProducing(self) -> None:
        """The client has caught up."""
        self._writes_paused = False
        exchange = self._exchange
        if exchange is not None:
            if self._phase is not _BODY:
                self._stop_measuring()
            if exchange.responder is not None:
                exchange.responder.resume()
        elif self._pending and self._phase is _HEAD and not self._waiting:
            self._advance(self._pending)

    def stopProducing(self) -> None:
        """The transport is gone; `connectionLost` does the rest."""

    # -- deadlines

    def _progress(self) -> int:
        exchange = self._exchange
        return 0 if exchange is None else exchange.received + exchange.sent - self.transport.buffered

    def _measure(self, seconds: float) -> None:
        self._mark = self._progress()
        self.deadline = self.site.clock() + seconds

    def _stop_measuring(self) -> None:
        self._mark = None
        self.deadline = inf

    def deadline_expired(self) -> None:
        """The time for a head, a body, the client's reading, or idleness is over (from the sweep)."""
        exchange = self._exchange
        if exchange is None:
            self._idle_expired()
            return
        limits = self.site.limits
        window = limits.send_timeout if self._writes_paused else limits.body_timeout
        slow = self._progress() - (self._mark or 0) < limits.body_min_rate * window
        if self._writes_paused:
            if slow:
                exchange.client_gone(EarlyEnd.CLIENT_TOO_SLOW)
                self.abort()
            else:
                self._measure(window)
        elif self._phase is not _BODY:
            self._stop_measuring()
        elif slow and not self._reads_paused and not exchange.body_paused:
            exchange.fail_body(RequestTimeout("the body came too slowly"))
        else:
            self._measure(window)

    def _idle_expired(self) -> None:
        if self._phase is _LINGER and not self.transport.buffered:
            self._linger_on()
        elif self._phase is not _HEAD or self.transport.buffered:
            # The connection is closing, or the client never took its last response.
            self._phase = _CLOSED
            self.transport.abortConnection()
        elif self._pending:
            self._refuse_head(self._pending, RequestTimeout("the head came too slowly"))
        else:
            self._close(_CLOSED)

    def _linger_on(self) -> None:
        """Go on discarding a request while it comes fast enough, for ``linger_timeout`` at most."""
        now = self.site.clock()
        discarded, self._discarded = self._discarded, 0
        if now >= self._linger_end or discarded < self.site.limits.body_min_rate * _LINGER_STEP:
            self._close(_CLOSED)
        else:
            self.deadline = min(now + _LINGER_STEP, self._linger_end)
