"""An upstream without sockets, for a real `ProxyTarget` in tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from perimeter.config.site.server import ServerSettings
from perimeter.config.site.upstream import UpstreamSettings
from perimeter.gate.decision import Admitted
from perimeter.gate.routes import Route
from perimeter.http.exchange import Exchange, refuse_on_error
from perimeter.model import Principal
from perimeter.proxy.balanced import proxy_target
from perimeter.proxy.compressed import CompressingTarget
from perimeter.proxy.compression import Compression
from perimeter.proxy.connection import UpstreamConnection
from perimeter.proxy.headers import HeaderRules
from perimeter.proxy.pool import UpstreamPool
from tests.unit.doubles.http_rig import Client, FakeTransport, Site

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@attrs.define
class Attempt:
    """A connection that the pool asks for."""

    clock: Clock
    server: ServerSettings
    factory: Callable[[], UpstreamConnection]
    timeout: float
    address: str = ""
    preface: bytes = b""
    result: Deferred[UpstreamConnection] = attrs.field(init=False)
    cancelled: bool = False

    def __attrs_post_init__(self) -> None:
        def cancel(result: Deferred[UpstreamConnection]) -> None:
            self.cancelled = True

        self.result = Deferred(cancel)

    def accept(self) -> Peer:
        peer = Peer(self.clock, self.server)
        peer.connection = self.factory()
        peer.transport.connect(peer.connection)
        self.result.callback(peer.connection)
        return peer

    def fail(self, error: Exception) -> None:
        self.result.errback(error)


class Peer:
    """The upstream's end of one connection."""

    connection: UpstreamConnection

    def __init__(self, clock: Clock, server: ServerSettings) -> None:
        self.transport = FakeTransport(clock)
        self.server = server
        self._read = 0

    def request(self) -> bytes:
        """The bytes that arrived since the last call."""
        data = self.transport.written[self._read :]
        self._read = len(self.transport.written)
        return data

    def reply(self, data: bytes) -> None:
        self.transport.receive(data)

    @property
    def dropped(self) -> bool:
        return self.transport.aborted

    @property
    def ended(self) -> bool:
        return self.transport.disconnecting


def _server(text: str) -> ServerSettings:
    """A server by its host, and perhaps ``*WEIGHT`` or ``backup`` after it; or by the path of its unix socket."""
    if text.startswith("/"):
        return ServerSettings("unix", "", 0, path=text)
    host, _, words = text.partition(" ")
    host, _, weight = host.partition("*")
    return ServerSettings("http", host, 8080, int(weight or 1), words == "backup")


class Gateway(Site):
    """A site whose requests all go to one upstream. Tests may change the attributes of the route and the decision."""

    def __init__(
        self,
        *servers: str,
        rules: HeaderRules | None = None,
        settings: dict[str, Any] | None = None,
        compression: Compression | None = None,
        **route: Any,
    ) -> None:
        clock = Clock()
        hosts = servers or ("one",)
        configured = UpstreamSettings(
            "backend", tuple(_server(host) for host in hosts), **{"read_timeout": 60.0, **(settings or {})}
        )
        super().__init__(None, clock)
        self.attempts: list[Attempt] = []
        self.pool = UpstreamPool(configured, self.dial, self.deadlines, self.turns, self.clock)
        passing = rules or HeaderRules()
        self.target = (
            proxy_target(self.pool, passing) if compression is None else CompressingTarget(self.pool, passing, compression)
        )
        options = {"name": "a-route", "prefix": b"", **route}
        self.route = Route(target=self.target, audit=self.audit, **options)
        self.identity = b""
        self.address: str | None = None
        self.principal: Principal | None = None
        self.relayed: tuple[str, ...] = ()
        self.exchanges: list[Exchange] = []

    def dial(
        self,
        server: ServerSettings,
        factory: Callable[[], UpstreamConnection],
        timeout: float,
        address: str = "",
        preface: bytes = b"",
    ) -> Deferred[UpstreamConnection]:
        attempt = Attempt(self.reactor, server, factory, timeout, address, preface)
        self.attempts.append(attempt)
        return attempt.result

    def dispatch(self, exchange: Exchange) -> None:
        self.exchanges.append(exchange)
        target = self.route.forwarded_path(exchange.head.target)
        address = self.address or exchange.connection.address
        exchange.decision = Admitted(self.route, self.principal, target, self.identity, address, self.relayed)
        try:
            self.target.handle(exchange)
        except Exception as error:
            refuse_on_error(exchange, error)

    @property
    def idle(self) -> int:
        """The idle connections in the pool."""
        return self.pool.idle_count

    def client(self, tls_version: str = "") -> Client:
        return Client(self, tls_version)

    def begun(self, method: str = "GET", target: str = "/", *lines: str, body: bytes = b"") -> tuple[Client, Peer]:
        """A client whose request has arrived on a new connection to the upstream."""
        client = self.client()
        client.request(method, target, *lines, body=body)
        return client, self.attempts[-1].accept()
