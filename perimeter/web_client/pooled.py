"""The only way to call other HTTP services: treq over a pooled agent, hardened against hostile servers.

A `PooledClient` follows no redirects. It keeps no cookies: a cookie that was set for one user's token must not be sent with the
next user's token (attack 33). It accepts no compressed bodies, and reads at most `MAX_RECEIVED` bytes of an answer, head and
framing included (attack 23). TLS is always verified. `perimeter.web_client.client` handles timeouts and reads the answers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from cryptography import x509
from OpenSSL import SSL
from OpenSSL.crypto import X509, X509StoreFlags
from treq.client import HTTPClient
from twisted.internet._sslverify import IOpenSSLTrustRoot  # it has no public name
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import Protocol
from twisted.internet.ssl import Certificate, trustRootFromCertificates
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.web.client import URI, Agent, BrowserLikePolicyForHTTPS, HTTPConnectionPool
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IAgentEndpointFactory, IBodyProducer, IResponse
from zope.interface import implementer

from perimeter.descriptors import system_reason
from perimeter.errors import StartupError, Unavailable

MAX_BODY = 64 * 1024
"""Bytes of a body that are read."""

MAX_RECEIVED = MAX_BODY + 64 * 1024
"""Bytes that are accepted in answer to one request, head and framing included."""

IDLE_CONNECTIONS = 8
"""Idle connections kept for each server."""

IDLE_TIME = 4.0
"""Seconds that an idle connection is kept: servers keep theirs longer, so a request seldom meets a closed one."""

CONNECT_TIMEOUT = 5.0
"""Seconds."""


class _BoundedConnection(ProtocolWrapper):
    """Counts the bytes received since the last write, and aborts the connection when there are more than `MAX_RECEIVED`."""

    received = 0

    def write(self, data: bytes) -> None:
        self.received = 0
        super().write(data)  # type: ignore[no-untyped-call]

    def writeSequence(self, data: Iterable[bytes]) -> None:
        self.received = 0
        super().writeSequence(data)  # type: ignore[no-untyped-call]

    def dataReceived(self, data: bytes) -> None:
        self.received += len(data)
        if self.received > MAX_RECEIVED:
            transport: Any = self.transport
            transport.abortConnection()
            return
        super().dataReceived(data)  # type: ignore[no-untyped-call]


class _BoundedFactory(WrappingFactory):
    """Puts a `_BoundedConnection` beneath each protocol."""

    protocol = _BoundedConnection
    noisy = False


@implementer(IStreamClientEndpoint)
class _BoundedEndpoint:
    """Connects as ``endpoint`` does, with a limit on received bytes. Returns the protocol itself, not its wrapper."""

    def __init__(self, endpoint: IStreamClientEndpoint) -> None:
        self._endpoint = endpoint

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """See `IStreamClientEndpoint`."""
        connected: Deferred[Any] = self._endpoint.connect(_BoundedFactory(protocolFactory))  # type: ignore[no-untyped-call]
        return connected.addCallback(lambda wrapper: wrapper.wrappedProtocol)


@implementer(IAgentEndpointFactory)
class _Endpoints:
    """The endpoints of an agent: directly to the server, without a proxy; https is verified."""

    def __init__(self, reactor: Any, policy: BrowserLikePolicyForHTTPS) -> None:
        self._reactor = reactor
        self._policy = policy

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        """See `IAgentEndpointFactory`."""
        endpoint: IStreamClientEndpoint = HostnameEndpoint(self._reactor, uri.host, uri.port, timeout=CONNECT_TIMEOUT)
        if uri.scheme == b"https":
            endpoint = wrapClientTLS(self._policy.creatorForNetloc(uri.host, uri.port), endpoint)
        return _BoundedEndpoint(endpoint)


@implementer(IAgent)
class _PlainAgent:
    """Removes what treq would act upon by itself: cookies, and the request for compressed bodies."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    def request(
        self, method: bytes, uri: bytes, headers: Headers | None = None, bodyProducer: IBodyProducer | None = None
    ) -> Deferred[IResponse]:
        """See `IAgent`."""
        sent = Headers() if headers is None else headers.copy()
        sent.removeHeader(b"Accept-Encoding")
        return self._agent.request(method, uri, sent, bodyProducer).addCallback(_plain)


class _Unread(Protocol):
    """Aborts the connection without reading the body."""

    def connectionMade(self) -> None:
        transport: Any = self.transport
        transport.abortConnection()


def _plain(response: IResponse) -> IResponse:
    response.headers.removeHeader(b"Set-Cookie")
    if response.headers.hasHeader(b"Content-Encoding"):
        # A few compressed bytes may expand to gigabytes, and the request did not accept compression.
        response.deliverBody(_Unread())
        raise Unavailable("the answer is compressed, although the request did not accept that")
    return response


class PooledClient:
    """A treq client and its pool of connections. ``ca_certificate`` (PEM) replaces the system's CAs.

    Raises `StartupError` if that file cannot be used.
    """

    def __init__(self, reactor: Any, ca_certificate: Path | None) -> None:
        policy = BrowserLikePolicyForHTTPS() if ca_certificate is None else BrowserLikePolicyForHTTPS(_roots(ca_certificate))
        self._pool = HTTPConnectionPool(reactor)
        self._pool.maxPersistentPerHost = IDLE_CONNECTIONS
        self._pool.cachedConnectionTimeout = IDLE_TIME  # type: ignore[assignment]  # Twisted annotates it as int by mistake
        self._pool._factory.noisy = False
        agent = Agent.usingEndpointFactory(reactor, _Endpoints(reactor, policy), self._pool)
        self.http = HTTPClient(_PlainAgent(agent))

    def close(self) -> Deferred[None]:
        """Close the idle connections."""
        closed: Deferred[Any] = self._pool.closeCachedConnections()
        return closed.addCallback(lambda _: None)


@implementer(IOpenSSLTrustRoot)
class _TrustAnchors:
    """Lets each certificate of a file end a chain: an intermediate, or the certificate of the server itself."""

    def __init__(self, certificates: Sequence[x509.Certificate]) -> None:
        self._trusted: Any = trustRootFromCertificates([Certificate(X509.from_cryptography(one)) for one in certificates])

    def _addCACertsToContext(self, context: SSL.Context) -> None:
        self._trusted._addCACertsToContext(context)
        store = context.get_cert_store()
        assert store is not None
        store.set_flags(X509StoreFlags.PARTIAL_CHAIN)


def _roots(path: Path) -> _TrustAnchors:
    try:
        certificates: Sequence[x509.Certificate] = x509.load_pem_x509_certificates(path.read_bytes())
    except OSError as error:
        raise StartupError(f"{path}: cannot read the CA certificates: {system_reason(error)}") from error
    except ValueError:
        raise StartupError(f"{path}: the file contains no CA certificate in PEM format") from None
    try:
        return _TrustAnchors(certificates)
    except SSL.Error:
        raise StartupError(f"{path}: OpenSSL does not accept these CA certificates") from None
