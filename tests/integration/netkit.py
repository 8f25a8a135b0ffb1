"""Shared by the tests of perimeter.net: certificates, a listener on loopback, recording protocols, and blocking clients."""

from __future__ import annotations

import hashlib
import select
import socket
import ssl
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL
from twisted.internet import protocol, reactor
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial import unittest
from zope.interface import implementer

from perimeter.config.site.listener import ListenerSettings
from perimeter.net.connection_limits import ConnectionLimits
from perimeter.net.contexts import ServerContexts, ServerIdentity
from perimeter.net.deadlines import Deadlines
from perimeter.net.listeners import ListeningPort, listen


def certificate(
    key: Any,
    names: tuple[str, ...],
    *,
    issuer: ServerIdentity | None = None,
    ca: bool = False,
    start: datetime | None = None,
    days: float = 100,
    common: str = "",
) -> x509.Certificate:
    end = (start or datetime.now(UTC) - timedelta(hours=1)) + timedelta(days=days)
    # a long life: one with a short life is to be renewed later (`perimeter.net.certificates.date_findings`)
    start = start or datetime.now(UTC) - timedelta(days=100)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common or (names[0] if names else "nobody"))])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.chain[0].subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([_general(name) for name in names]), critical=False)
    return builder.sign(issuer.key if issuer else key, hashes.SHA256())


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def identity(*names: str, issuer: ServerIdentity | None = None, ca: bool = False, **options: Any) -> ServerIdentity:
    key = ec.generate_private_key(ec.SECP256R1())
    own = certificate(key, names, issuer=issuer, ca=ca, **options)
    return ServerIdentity((own, *(issuer.chain if issuer else ())), key, "test")


def rsa_identity(*names: str, issuer: ServerIdentity | None = None) -> ServerIdentity:
    """An identity with an RSA key, for clients that do not accept ECDSA."""
    key = rsa.generate_private_key(65537, 2048)
    return ServerIdentity((certificate(key, names, issuer=issuer), *(issuer.chain if issuer else ())), key, "test-rsa")


def pem(*certificates: x509.Certificate) -> bytes:
    return b"".join(one.public_bytes(Encoding.PEM) for one in certificates)


class Remembering(protocol.Protocol):
    """Collects what it receives; ``on_data`` may answer."""

    def __init__(self, on_data: Callable[[Any, bytes], None] | None = None, on_made: Callable[[Any], None] | None = None) -> None:
        self.on_data = on_data
        self.on_made = on_made
        self.received = bytearray()
        self.is_lost = False
        self.made: Deferred[Any] = Deferred()
        self.lost: Deferred[Any] = Deferred()
        self.waiting: list[tuple[int, Deferred[Any]]] = []

    def connectionMade(self) -> None:
        if self.on_made:
            self.on_made(self)
        self.made.callback(self)

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        if self.on_data:
            self.on_data(self, data)
        for entry in [entry for entry in self.waiting if entry[0] <= len(self.received)]:
            self.waiting.remove(entry)
            entry[1].callback(None)

    def until(self, size: int) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()
        if len(self.received) >= size:
            done.callback(None)
        else:
            self.waiting.append((size, done))
        return done

    def connectionLost(self, reason: Any = None) -> None:
        self.is_lost = True
        self.lost.callback(reason.value)


@implementer(IHalfCloseableProtocol)
class HalfClosing(Remembering):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.read_ends = 0
        self.write_ends = 0
        self.read_end: Deferred[Any] = Deferred()

    def readConnectionLost(self) -> None:
        self.read_ends += 1
        if self.read_ends == 1:
            self.read_end.callback(None)

    def writeConnectionLost(self) -> None:
        self.write_ends += 1


class Serving(protocol.Factory):
    """Builds protocols, and lets a test wait for the next one."""

    noisy = False

    def __init__(self, make: Callable[[], Remembering]) -> None:
        self.make = make
        self.built: list[Remembering] = []
        self.waiting: list[Deferred[Any]] = []

    def buildProtocol(self, addr: Any) -> Remembering:
        made = self.make()
        self.built.append(made)
        if self.waiting:
            made.made.chainDeferred(self.waiting.pop(0))
        return made

    def next(self) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()
        self.waiting.append(done)
        return done


def pause(seconds: float) -> Deferred[None]:
    return deferLater(reactor, seconds)


