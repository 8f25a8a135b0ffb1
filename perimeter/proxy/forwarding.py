"""The target of a route with an upstream: it sends each admitted exchange as one request to the upstream.

A request is sent once. It is sent again, on a new connection, only if the server closed a pooled connection, no byte of a
response arrived, no byte of a body was read from the client, and the method allows it (RFC 9110, section 9.2.2).
"""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import TimeoutError as ConnectTimeout
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from perimeter.config.site.server import ServerSettings
from perimeter.errors import Refusal, UpstreamBadReply, UpstreamTimeout, UpstreamUnreachable
from perimeter.gate.decision import Admitted
from perimeter.gate.routes import Route
from perimeter.gate.target import ITarget
from perimeter.http.exchange import Exchange, refuse_on_error
from perimeter.http.grammar import offered_protocols
from perimeter.http.h1.framing import chunk, last_chunk
from perimeter.http.roles import IBodySink, IResponder
from perimeter.model import EarlyEnd, Field, HeaderBlock, ResponseHead, Version
from perimeter.proxy.connection import UpstreamConnection
from perimeter.proxy.faults import connection_fault
from perimeter.proxy.headers import HeaderRules, announced_prefix, relayed_host, request_head
from perimeter.proxy.introduction import introduction
from perimeter.proxy.mapping import map_back
from perimeter.proxy.pool import PooledServer, UpstreamPool

_log = Logger()

