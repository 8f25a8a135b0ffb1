"""The environment of a real `Http1Connection` in tests: a transport without a socket, a clock, a site, targets, a reader."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import attrs
from cryptography.x509 import Certificate
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

from perimeter.audit.sink import IAuditSink
from perimeter.config.site.limits import LimitSettings
from perimeter.errors import Page, SignIn
from perimeter.gate.decision import Admitted
from perimeter.gate.routes import Route
from perimeter.gate.target import ITarget
from perimeter.http.answers import Answers
from perimeter.http.connections import Connections
from perimeter.http.exchange import Exchange, refuse_on_error
from perimeter.http.h1.connection import Http1Connection
from perimeter.http.h1.flow import Phase
from perimeter.http.refusals import RefusalLog
from perimeter.http.request_ids import no_line
from perimeter.http.roles import IBodySink, IResponder
from perimeter.model import AccessRecord, Field
from perimeter.net.deadlines import Deadlines
from perimeter.net.turns import NEXT_TURN, Turns

HIGH_WATER = 64 * 1024


class FakeTransport:
    """`perimeter.net.transport.WriteThrough` in memory: what is written arrives at once, unless ``stalled``.

    ``written`` is all that was handed over, ``arrived`` what the peer has. As with the real one, nothing calls back into the
    protocol from inside its own calls but `pauseProducing` of its producer.
    """

    def __init__(self, clock: Clock, tls_version: str = "", peer: str = "192.0.2.7") -> None:
        self.clock = clock
        self.tls_version = tls_version
        self.server_name = ""
        self.alpn = b""
        self.client_certificate: Certificate | None = None
        self.peer = peer
        self.protocol: Any = None
        self.written = b""
        self.writes: list[bytes] = []
        self.arrived = b""
        self.stalled = False
        self.reading = True
        self.unread = b""
        self.unread_input = False
        self.disconnecting = False
        self.half_closed = False
        self.aborted = False
        self.lost = False
        self.producer: Any = None
        self.producer_paused = False

    def connect(self, protocol: Protocol) -> None:
        self.protocol = protocol
        protocol.makeConnection(self)

    # -- methods that the protocol calls

    def has_input(self) -> bool:
        return self.unread_input or self.lost

    @property
    def buffered(self) -> int:
        return len(self.written) - len(self.arrived)

    def write(self, data: bytes) -> None:
        assert isinstance(data, bytes), type(data)
        if self.aborted or self.lost or self.half_closed or not data:
            return
        self.written += data
        self.writes.append(data)
        if not self.stalled:
            self.arrived = self.written
        elif self.buffered > HIGH_WATER and self.producer is not None and not self.producer_paused:
            self.producer_paused = True
            self.producer.pauseProducing()

    def loseConnection(self) -> None:
        if not self.disconnecting:
            assert self.producer is None, "a producer that is still registered would be asked for more"
            self.disconnecting = True
            self._end_when_flushed()

    def close_now(self) -> None:
        self.disconnecting = True
        self.lose(ConnectionDone())

    def loseWriteConnection(self) -> None:
        self.half_closed = True

    def abortConnection(self) -> None:
        if not self.aborted:
            self.aborted = self.disconnecting = True
            self.clock.callLater(0, self.lose, ConnectionAborted())

    def getPeer(self) -> IPv4Address:
        return IPv4Address("TCP", self.peer, 4711)

    def getHost(self) -> IPv4Address:
        return IPv4Address("TCP", "192.0.2.1", 9443)

    def local_address(self) -> str:
        return self.getHost().host

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        assert streaming
        assert self.producer is None
        self.producer = producer

    def unregisterProducer(self) -> None:
        self.producer = None

    def pauseProducing(self) -> None:
        self.reading = False

    def resumeProducing(self) -> None:
        if not self.disconnecting:
            self.reading = True
            if self.unread:
                self.clock.callLater(0, self._deliver)

    # -- actions of the peer and the network

    def receive(self, data: bytes) -> None:
        """``data`` comes from the peer; data that the gateway does not read waits."""
        self.unread += data
        self._deliver()

    def _deliver(self) -> None:
        if self.reading and not self.disconnecting and not self.lost and self.unread:
            data, self.unread = self.unread, b""
            self.protocol.dataReceived(data)

    def take(self, size: int | None = None) -> None:
        """The peer reads ``size`` waiting bytes (None: all, and it is no longer slow)."""
        if size is None:
            self.stalled = False
            size = self.buffered
        self.arrived = self.written[: len(self.arrived) + size]
        if not self.buffered and self.producer is not None and self.producer_paused:
            self.producer_paused = False
            self.producer.resumeProducing()
        if self.disconnecting and not self.aborted:
            self._end_when_flushed()

    def _end_when_flushed(self) -> None:
        if not self.buffered:
            self.clock.callLater(0, self.lose, ConnectionDone())

    def lose(self, reason: Exception | None = None) -> None:
        """The connection ends: cleanly by default."""
        if not self.lost:
            self.lost = True
            self.protocol.connectionLost(Failure(reason or ConnectionDone()))

    def reset(self) -> None:
        """The peer resets the connection."""
        self.lose(ConnectionLost())

    @property
    def ended(self) -> bool:
        """Whether nothing more is written: closed, half-closed or cut."""
        return self.disconnecting or self.half_closed or self.lost


@attrs.define
class Response:
    """A response as a client reads it. ``whole`` is False if the connection ended in the middle of it."""

    status: int
    fields: list[Field]
    body: bytes = b""
    trailers: list[Field] = attrs.field(factory=list)
    whole: bool = True
    interim: bool = False

    def get(self, name: bytes) -> bytes | None:
        values = [value for key, value in self.fields if key == name.lower()]
        assert len(values) < 2, (name, values)
        return values[0] if values else None


def _fields(lines: Iterable[bytes]) -> list[Field]:
    pairs = (line.partition(b":") for line in lines)
    return [(name.lower(), value.strip()) for name, _, value in pairs]


def read_responses(data: bytes, methods: Sequence[bytes] = (), ended: bool = False) -> list[Response]:
    """The responses in ``data``. ``methods`` are those of the requests (GET for all that are missing)."""
    found: list[Response] = []
    finals = 0
    while data:
        head, empty, data = data.partition(b"\r\n\r\n")
        assert empty, head
        line, *lines = head.split(b"\r\n")
        version, status, *_ = line.split(b" ")
        assert version == b"HTTP/1.1", line
        response = Response(int(status), _fields(lines))
        found.append(response)
        if response.status < 200 and response.status != 101:
            response.interim = True
            continue
        method = methods[finals] if finals < len(methods) else b"GET"
        finals += 1
        length = response.get(b"content-length")
        if response.status == 101:
            response.body, data = data, b""
        elif method == b"HEAD" or response.status in (204, 304):
            pass
        elif response.get(b"transfer-encoding") is not None:
            assert response.get(b"transfer-encoding") == b"chunked"
            assert length is None
            data = _read_chunks(response, data)
        elif length is not None:
            response.body, data = data[: int(length)], data[int(length) :]
            response.whole = len(response.body) == int(length)
        else:
            response.body, data = data, b""
            response.whole = ended
    return found


def _read_chunks(response: Response, data: bytes) -> bytes:
    while True:
        size, crlf, rest = data.partition(b"\r\n")
        if not crlf or (int(size, 16) and len(rest) < int(size, 16) + 2):
            response.whole = False
            return b""
        count = int(size, 16)
        if count:
            response.body += rest[:count]
            assert rest[count : count + 2] == b"\r\n"
            data = rest[count + 2 :]
            continue
        if rest.startswith(b"\r\n"):
            return rest[2:]
        section, empty, rest = rest.partition(b"\r\n\r\n")
        assert empty
        response.trailers = _fields(section.split(b"\r\n"))
        return rest


@implementer(IAuditSink)
class Audit:
    """A sink that keeps the records, and how much had been written when each of them came. ``failing``: a strict log on a full
    disk."""

    def __init__(self) -> None:
        self.records: list[AccessRecord] = []
        self.kept: list[AccessRecord] = []
        self.written_before: list[int] = []
        self.failing = False
        self.sick = False
        self.transport: FakeTransport | None = None

    def record(self, access_record: AccessRecord) -> bool:
        self.records.append(access_record)
        self.written_before.append(len(self.transport.written) if self.transport is not None else 0)
        return not self.failing

    def keep(self, access_record: AccessRecord) -> None:
        self.kept.append(access_record)

    def problem(self) -> str:
        return "access.log: No space left on device" if self.failing or self.sick else ""

    def healthy(self) -> bool:
        return not self.sick


@implementer(IBodySink)
class Body:
    """A sink that collects the request's body."""

    def __init__(self, done: Callable[[Body], None] | None = None) -> None:
        self.data = b""
        self.ended = False
        self.trailers: Sequence[Field] = ()
        self._done = done

    def body_data(self, data: bytes) -> None:
        assert data
        assert not self.ended
        self.data += data

    def body_end(self, trailers: Sequence[Field]) -> None:
        assert not self.ended
        self.ended = True
        self.trailers = trailers
        if self._done is not None:
            self._done(self)


