"""A client's connection: from the bytes of the transport to exchanges, one after the other, and back.

The channel owns the buffer, the deadlines and the flow control of one connection. It answers pipelined requests in order by
taking up the next one only when the last is done. What a request means is decided behind `ChannelSite.dispatch`.

Of what one read brings, one request (or one batch of chunks of a body) is served at once. The rest waits in `ChannelSite.turns`
until other connections were served, and nothing more is read until then (attack 46).

Deadlines are absolute and kept by `perimeter.net.deadlines`, one periodic sweep for all connections, so that moving one is an
assignment to ``deadline``:

* a head must be complete within ``head_timeout`` of its first octet (of the accept, for the first one);
* an idle connection is closed after ``idle_timeout``;
* a body must come at ``body_min_rate`` at least, and a response must be taken at that rate, measured over each
  ``body_timeout`` and ``send_timeout``.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from perimeter.config.site.limits import LimitSettings
from perimeter.errors import Refusal, RequestTimeout, RevokedToken
from perimeter.http.exchange import Exchange
from perimeter.http.h1.heads import BadHead, HeadReader, told, without_empty_lines
from perimeter.model import ClientConnection, EarlyEnd, Principal, canonical_address

if TYPE_CHECKING:
    from perimeter.audit.sink import IAuditSink
    from perimeter.http.answers import Answers
    from perimeter.net.deadlines import Deadlines
    from perimeter.net.turns import Turns

#: Octets that may wait in front of a busy exchange before the connection is no longer read.
_MAX_WAITING = 64 * 1024
#: After a response that did not wait for the request's body: how much of it is thrown away, and for how long, before the
#: connection is closed. Closing at once would reset it, and take the response with it (RFC 9112, section 9.6).
_MAX_LINGER = 1024 * 1024
_LINGER_TIME = 5.0


class ChannelSite(Protocol):
    """What all connections share. Its attributes may be replaced between requests (reload)."""

    limits: LimitSettings
    deadlines: Deadlines
    turns: Turns
    clock: Callable[[], float]
    #: hand an exchange with a good head to the gate; never raises
    dispatch: Callable[[Exchange], None]
    answers: Answers
    #: where exchanges without a route are recorded
    audit: IAuditSink
    channels: set[Channel]


@implementer(IPushProducer)
class Channel(TwistedProtocol):
    """One client connection. ``site`` is shared, ``listener`` names the section that accepted it on ``local_port``."""

    transport: Any

    def __init__(self, site: ChannelSite, listener: str, local_port: int = 0) -> None:
        self.site = site
        self.listener = listener
        self._local_port = local_port
        self.deadline = inf
        #: no further request is served after the current one
        self.closing = False
        self._exchange: Exchange | None = None
        self._pending = b""
        self._advancing = False
        #: in `ChannelSite.turns`
        self._waiting = False
        self._reads_paused = False
        self._writes_paused = False
        self._lingering = 0
        self._closed = False
        self._heads = HeadReader()
        #: octets received and sent at the start of the current measuring window
        self._mark = 0

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
            getattr(transport, "tls_version", ""),
            getattr(transport, "client_certificate", None),
        )
        transport.registerProducer(self, True)
        self.deadline = self.site.clock() + self.site.limits.head_timeout
        self.site.deadlines.watch(self)
        self.site.channels.add(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The client is gone, or we have closed."""
        unfinished = bool(self._pending) and not self._closed and not self._lingering
        self._closed = True
        self.site.deadlines.forget(self)
        self.site.channels.discard(self)
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.client_gone()
        elif unfinished:
            self._unfinished_head()
        self._pending = b""

    def cut_unless(self, good: Callable[[Principal], bool]) -> None:
        """End what is under way for somebody who is not ``good`` any more (attack 21).

        What has not been answered yet too: the answer may be a tunnel, or have no end.
        """
        exchange = self._exchange
        if exchange is None or exchange.decision is None:
            return
        principal = exchange.decision.principal
        if principal is not None and not exchange.decision.route.builtin and not good(principal):
            exchange.withdraw(RevokedToken())

    @property
    def busy(self) -> bool:
        """Whether a request waits for its answer, or a tunnel is open."""
        return self._exchange is not None or self._waiting

    def shut_down(self) -> None:
        """Serve nothing beyond the request in hand, or the next one where one waits; an idle connection closes now."""
        self.closing = True
        if self._exchange is None and not self._closed and not self._waiting:
            self._close()

    # -- reading

    def dataReceived(self, data: bytes) -> None:
        """Octets from the client."""
        exchange = self._exchange
        if exchange is None:
            if self._lingering:
                self._linger(len(data))
            elif self._waiting:
                self._pending += data
            elif not self._closed:
                self._advance(self._pending + data if self._pending else data)
            return
        if exchange.tunnel:
            exchange.tunnel_receive(data)
            return
        self._pending = self._pending + data if self._pending else data
        if not exchange.body_done:
            if not exchange.body_paused:
                self.body_wanted()
            elif len(self._pending) > _MAX_WAITING:
                self.flow_changed()
        elif len(self._pending) > _MAX_WAITING:
            self.flow_changed()

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
        if begun and self._pending and self._exchange is None and not self._closed:
            self._await_turn()
        elif self._reads_paused:
            self.flow_changed()

    def _await_turn(self) -> None:
        """Let others be served first; read nothing until then."""
        self._waiting = True
        if self._exchange is None:
            self.deadline = inf
        self.flow_changed()
        self.site.turns.wait(self)

    def take_turn(self) -> None:
        """Go on with what waited (from `perimeter.net.turns`)."""
        self._waiting = False
        exchange = self._exchange
        if exchange is not None:
            self.flow_changed()
        elif not self._closed and not self._lingering:
            self.deadline = self.site.clock() + self.site.limits.idle_timeout
            self._advance(self._pending)
            if self.closing and not self.busy and not self._closed and not self._lingering:
                self._close()

    def _begin(self, data: bytes) -> bool:
        """Take up the request at the start of ``data``, if its head is complete. ``_pending`` is what follows the head."""
        heads = self._heads
        if heads.head is not None and data.startswith(heads.text):
            self._pending = data[len(heads.text) :]
        elif not self._read_head(data):
            return False
        site = self.site
        assert heads.head is not None
        exchange = self._exchange = Exchange(self, heads.head, self.connection, site.clock())
        self.deadline = inf
        site.dispatch(exchange)
        return True

    def _read_head(self, data: bytes) -> bool:
        """Whether there is a good head at the start of ``data``. ``_pending`` is what follows it, or what there is of it."""
        site = self.site
        data = without_empty_lines(data)
        try:
            rest = self._heads.read(data, site.limits)
        except BadHead as bad:
            self._refuse_head(bad.line, bad.refusal)
            return False
        if rest is None:
            if data:
                # Absolute from the head's first octet: a client that drips cannot move it (attack 22).
                self.deadline = min(self.deadline, site.clock() + site.limits.head_timeout)
            self._pending = data
            return False
        self._pending = rest
        return True

    def _refuse_head(self, line: bytes, refusal: Refusal) -> None:
        """Answer a head that is not one, and close. The audit log gets what can be told of the request line."""
        exchange = self._exchange = Exchange(self, told(line), self.connection, self.site.clock())
        exchange.close = True
        self._pending = b""
        self._lingering = _MAX_LINGER
        exchange.refuse(refusal)

    def _unfinished_head(self) -> None:
        """The client left in the middle of a head: that too is one line in the audit log."""
        Exchange(self, told(self._pending), self.connection, self.site.clock()).client_gone()

    # -- the request's body, for the exchange

    def body_wanted(self) -> None:
        """The exchange takes its body now: give it what has come, and read on."""
        exchange = self._exchange
        if exchange is None or self._waiting:
            return
        if exchange.tunnel:
            data, self._pending = self._pending, b""
            self.deadline = inf
            if data:
                exchange.tunnel_receive(data)
            return
        if self.deadline == inf:
            self._open_window(self.site.limits.body_timeout)
        data, self._pending = self._pending, b""
        if data or exchange.behind:
            try:
                rest = exchange.feed(data)
            except Refusal as refusal:
                self._lingering = _MAX_LINGER
                exchange.fail_body(refusal)
                return
            if rest is not None:
                self._body_complete(exchange, rest)
            elif exchange.behind and self._exchange is exchange:
                self._await_turn()
                return
        self.flow_changed()

    def _body_complete(self, exchange: Exchange, rest: bytes) -> None:
        """``rest`` follows the body. The exchange may be answered already, and the next request be waiting in ``rest``."""
        if self._closed or self._lingering:
            return
        self._pending = rest
        if self._exchange is exchange:
            if not self._writes_paused:
                self.deadline = inf
        elif rest and self._exchange is None and not self._advancing:
            self._advance(rest)

    def discard_body(self) -> None:
        """A response begins and nobody wanted the body: skip it if it has all come, else the connection must end."""
        exchange = self._exchange
        if exchange is None:
            return
        data, self._pending = self._pending, b""
        if data and not exchange.awaiting_continue:
            try:
                rest = exchange.feed(data)
            except Refusal:
                rest = None
            if rest is not None:
                self._pending = rest
        if not exchange.body_done:
            exchange.close = True

    def flow_changed(self) -> None:
        """Read from the client, or do not, by what the exchange can take."""
        exchange = self._exchange
        if self._waiting:
            pause = True
        elif exchange is None:
            pause = self._writes_paused and len(self._pending) > _MAX_WAITING
        else:
            pause = False
            if not exchange.body_done or exchange.tunnel:
                unread = len(self._pending) > 0 or exchange.behind
                pause = exchange.body_paused and (exchange.tunnel or unread)
                if not pause and unread and not exchange.body_paused and not exchange.tunnel:
                    self.body_wanted()
                    return
            else:
                pause = len(self._pending) > _MAX_WAITING
        if pause != self._reads_paused and not self._closed:
            self._reads_paused = pause
            if pause:
                self.transport.pauseProducing()
            else:
                if exchange is not None and not exchange.body_done:
                    self._open_window(self.site.limits.body_timeout)
                self.transport.resumeProducing()

    # -- the response, for the exchange

    def send(self, data: bytes) -> None:
        """Write to the client."""
        if not self._closed:
            self.transport.write(data)

    def response_done(self, exchange: Exchange) -> None:
        """The response has been written."""
        if exchange is not self._exchange:
            return
        if exchange.body_done and not exchange.close and not self.closing:
            self._next(exchange)
            return
        self._exchange = None
        if not exchange.body_done:
            # The answer came before the body was whole: what is left of it is skipped, within bounds.
            self._lingering = _MAX_LINGER
        self._close()

    def _next(self, exchange: Exchange) -> None:
        """Go on with the next request, which may have come already."""
        self._exchange = None
        self.deadline = self.site.clock() + self.site.limits.idle_timeout
        if self._advancing:
            return
        if self._pending:
            self._advance(self._pending)
        elif self._reads_paused:
            self.flow_changed()

    def _close(self) -> None:
        """Close once everything is written; what the client still sends is read and thrown away for a while."""
        self._pending = b""
        transport = self.transport
        flushed = self._lingering and not getattr(transport, "buffered", 0)
        self.deadline = self.site.clock() + (_LINGER_TIME if flushed else self.site.limits.send_timeout)
        transport.unregisterProducer()
        if not self._lingering:
            self._closed = True
            transport.loseConnection()
            return
        if self._reads_paused:
            self._reads_paused = False
            transport.resumeProducing()
        transport.loseWriteConnection()

    def _linger(self, size: int) -> None:
        self._lingering -= size
        if self._lingering <= 0:
            self._closed = True
            self.transport.abortConnection()

    def abort(self) -> None:
        """Cut the connection at once."""
        self._exchange = None
        if not self._closed:
            self._closed = True
            self.transport.abortConnection()

    # -- flow control, for the transport (IPushProducer)

    def pauseProducing(self) -> None:
        """The client takes less than it is sent."""
        self._writes_paused = True
        exchange = self._exchange
        if exchange is not None:
            if self.deadline == inf:
                self._open_window(self.site.limits.send_timeout)
            if exchange.responder is not None:
                exchange.responder.pause()

    def resumeProducing(self) -> None:
        """The client has caught up."""
        self._writes_paused = False
        exchange = self._exchange
        if exchange is not None:
            if exchange.body_done:
                self.deadline = inf
            if exchange.responder is not None:
                exchange.responder.resume()
        elif self._pending and not self._waiting:
            self._advance(self._pending)

    def stopProducing(self) -> None:
        """The transport is gone; `connectionLost` does the rest."""

    # -- deadlines

    def _progress(self) -> int:
        exchange = self._exchange
        if exchange is None:
            return 0
        return exchange.received + exchange.sent - getattr(self.transport, "buffered", 0)

    def _open_window(self, seconds: float) -> None:
        self._mark = self._progress()
        self.deadline = self.site.clock() + seconds

    def deadline_expired(self) -> None:
        """The time for a head, a body, the client's reading, or idleness is over (from the sweep)."""
        exchange = self._exchange
        if exchange is None:
            self._idle_expired()
            return
        limits = self.site.limits
        window = limits.send_timeout if self._writes_paused else limits.body_timeout
        slow = self._progress() - self._mark < limits.body_min_rate * window
        if self._writes_paused:
            if slow:
                exchange.client_gone(EarlyEnd.CLIENT_TOO_SLOW)
                self.abort()
            else:
                self._open_window(window)
        elif exchange.body_done or exchange.tunnel:
            self.deadline = inf
        elif slow and not self._reads_paused and not exchange.body_paused:
            exchange.fail_body(RequestTimeout("the body came too slowly"))
        else:
            self._open_window(window)

    def _idle_expired(self) -> None:
        self.deadline = inf
        if self._closed or self._lingering or getattr(self.transport, "buffered", 0):
            # It was told to close, or never took its last response.
            self._closed = True
            self.transport.abortConnection()
        elif self._pending:
            self._refuse_head(self._pending, RequestTimeout("the head came too slowly"))
        else:
            self._close()