#: Methods of requests that may be sent twice (RFC 9110, section 9.2.2).
_IDEMPOTENT = frozenset((b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE"))


@implementer(ITarget)
class ProxyTarget:
    """Forwards to the servers of ``pool``, each request by a ``forwarding``. ``rules`` says which headers pass."""

    def __init__(self, pool: UpstreamPool, rules: HeaderRules, forwarding: type[Forwarding] | None = None) -> None:
        self.pool = pool
        self.rules = rules
        self.name = pool.name
        self._forwarding = forwarding or Forwarding
        first = pool.settings.servers[0]
        #: the authorities that this upstream may use in URLs that refer to itself
        self.authorities = (*(_authority(server) for server in pool.settings.servers), *([rules.host] if rules.host else []))
        self.fallback_host = _authority(first)
        #: what a connection for a client begins with
        self.introduce = introduction(pool.settings.proxy_protocol)

    def handle(self, exchange: Exchange) -> None:
        """Send the exchange's request to the upstream. Raises `LoopDetected` if it has passed too many gateways."""
        self._forwarding(self, exchange).begin()


def _authority(server: ServerSettings) -> bytes:
    """The authority of a server in a URL."""
    if server.path:
        return server.authority.encode("ascii")
    host = f"[{server.host}]" if ":" in server.host else server.host
    default = {"http": 80, "https": 443}.get(server.scheme)
    return (host if server.port in (0, default) else f"{host}:{server.port}").lower().encode("ascii")


def _destination(server: ServerSettings) -> str:
    return server.path or f"{server.host}:{server.port}"


#: Schemes of credentials that hold for one request.
_EACH_REQUEST = frozenset((b"basic", b"bearer", b"digest", b"dpop", b"token", b"apikey", b"aws4-hmac-sha256"))


def wanted_upgrade(exchange: Exchange, route: Route) -> bytes | None:
    """The protocols that the client offers and the route allows, as they are forwarded in Upgrade, or None if there are none.

    "A server MAY ignore a received Upgrade header field if it wishes to continue using the current protocol" (RFC 9110, section
    7.8): an offer that the route does not allow is ignored, and the service does not see it. ``h2c`` would carry requests past
    the gate (attack 20); many clients offer it with every request.
    """
    upgrade = exchange.head.headers.upgrade
    # "A server that receives an Upgrade header field in an HTTP/1.0 request MUST ignore that Upgrade field" (same section).
    if upgrade is None or exchange.has_body or exchange.head.version is Version.HTTP_1_0:
        return None
    allowed = route.upgrades
    wanted = [
        protocol
        for protocol in offered_protocols(upgrade)
        if protocol.lower() in allowed or protocol.partition(b"/")[0].lower() in allowed
    ]
    return b", ".join(wanted) or None


def binds_connection(headers: HeaderBlock) -> bool:
    """Whether the client's credentials may hold for the connection that they came over, as with NTLM and Negotiate (RFC 4559).

    The next request on it may be another client's, and would be served as this one's user (attack 56).
    """
    return any(value.partition(b" ")[0].lower() not in _EACH_REQUEST for value in headers.authorization)


def _offer_lines(head: ResponseHead) -> bytes:
    """The header lines of a 426 response for the client: "The server MUST send an Upgrade header field in a 426 response to
    indicate the required protocol(s)" (RFC 9110, section 15.5.22). Other responses need none."""
    protocols = offered_protocols(b",".join(head.headers.get_all(b"upgrade")))
    return b"Connection: upgrade\r\nUpgrade: %b\r\n" % b", ".join(protocols) if protocols else b""


def _lower(protocols: list[bytes]) -> set[bytes]:
    return {protocol.lower() for protocol in protocols}


@implementer(IResponder, IBodySink)
class Forwarding:
    """One request under way: it connects an `Exchange` with an `UpstreamConnection` of the upstream's one server."""

    __slots__ = (
        "_body_taken",
        "_connecting",
        "_connection",
        "_decision",
        "_exchange",
        "_fresh",
        "_head",
        "_paused",
        "_repeatable",
        "_route",
        "_server",
        "_target",
        "_upgrade",
    )

    def __init__(self, target: ProxyTarget, exchange: Exchange) -> None:
        self._target = target
        self._exchange = exchange
        self._connection: UpstreamConnection | None = None
        self._connecting: Deferred[UpstreamConnection] | None = None
        self._body_taken = False
        self._paused = False
        decision = exchange.decision
        assert isinstance(decision, Admitted)
        self._decision = decision
        self._route = decision.route
        self._upgrade = wanted_upgrade(exchange, decision.route)
        self._head = request_head(exchange, decision, target.rules, target.fallback_host, self._upgrade)

    def begin(self) -> None:
        """Send the request to the one server of the upstream."""
        self._exchange.responder = self
        self._start(self._target.pool.choice.balancer.servers[0])

    def _start(self, server: PooledServer) -> None:
        """Send the request to ``server``, over an idle connection or a new one."""
        self._server = server
        self._fresh = False
        exchange = self._exchange
        #: the request may be sent twice, even if the first time had an effect
        self._repeatable = repeatable = not exchange.has_body and exchange.head.method in _IDEMPOTENT
        connection = self._target.pool.take(server, repeatable)
        if connection is None:
            self._connect()
        else:
            self._use(connection)

    def _connect(self) -> None:
        """Open a connection to the server."""
        self._fresh = True
        server = self._server
        pool = self._target.pool
        attempt = pool.connect(server, preface=self._target.introduce(self._exchange.connection, self._decision.address))

        def connected(connection: UpstreamConnection) -> None:
            self._connecting = None
            pool.choice.reached(server)
            if self._exchange.ended:
                connection.drop()
            else:
                self._use(connection)

        def failed(failure: Failure) -> None:
            self._connecting = None
            if failure.check(CancelledError) and self._exchange.ended:
                return
            fault = connection_fault(failure.value, pool.settings.connect_timeout)
            pool.choice.unreachable(server, fault)
            detail = f"upstream {pool.name}: cannot connect to {_destination(server.settings)}: {fault}"
            self._not_connected(UpstreamTimeout(detail) if failure.check(ConnectTimeout) else UpstreamUnreachable(detail))

        # Before the callbacks, because the attempt may end at once, and the next attempt then replaces it.
        self._connecting = attempt
        attempt.addCallbacks(connected, failed).addErrback(self._broken)

    def _not_connected(self, refusal: Refusal) -> None:
        """The gateway could not connect to the server, and has sent nothing."""
        self._exchange.refuse(refusal)

    def _unanswered(self, refusal: Refusal) -> None:
        """The server has answered badly or not at all. If the response has begun, the client's connection is cut."""
        self._exchange.refuse(refusal)

    def _broken(self, failure: Failure) -> None:
        """A bug in the gateway. It is not reported as a failure of the upstream (attack 41)."""
        self.client_gone()
        error = failure.value
        assert error is not None
        refuse_on_error(self._exchange, error)

    def _use(self, connection: UpstreamConnection) -> None:
        exchange = self._exchange
        self._connection = connection
        has_body = exchange.has_body
        connection.begin(self, head_only=exchange.head.method == b"HEAD", tunnel=self._upgrade is not None, complete=not has_body)
        route = self._route
        if (route.passes_authorization or route.app_authorization) and binds_connection(exchange.head.headers):
            connection.close_after()
        if not has_body:
            connection.send(self._head)
            return
        # The head is sent together with the part of the body that has arrived.
        self._body_taken = True
        exchange.receive(self)
        self._flush_head()

    def _flush_head(self) -> None:
        head, self._head = self._head, b""
        if head and self._connection is not None:
            self._connection.send(head)

    # -- the request's body (IBodySink)

    def body_data(self, data: bytes) -> None:
        """Bytes of the body or the tunnel, from the client."""
        connection = self._connection
        if connection is None:
            return
        if self._exchange.head.headers.chunked:
            data = chunk(data)
        if self._head:
            data = self._head + data
            self._head = b""
        connection.send(data)

    def body_end(self, trailers: Sequence[Field]) -> None:
        """The body is complete."""
        connection = self._connection
        if connection is None:
            return
        if self._exchange.head.headers.chunked:
            self._flush_head()
            connection.send(last_chunk(self._target.rules.trailers(trailers)))
        connection.request_sent()

    # -- the client's side (IResponder)

    def pause(self) -> None:
        """The client reads more slowly than the response arrives."""
        self._paused = True
        if self._connection is not None:
            self._connection.pause()

    def resume(self) -> None:
        """The client has read what was sent."""
        self._paused = False
        if self._connection is not None:
            self._connection.resume()

    def client_gone(self) -> None:
        """The client has closed the connection, so the response is not needed any more."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.leave()
        if self._connecting is not None:
            self._connecting.cancel()

    # -- the upstream's side (ReplyReceiver)

    def pause_request(self) -> None:
        """The upstream reads the body more slowly than the client sends it."""
        self._exchange.pause_body()

    def resume_request(self) -> None:
        """The upstream has read what was sent."""
        self._exchange.resume_body()

    def reply_interim(self, head: ResponseHead) -> None:
        """Pass on early hints (RFC 8297) if the route wants them: some clients take them for the final response.

        "A proxy MUST forward 1xx responses unless the proxy itself requested the generation of the 1xx response" (RFC 9110,
        section 15.2) is for proxies that a client chose; an intermediary that acts for the service decides in its place. The
        gateway itself sends 100, and 102 is dropped.
        """
        if head.status == 103 and self._route.early_hints:
            self._exchange.interim(103, self._lines(head))

    def reply_head(self, head: ResponseHead, length: int | None) -> None:
        """The final response or the tunnel begins."""
        exchange = self._exchange
        if head.status == 101:
            connection = self._connection
            assert connection is not None
            upgrade = head.headers.upgrade
            protocols = offered_protocols(upgrade or b"")
            # "A server MUST NOT switch to a protocol that was not indicated by the client" (RFC 9110, section 7.8). The gateway
            # offered only what the route allows: h2c would carry requests past the gate (attack 20).
            if not protocols or not _lower(protocols) <= _lower(offered_protocols(self._upgrade or b"")):
                raise UpstreamBadReply("a switch to a protocol that was not offered")
            connection.become_tunnel()
            self._head = b""
            exchange.switch(self._lines(head) + b"Connection: upgrade\r\nUpgrade: %b\r\n" % b", ".join(protocols), self)
            return
        exchange.start(head.status, self._final_lines(head), length, head.reason, flush=False)

    def _final_lines(self, head: ResponseHead) -> bytes:
        """The header lines of the final response, with a Date if the upstream sent none (RFC 9110, section 6.6.1)."""
        lines = self._lines(head)
        if head.status == 426:
            lines += _offer_lines(head)
        return lines if head.headers.dated else lines + self._exchange.date_line()

    def _lines(self, head: ResponseHead) -> bytes:
        return self._target.rules.response_lines(head.headers, self._map_value, self._exchange)

    def _map_value(self, name: bytes, value: bytes) -> bytes:
        head = self._exchange.head
        own = (*self._target.authorities, head.host.lower())
        told = relayed_host(head.headers).lower() if self._decision.relayed else b""
        if told:
            own = (*own, told)
        host = self._target.rules.host
        return map_back(name, value, own, self._outer_path, (host, told or head.host) if host else None)

    def _outer_path(self, path: bytes) -> bytes:
        """A path that the service speaks of, for the client. One with the prefix that the service was told is right already."""
        announced = announced_prefix(self._exchange.head.headers, self._decision)
        if announced and (path == announced or path.startswith(announced + b"/")):
            return path
        return self._route.outer_path(path)

    def reply_whole(self, head: ResponseHead, body: bytes) -> None:
        """The complete final response: it is sent with one write (which saves 6 µs, compared with a response in parts)."""
        connection, self._connection = self._connection, None
        if self._paused and connection is not None:
            connection.resume()
        self._exchange.answer(head.status, self._final_lines(head), body, head.reason)

    def reply_data(self, data: bytes) -> None:
        """Bytes of the response's body or of the tunnel."""
        exchange = self._exchange
        if exchange.tunnel:
            exchange.tunnel_send(data)
        else:
            exchange.write(data)

    def reply_settled(self) -> None:
        """Send everything that has arrived to the client, even a response head without a body."""
        exchange = self._exchange
        if exchange.held:
            exchange.flush()

    def reply_end(self, trailers: Sequence[Field]) -> None:
        """The response is complete."""
        connection, self._connection = self._connection, None
        if self._paused and connection is not None:
            connection.resume()
        self._exchange.finish(self._target.rules.trailers(trailers) if trailers else ())

    def reply_failed(self, refusal: UpstreamBadReply) -> None:
        """The response is invalid."""
        self._connection = None
        refusal.detail = f"upstream {self._target.name}: {refusal.detail}"
        self._unanswered(refusal)

    def reply_lost(self, clean: bool, seen: bool) -> None:
        """The upstream closed the connection before the response was complete. Send the request again if that is safe."""
        connection, self._connection = self._connection, None
        exchange = self._exchange
        if exchange.tunnel:
            exchange.tunnel_close(None if clean else EarlyEnd.UPSTREAM_ABORTED)
        elif exchange.started:
            exchange.abort(EarlyEnd.UPSTREAM_ABORTED)
        elif seen:
            self._unanswered(UpstreamBadReply(f"upstream {self._target.name}: closed in the middle of the response head"))
        elif self._fresh or self._body_taken or exchange.head.method not in _IDEMPOTENT:
            fault = "" if connection is None else connection.fault
            why = fault or "it closed the connection before it answered: it may have failed, or servers may need https://"
            self._unanswered(UpstreamUnreachable(f"upstream {self._target.name}: {why}"))
        else:
            self._connect()

    def reply_timeout(self) -> None:
        """The upstream did not answer in time."""
        self._connection = None
        exchange = self._exchange
        if exchange.started:
            exchange.abort(EarlyEnd.UPSTREAM_TIMEOUT)
        else:
            self._unanswered(UpstreamTimeout(f"upstream {self._target.name}: no answer within read_timeout"))