@implementer(IResponder)
class Responder:
    """Notes what is reported about the client."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def pause(self) -> None:
        self.told.append("pause")

    def resume(self) -> None:
        self.told.append("resume")

    def client_gone(self) -> None:
        self.told.append("gone")


@implementer(ITarget)
class Holding:
    """A target that keeps its exchanges for the test to answer."""

    name = "holding"

    def __init__(self) -> None:
        self.exchanges: list[Exchange] = []

    def handle(self, exchange: Exchange) -> None:
        exchange.responder = Responder()
        self.exchanges.append(exchange)


def stalled(client: Client, target: Holding, size: int) -> tuple[Exchange, Responder]:
    """The client sends a request and reads nothing of the ``size`` bytes of its answer, which is not complete yet."""
    client.get()
    exchange = target.exchanges[0]
    responder = exchange.responder
    assert isinstance(responder, Responder)
    client.transport.stalled = True
    exchange.start(200, b"", None)
    exchange.write(b"x" * size)
    return exchange, responder


@implementer(ITarget)
class Echoing:
    """A target that answers at once with method, target and body."""

    name = "echoing"

    def handle(self, exchange: Exchange) -> None:
        def done(body: Body) -> None:
            head = exchange.head
            exchange.answer(200, b"X-Echo: 1\r\n", head.method + b" " + head.target + b" " + body.data)

        exchange.receive(Body(done))


def error_page(status: int, phrase: str, sign_in: SignIn | None) -> Page:
    return Page(b"Content-Type: text/html; charset=utf-8\r\n", f"<h1>{status} {phrase}</h1>{sign_in or ''}".encode())


class Site:
    """The site of a channel. Every request goes to ``target`` by way of `dispatch`, unless the test replaces that."""

    def __init__(self, target: Any, clock: Clock | None = None, limits: LimitSettings | None = None) -> None:
        self.reactor = clock or Clock()
        self.limits = limits or LimitSettings()
        self.clock = self.reactor.seconds
        self.next_id_line: Callable[[], bytes] = no_line
        self.deadlines = Deadlines(self.reactor)
        self.turns = Turns(self.reactor)
        self.audit = Audit()
        self.refusals = RefusalLog(self.clock)
        self.answers = Answers("realm", ("https://gw/token",), error_page, {}, self.clock)
        self.connections = Connections()
        self.route = Route(name="a-route", prefix=b"", target=target, audit=self.audit)

    def dispatch(self, exchange: Exchange) -> None:
        exchange.decision = Admitted(self.route, None, exchange.head.target, b"", exchange.connection.address)
        try:
            self.route.target.handle(exchange)
        except Exception as error:
            refuse_on_error(exchange, error)


class Client:
    """A client's end of one connection."""

    def __init__(self, site: Any, tls_version: str = "", peer: str = "192.0.2.7") -> None:
        self.site = site
        self.transport = FakeTransport(site.reactor, tls_version, peer)
        self.channel = Http1Connection(site, "https", 9443)
        site.audit.transport = self.transport
        self.transport.connect(self.channel)

    def send(self, data: bytes) -> None:
        """``data`` arrives, and turns of the loop pass until its work is done."""
        self.transport.receive(data)
        while self.site.turns:
            self.site.reactor.advance(NEXT_TURN)

    def get(self, target: str = "/", *lines: str) -> None:
        self.request("GET", target, *lines)

    def request(self, method: str, target: str, *lines: str, body: bytes = b"", host: str = "gw.example") -> None:
        fields = "".join(f"{line}\r\n" for line in (f"Host: {host}", *lines))
        self.send(f"{method} {target} HTTP/1.1\r\n{fields}\r\n".encode("latin-1") + body)

    def responses(self, *methods: bytes) -> list[Response]:
        return read_responses(self.transport.arrived, methods, self.transport.ended)

    def response(self, *methods: bytes) -> Response:
        found = [response for response in self.responses(*methods) if not response.interim]
        assert len(found) == 1, found
        return found[0]

    @property
    def closed(self) -> bool:
        """Whether the gateway has closed cleanly: the client reads the end after the last response."""
        return (self.transport.disconnecting or self.transport.half_closed) and not self.transport.aborted

    @property
    def lingers(self) -> bool:
        """Whether the gateway has answered for the last time, and reads and discards the rest of the request."""
        return self.channel._phase is Phase.LINGER and not self.closed and not self.transport.aborted

    @property
    def records(self) -> list[AccessRecord]:
        return self.site.audit.records  # type: ignore[no-any-return]

    def wait(self, seconds: float) -> None:
        """Time passes, in steps in which the sweep of deadlines runs."""
        clock = self.site.reactor
        until = clock.seconds() + seconds
        while clock.seconds() < until - 1e-9:
            clock.advance(min(0.25, until - clock.seconds()))