async def eventually(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    """Run the reactor until ``condition`` is true. Fails if it does not become true in time."""
    end = reactor.seconds() + seconds
    while not condition():
        if reactor.seconds() > end:
            raise AssertionError("this did not come to pass")
        await pause(0.005)


class NetTestCase(unittest.TestCase):
    timeout = 60

    def setUp(self) -> None:
        self.deadlines = Deadlines(reactor, tick=0.02)
        self.limits = ConnectionLimits()
        self.ports: list[ListeningPort] = []
        self.servings: list[Serving] = []
        self.sockets: list[Any] = []

    async def tearDown(self) -> None:
        for client in self.sockets:
            client.close()
        for port in self.ports:
            await maybeDeferred(port.stopListening)
        for serving in self.servings:
            for made in serving.built:
                if made.transport is not None and not made.is_lost:
                    made.transport.abortConnection()
        await eventually(lambda: self.limits.open == 0 and len(self.deadlines) == 0)

    def serve(
        self,
        make: Callable[[], Remembering] = Remembering,
        tls: ServerContexts | None = None,
        interface: str = "127.0.0.1",
        handshake_timeout: float = 10.0,
    ) -> tuple[Serving, int]:
        serving = Serving(make)
        settings = ListenerSettings("test", 0, interface)
        port = listen(reactor, settings, serving, tls, self.limits, self.deadlines, handshake_timeout)
        port.startListening()
        self.ports.append(port)
        self.servings.append(serving)
        return serving, port.getHost().port

    def connect(self, port: int, host: str = "127.0.0.1", receive_buffer: int = 0) -> socket.socket:
        """A blocking socket. The kernel connects it without the reactor."""
        client = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        if receive_buffer:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        client.settimeout(20)
        client.connect((host, port))
        self.sockets.append(client)
        return client

    def in_thread(self, function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        return deferToThread(function, *arguments)

    def tls_client(
        self, port: int, name: str | None = "localhost", context: ssl.SSLContext | None = None, **options: Any
    ) -> ssl.SSLSocket:
        """Blocks, so call it in a thread."""
        client = (context or client_context()).wrap_socket(self.connect(port), server_hostname=name, **options)
        self.sockets.append(client)
        return client

    def openssl_client(self, port: int, context: SSL.Context | None = None) -> SSL.Connection:
        """A pyOpenSSL connection on a blocking socket. Call it in a thread."""
        client = self.connect(port)
        client.settimeout(None)
        connection = SSL.Connection(context or SSL.Context(SSL.TLS_CLIENT_METHOD), client)
        connection.set_connect_state()
        connection.do_handshake()
        return connection


def client_context(alpn: list[str] | None = None, version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if alpn:
        context.set_alpn_protocols(alpn)
    if version:
        context.minimum_version = context.maximum_version = version
    return context


def read_all(client: Any) -> bytes:
    """Receive everything until the end. Blocks."""
    received = bytearray()
    while data := client.recv(65536):
        received += data
    return bytes(received)


def duplex(client: Any, chunks: Iterable[bytes]) -> tuple[bytes, bytes]:
    """Send, and receive the same amount, at the same time. Returns the SHA-256 of both directions. Blocks.

    It uses one thread with select, because two threads must not use one SSL object.
    """
    client.setblocking(False)
    supply = iter(chunks)
    out, back = hashlib.sha256(), hashlib.sha256()
    sent = received = 0
    chunk: bytes | memoryview | None = b""
    try:
        while chunk is not None or received < sent:
            moved = False
            if chunk is not None and not len(chunk):
                following = next(supply, None)
                chunk = following
                if following is not None:
                    out.update(following)
                    sent += len(following)
                    chunk = memoryview(following)
            if chunk is not None:
                with suppress(ssl.SSLWantWriteError, ssl.SSLWantReadError, BlockingIOError):
                    chunk = chunk[client.send(chunk) :]
                    moved = True
            with suppress(ssl.SSLWantWriteError, ssl.SSLWantReadError, BlockingIOError):
                data = client.recv(1 << 17)
                if not data:
                    break
                back.update(data)
                received += len(data)
                moved = True
            if not moved and not any(select.select([client], [client] if chunk is not None else [], [], 20)):
                raise AssertionError(f"nothing moves: {sent} sent, {received} received")
    finally:
        client.settimeout(20)
    return out.digest(), back.digest()


def reset(client: socket.socket) -> None:
    """Close with a reset."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    client.close()
