"""Lets a stock ``twisted.web`` resource tree answer admitted exchanges.

`SiteTarget` plays, for each exchange, the channel that a `twisted.web.http.Request` expects above it (as Twisted's own HTTP/2
stream does), so nothing is serialised and parsed a second time and nothing of `twisted.web`'s parser or framing is in the way.
Framing, errors, deadlines, keep-alive and the audit record stay with the exchange.
What resources work with is in `perimeter.web.request`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IConsumer, IPullProducer, IPushProducer
from twisted.internet.task import CooperativeTask, Cooperator
from twisted.python.failure import Failure
from twisted.web import http, resource, server
from twisted.web.http_headers import Headers
from zope.interface import implementer

from perimeter.errors import BodyTooLarge, InternalError, Refusal
from perimeter.gate.target import ITarget
from perimeter.http.roles import IBodySink, IResponder
from perimeter.model import UNIX_PEER, EarlyEnd, Field
from perimeter.net.turns import NEXT_TURN
from perimeter.web.bridged import BridgedRequest

if TYPE_CHECKING:
    from perimeter.http.exchange import Exchange

#: bytes of a request body that a resource may get: it is held in memory
DEFAULT_MAX_BODY = 64 * 1024

#: what the exchange writes itself, and what would reveal the versions of the libraries
_OWN_FIELDS = frozenset(
    {b"connection", b"content-length", b"keep-alive", b"server", b"trailer", b"transfer-encoding", b"upgrade"}
)
#: headers about this hop only, which mean nothing to a resource (RFC 9110, section 7.6.1)
_HOP_BY_HOP = frozenset(
    {b"connection", b"expect", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade"}
)
_UNSAFE_FIELD = re.compile(rb"[^\t\x20-\x7e\x80-\xff]")


class Clock(Protocol):
    """The part of a reactor that is needed here."""

    def callLater(self, delay: float, callable: Callable[..., object], *args: object, **kw: object) -> Any:  # noqa: D102
        ...


@implementer(IBodySink, IResponder, IConsumer)
class Stream:
    """One exchange, in the role of the channel of a `BridgedRequest`; the camelCase methods are the channel's.

    ``done`` once nothing more may be written. The request learns of the client's departure in a later turn of the loop, because
    the exchange may notice it in the middle of a write.
    """

    transport = None

    def __init__(self, exchange: Exchange, site: server.Site, clock: Clock, cooperator: Cooperator, max_body: int) -> None:
        self.exchange = exchange
        self.site = site
        self.done = False
        self._clock = clock
        self._cooperator = cooperator
        self._max_body = max_body
        self._received = 0
        self._paused = False
        self._producer: IPushProducer | None = None
        self._pull: CooperativeTask[Iterator[None]] | None = None
        self.request = BridgedRequest(self)

    def begin(self) -> None:
        """Rebuild the request and ask for its body."""
        head = self.exchange.head
        announced = head.headers.content_length
        self.exchange.responder = self
        if announced is not None and announced > self._max_body:
            self.refuse(BodyTooLarge(f"a resource takes at most {self._max_body} bytes"))
            return
        skip = _HOP_BY_HOP | head.headers.connection
        for name, value in head.headers.fields:
            if name not in skip and name != b"host" and name != b"content-length":
                self.request.requestHeaders.addRawHeader(name, value)
        self.request.requestHeaders.setRawHeaders(b"host", [head.host])
        self.request.content = BytesIO()
        self.exchange.receive(self)

    def refuse(self, refusal: Refusal) -> None:
        """End with the gateway's own error; the request loses its connection."""
        if not self.done:
            self._over()
            self.exchange.refuse(refusal)

    def _over(self) -> None:
        """Nothing more is written. The producer is stopped, and the request loses its connection, in a later turn of the loop."""
        self.done = True
        self._stop_pulling()
        producer, self._producer = self._producer, None
        self._clock.callLater(0, self._lost, producer)

    def _lost(self, producer: IPushProducer | None) -> None:
        if producer is not None:
            producer.stopProducing()
        if not self.request.finished:
            self.request.connectionLost(Failure(ConnectionDone()))  # type: ignore[no-untyped-call]

    # -- IBodySink

    def body_data(self, data: bytes) -> None:
        """Keep some of the body, up to ``max_body``."""
        if self.done:
            return
        self._received += len(data)
        if self._received > self._max_body:
            self.refuse(BodyTooLarge(f"a resource takes at most {self._max_body} bytes"))
            return
        self.request.handleContentChunk(data)  # type: ignore[no-untyped-call]

    def body_end(self, trailers: Sequence[Field]) -> None:
        """Hand the request to its resource. Trailers are dropped: no resource asks for them (attack 14)."""
        if self.done:
            return
        self.request.requestHeaders.setRawHeaders(b"content-length", [b"%d" % self._received])
        head, decision = self.exchange.head, self.exchange.decision
        target = decision.target if decision is not None else head.target
        # As with HTTP/2, the request must not choose a framing: the exchange does.
        self.request.requestReceived(head.method, target, b"HTTP/2")

    # -- IResponder

    def pause(self) -> None:
        """The client is behind."""
        self._paused = True
        if self._producer is not None:
            self._producer.pauseProducing()
        if self._pull is not None:
            self._pull.pause()

    def resume(self) -> None:
        """The client has caught up."""
        if not self._paused:
            return
        self._paused = False
        if self._producer is not None:
            self._producer.resumeProducing()
        if self._pull is not None:
            self._pull.resume()

    def client_gone(self) -> None:
        """The client left: ``notifyFinish`` of the request fails."""
        if not self.done:
            self._over()

    # -- the channel of twisted.web.http.Request

    def getPeer(self) -> IPv4Address | IPv6Address:
        """The client, by its audited address."""
        decision, connection = self.exchange.decision, self.exchange.connection
        host = decision.address if decision is not None else connection.address
        return (IPv6Address if ":" in host and host != UNIX_PEER else IPv4Address)("TCP", host, connection.port)

    def getHost(self) -> IPv4Address:
        """The listener's port. The gateway knows its name by the request's Host only."""
        return IPv4Address("TCP", "", self.exchange.connection.local_port)

    def isSecure(self) -> bool:
        """Whether the client's own connection is TLS."""
        return bool(self.exchange.connection.tls)

    def writeHeaders(self, version: bytes, code: bytes, reason: bytes, headers: Headers) -> None:
        """Take the response's head."""
        if self.done:
            return
        fields = [(name, value) for name, values in headers.getAllRawHeaders() for value in values]
        if any(_UNSAFE_FIELD.search(value) for _, value in fields):
            self.refuse(InternalError("a resource set a header with control characters"))
            return
        length = headers.getRawHeaders(b"content-length")
        lines = b"".join(b"%b: %b\r\n" % field for field in fields if field[0].lower() not in _OWN_FIELDS)
        status = int(code)
        bodiless = status in http.NO_BODY_CODES
        # A head of known length leaves together with the body; that of a stream leaves at once. A 304 has no length of its own.
        self.exchange.start(status, lines, int(length[0]) if length and not bodiless else None, flush=not length and not bodiless)
        self._watch()

    def write(self, data: bytes) -> None:
        """Take some of the response's body."""
        if not self.done:
            self.exchange.write(data)
            self._watch()

    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        """Take some of the response's body."""
        self.write(b"".join(iovec))

    def requestDone(self, request: BridgedRequest) -> None:
        """The request is finished."""
        if not self.done:
            self.done = True
            self.exchange.finish()

    def _watch(self) -> None:
        """A write may be what ends the exchange: more than was promised, or no audit record."""
        if self.exchange.ended and not self.done:
            self._over()

    def loseConnection(self) -> None:
        """A resource gives up: the client must see that the response is not whole."""
        if not self.done:
            self._over()
            self.exchange.abort(EarlyEnd.RESOURCE_GAVE_UP)

    abortConnection = loseConnection

    # -- IConsumer

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Let ``producer`` write as fast as the client reads."""
        if self.done:
            producer.stopProducing()
        elif streaming:
            self._producer = producer
            if self._paused:
                producer.pauseProducing()
        else:
            self._pull = self._cooperator.cooperate(_pulls(producer))
            self._pull.whenDone().addErrback(self._pull_failed)
            if self._paused:
                self._pull.pause()

    def unregisterProducer(self) -> None:
        """The producer has written everything."""
        self._producer = None
        self._stop_pulling()

    def _stop_pulling(self) -> None:
        pull, self._pull = self._pull, None
        if pull is not None:
            pull.stop()

    def _pull_failed(self, reason: Failure) -> None:
        # unregisterProducer and the client's departure stop the task; what the producer itself raises is a failure
        if self._pull is not None:
            self._pull = None
            self.request.processingFailed(reason)


def _after_one_step() -> bool:
    """A turn of the loop is one write of one resource; Twisted's own rule is 10 ms of writes (attack 46)."""
    return True


def _pulls(producer: IPullProducer) -> Iterator[None]:
    while True:
        producer.resumeProducing()
        yield None


@implementer(ITarget)
class SiteTarget:
    """A tree of stock ``twisted.web`` resources as the target of a route.

    ``clock`` gives ``callLater``; ``max_body`` (bytes) bounds what a client may send to a resource.
    """

    def __init__(self, name: str, root: resource.IResource, clock: Clock, max_body: int = DEFAULT_MAX_BODY) -> None:
        self.name = name
        self._clock = clock
        self._max_body = max_body
        self._site = server.Site(root, requestFactory=BridgedRequest, reactor=clock)
        self._cooperator = Cooperator(
            scheduler=lambda work: clock.callLater(NEXT_TURN, work), terminationPredicateFactory=lambda: _after_one_step
        )

    def handle(self, exchange: Exchange) -> None:
        """Let the resource that ``exchange``'s judged path leads to answer it."""
        Stream(exchange, self._site, self._clock, self._cooperator, self._max_body).begin()
