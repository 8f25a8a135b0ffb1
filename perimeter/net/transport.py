"""The TCP transports: of accepted connections, and of connections to upstreams.

`perimeter.net.write_through` writes and reads, `perimeter.net.tls` adds TLS, `perimeter.net.listeners` accepts, and
`perimeter.net.connect` connects.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet import tcp
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.error import ConnectionAborted
from twisted.internet.interfaces import IAddress, IProtocol
from twisted.internet.main import CONNECTION_DONE
from twisted.python.failure import Failure

from perimeter.model import UNIX_PEER, canonical_address
from perimeter.net.contract import AcceptedTransport, Peer, Reactor, Transport, UnixPeer
from perimeter.net.deadlines import Deadlines
from perimeter.net.handshakes import HandshakeLog
from perimeter.net.write_through import TransportPhase, WriteThrough, raise_lost

if TYPE_CHECKING:
    from OpenSSL import SSL

    from perimeter.net.contexts import ServerContexts
    from perimeter.net.tls_records import PortableConnection

LINGER = 2.0
"""Seconds for which a closed server connection still reads and discards, so that no reset destroys the answer (RFC 9112,
section 9.6)."""


_UNIX_PEER = UnixPeer()


class Waiting(Protocol):
    """A connection without a protocol that reads, in ``waiting`` of its port."""

    def getPeer(self) -> Peer:
        """The address of the connection, as far as it is known."""

    def make_room(self) -> bool:
        """Close the connection for another one, and return True, unless it has sent something."""

    def close_now(self) -> None:
        """Close the connection."""


class Accepting(Protocol):
    """The port that accepted a connection, as a server transport uses it (`perimeter.net.listeners.ListeningPort`)."""

    contexts: ServerContexts | None
    deadlines: Deadlines
    handshake_timeout: float
    #: logs failed handshakes
    handshakes: HandshakeLog
    #: connections without a protocol that reads (TLS handshakes, closed ones), and since when: seconds
    waiting: dict[Waiting, float]
    #: makes the protocol of a connection from the peer's address and the negotiated application protocol (RFC 7301; may be empty)
    build_protocol: Callable[[IAddress, bytes], IProtocol | None]

    def release(self, address: str) -> None:
        """A connection from ``address`` has ended."""


class Connector(Protocol):
    """An attempt to connect, as a client transport uses it (`perimeter.net.connect`)."""

    preface: bytes
    """Bytes that are sent first, before TLS."""

    def secure(self, sock: socket.socket) -> PortableConnection:
        """Return the TLS connection. The handshake has not begun."""

    def verified(self, connection: SSL.Connection) -> bool:
        """After the handshake, return whether the certificate is valid for the server's name."""

    def handshake_failed(self, reason: str, code: int = 0) -> None:
        """The handshake failed with ``reason`` and ``code``. The transport closes the connection next."""

    def established(self, transport: ClientTransport) -> None:
        """The transport is ready: build its protocol and report it."""


