"""The only HTTP client for other services: treq over a pooled agent, hardened against their answers.

An `HttpClient` follows no redirects, keeps no cookies (what was set for one user's token must not go out with the next one's:
attack 33), takes no compressed bodies, and reads no more of an answer than `MAX_RECEIVED`, its head and framing included
(attack 23). TLS is always verified. Timeouts and the meaning of answers are `perimeter.web_client.client`'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cryptography import x509
from OpenSSL import SSL
from OpenSSL.crypto import X509
from treq.client import HTTPClient
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.interfaces import IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import Protocol
from twisted.internet.ssl import Certificate, trustRootFromCertificates
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.web.client import URI, Agent, BrowserLikePolicyForHTTPS, HTTPConnectionPool
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IAgentEndpointFactory, IBodyProducer, IResponse
from zope.interface import implementer

from perimeter.errors import StartupError, Unavailable

MAX_BODY = 64 * 1024
"""Bytes of the longest body."""

MAX_RECEIVED = MAX_BODY + 64 * 1024
"""Bytes of the longest answer to one request, header and framing included."""

IDLE_CONNECTIONS = 8
"""Idle connections kept for each server, for `IDLE_TIME` seconds: less than servers keep theirs, to avoid closed ones."""

IDLE_TIME = 4.0

CONNECT_TIMEOUT = 5.0


class _BoundedConnection(ProtocolWrapper):
    """Counts the bytes received since the last request, and cuts the connection if there are too many."""

    received = 0

    def write(self, data: bytes) -> None:
        self.received = 0
        super().write(data)  # type: ignore[no-untyped-call]

    def writeSequence(self, data: Any) -> None:
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
    """Connects as ``endpoint`` does, and fires with the protocol itself instead of the wrapper."""

    def __init__(self, endpoint: IStreamClientEndpoint) -> None:
        self._endpoint = endpoint

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[Any]:
        """See `IStreamClientEndpoint`."""
        connected: Deferred[Any] = self._endpoint.connect(_BoundedFactory(protocolFactory))  # type: ignore[no-untyped-call]
        return connected.addCallback(lambda wrapper: wrapper.wrappedProtocol)


@implementer(IAgentEndpointFactory)
class _Endpoints:
    """Connects an agent directly to the server, without a proxy, and verifies the certificate if the URL is https."""

    def __init__(self, reactor: Any, policy: BrowserLikePolicyForHTTPS) -> None:
        self._reactor = reactor
        self._policy = policy

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        """See `IAgentEndpointFactory`."""
        endpoint: Any = HostnameEndpoint(self._reactor, uri.host, uri.port, timeout=CONNECT_TIMEOUT)
        if uri.scheme == b"https":
            endpoint = wrapClientTLS(self._policy.creatorForNetloc(uri.host, uri.port), endpoint)
        return _BoundedEndpoint(endpoint)


@implementer(IAgent)
class _PlainAgent:
    """Below treq: removes what its cookies and its decompression would act on."""

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
    """Aborts the connection instead of reading a body."""

    def connectionMade(self) -> None:
        transport: Any = self.transport
        transport.abortConnection()


def _plain(response: Any) -> Any:
    response.headers.removeHeader(b"Set-Cookie")
    if response.headers.hasHeader(b"Content-Encoding"):
        # A few bytes could expand to gigabytes, and the request did not ask for compression.
        response.deliverBody(_Unread())
        raise Unavailable("a compressed answer, which was not requested")
    return response


class PooledClient:
    """A treq client and its pool of connections. ``ca_certificate`` (PEM) replaces the CAs of the system.

    Raises `StartupError` where that file cannot be used.
    """

    def __init__(self, reactor: Any, ca_certificate: Path | None) -> None:
        policy = BrowserLikePolicyForHTTPS() if ca_certificate is None else BrowserLikePolicyForHTTPS(_roots(ca_certificate))
        self._pool = HTTPConnectionPool(reactor)
        self._pool.maxPersistentPerHost = IDLE_CONNECTIONS
        self._pool.cachedConnectionTimeout = IDLE_TIME  # type: ignore[assignment]  # Twisted's is an int, and is not meant so
        self._pool._factory.noisy = False
        agent = Agent.usingEndpointFactory(reactor, _Endpoints(reactor, policy), self._pool)
        self.http = HTTPClient(_PlainAgent(agent))

    def close(self) -> Deferred[None]:
        """Close the idle connections."""
        closed: Deferred[Any] = self._pool.closeCachedConnections()
        return closed.addCallback(lambda _: None)


def _roots(path: Path) -> Any:
    try:
        certificates: Sequence[x509.Certificate] = x509.load_pem_x509_certificates(path.read_bytes())
    except OSError as error:
        raise StartupError(f"{path}: cannot read the CA certificates: {error.strerror}") from error
    except ValueError:
        raise StartupError(f"{path}: there is no CA certificate in PEM form") from None
    try:
        return trustRootFromCertificates([Certificate(X509.from_cryptography(one)) for one in certificates])
    except SSL.Error:
        raise StartupError(f"{path}: OpenSSL does not take these CA certificates") from None