class ServerTransport(WriteThrough, tcp.Server):
    """An accepted connection."""

    server: Accepting  # type: ignore[assignment]

    def __init__(
        self,
        sock: socket.socket,
        protocol: IProtocol | None,
        peer: Peer,
        server: Accepting,
        sessionno: int,
        reactor: Reactor,
    ) -> None:
        tcp.Connection.__init__(self, sock, protocol, reactor)  # type: ignore[arg-type]
        self.server = server
        self.sessionno = sessionno
        self._peer = peer
        self._attach(sock.send, sock.recv)
        self.connected = 1
        self.startReading()

    @property
    def logstr(self) -> str:  # type: ignore[override]
        """The name of this connection in the log."""
        return f"{type(self).__name__},{self.sessionno},{self._peer.host}"

    @property
    def repstr(self) -> str:  # type: ignore[override]
        """The text of Twisted's ``__repr__``."""
        return f"<{type(self).__name__} #{self.sessionno} of {self._peer.host}>"

    def getHost(self) -> IAddress:
        """The address that the client connected to. An IPv4-mapped address becomes its IPv4 address."""
        return socket_address(self.socket.getsockname())

    def getPeer(self) -> Peer:
        """The client's address, in canonical form."""
        return self._peer

    def local_address(self) -> str:
        """The address that the client connected to, in canonical form; `UNIX_PEER` for a unix socket."""
        return socket_address(self.socket.getsockname()).host

    def _postLoseConnection(self) -> Exception | None:
        if self._read_closed or not self._linger():
            return CONNECTION_DONE
        return None

    def _linger(self) -> bool:
        """Close our side and discard incoming data, until the peer closes its side or `LINGER` is over.

        Closing a socket with unread data sends a reset, which can destroy an answer that the client has not read yet.
        """
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            return False
        self._writable = False
        self._phase = TransportPhase.LINGERING
        self.disconnecting = 1
        now = self.reactor.seconds()
        self.deadline = now + LINGER
        self.server.waiting[self] = now
        self.server.deadlines.watch(self)
        self.startReading()
        return True

    def close_now(self) -> None:
        """Close in order, and free the descriptor at once."""
        self.connectionLost(Failure(CONNECTION_DONE))

    def make_room(self) -> bool:
        """`close_now` for another connection, and return True, unless data of a handshake has arrived that was not read yet."""
        if self._phase is TransportPhase.HANDSHAKING and self.has_input():
            return False
        self.close_now()
        return True

    def deadline_expired(self) -> None:
        """The peer has not closed its side in time: close the connection."""
        self.close_now()

    def connectionLost(self, reason: Failure) -> None:
        """The connection has ended, and no longer counts for the limits.

        Twisted's classes spread these steps over a dozen methods; here one method does them.
        """
        if self.disconnected:
            return
        self.disconnected = 1
        self.connected = 0
        server = self.server
        server.deadlines.forget(self)
        server.waiting.pop(self, None)
        server.release(self._peer.host)
        self._writable = False
        self._drop_queue()
        producer, self.producer = self.producer, None
        if producer is not None:
            producer.stopProducing()
        self.stopReading()
        self.stopWriting()
        self._closeSocket(not issubclass(reason.type, ConnectionAborted))  # type: ignore[arg-type]
        protocol = self.protocol
        del self.protocol, self.socket, self.fileno
        self._phase = TransportPhase.LOST
        self._send = self._recv = raise_lost
        protocol.connectionLost(reason)


class ClientTransport(WriteThrough, tcp.Client):
    """A connection to an upstream. ``connector`` is an attempt of `perimeter.net.connect`."""

    connector: Connector

    def _connectDone(self) -> None:
        self.connected = 1
        self.setTcpNoDelay(True)
        self.setTcpKeepAlive(True)
        self._attach(self.socket.send, self.socket.recv)
        self.startReading()
        self.write(self.connector.preface)
        self.connector.established(self)

    def getHost(self) -> IAddress:
        """The local address."""
        return socket_address(self.socket.getsockname())


def socket_address(name: Any) -> Peer:
    """Convert the result of ``accept()``, ``getsockname()`` or ``getpeername()`` to an address in canonical form."""
    if type(name) is not tuple:  # that of a unix socket: a path, or nothing
        return _UNIX_PEER
    host = canonical_address(name[0])
    return IPv6Address("TCP", host, *name[1:]) if ":" in host else IPv4Address("TCP", host, name[1])


def peer_of(host: str, port: int) -> Peer:
    """The client with the canonical address ``host``."""
    if host == UNIX_PEER:
        return _UNIX_PEER
    return IPv6Address("TCP", host, port) if ":" in host else IPv4Address("TCP", host, port)


if TYPE_CHECKING:
    # mypy checks that the transports implement the contract
    def _accepted(transport: ServerTransport) -> AcceptedTransport:
        return transport

    def _opened(transport: ClientTransport) -> Transport:
        return transport
