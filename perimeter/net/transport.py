"""The TCP transports: what a listener accepts, and what we open to the services behind.

How they write and read is in `perimeter.net.write_through`, TLS in `perimeter.net.tls`, accepting in `perimeter.net.listeners`,
connecting in `perimeter.net.connect`.
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

from perimeter.model import canonical_address
from perimeter.net.contract import AcceptedTransport, Transport
from perimeter.net.deadlines import Deadlines
from perimeter.net.write_through import Phase, WriteThrough, gone

LINGER = 2.0
"""Seconds that a closed server connection still reads and discards (RFC 9112, section 9.6: a reset must not eat the answer)."""


class Accepting(Protocol):
    """What a server transport needs of the port that accepted it (`perimeter.net.listeners.ListeningPort`)."""

    contexts: Any
    deadlines: Deadlines
    handshake_timeout: float
    #: makes the protocol of a connection, by the peer and the application protocol agreed upon (RFC 7301), which may be empty
    build_protocol: Callable[[IAddress, bytes], IProtocol | None]

    def release(self, address: str) -> None:
        """A connection from ``address`` is over."""


class ServerTransport(WriteThrough, tcp.Server):
    """An accepted connection."""

    server: Accepting  # type: ignore[assignment]

    def __init__(
        self,
        sock: socket.socket,
        protocol: IProtocol | None,
        peer: IPv4Address | IPv6Address,
        server: Accepting,
        sessionno: int,
        reactor: Any,
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
        """What the log calls this connection."""
        return f"{type(self).__name__},{self.sessionno},{self._peer.host}"

    @property
    def repstr(self) -> str:  # type: ignore[override]
        """What Twisted's ``__repr__`` says."""
        return f"<{type(self).__name__} #{self.sessionno} of {self._peer.host}>"

    def getHost(self) -> IAddress:
        """The address that the client connected to; an IPv4-mapped one is its IPv4 address."""
        return socket_address(self.socket.getsockname())

    def getPeer(self) -> IPv4Address | IPv6Address:
        """The client's address, in canonical form."""
        return self._peer

    def _postLoseConnection(self) -> Exception | None:
        if self._read_closed or not self._linger():
            return CONNECTION_DONE
        return None

    def _linger(self) -> bool:
        """End our side and discard what still arrives, until the peer ends its own or the time is over.

        Closing a socket that holds unread octets sends a reset, which can destroy an answer that the client has not read yet.
        """
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            return False
        self._writable = False
        self._phase = Phase.LINGERING
        self.disconnecting = 1
        self.deadline = self.reactor.seconds() + LINGER
        self.server.deadlines.watch(self)
        self.startReading()
        return True

    def deadline_expired(self) -> None:
        """The peer has not closed its side in time: close without it."""
        self.connectionLost(Failure(CONNECTION_DONE))

    def connectionLost(self, reason: Failure) -> None:
        """The connection is over; its place in the limits is free again.

        Twisted's classes do this step by step, in a dozen methods one below the other; here it is done at once.
        """
        if self.disconnected:
            return
        self.disconnected = 1
        self.connected = 0
        self.server.deadlines.forget(self)
        self.server.release(self._peer.host)
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
        self._phase = Phase.GONE
        self._send = self._recv = gone
        protocol.connectionLost(reason)


class ClientTransport(WriteThrough, tcp.Client):
    """A connection that we opened; ``connector`` is an attempt of `perimeter.net.connect`."""

    connector: Any

    def _connectDone(self) -> None:
        self.connected = 1
        self.setTcpNoDelay(True)
        self.setTcpKeepAlive(True)
        self._attach(self.socket.send, self.socket.recv)
        self.startReading()
        self.connector.established(self)

    def getHost(self) -> IAddress:
        """Our own address."""
        return socket_address(self.socket.getsockname())


def socket_address(name: tuple[Any, ...]) -> IPv4Address | IPv6Address:
    """What ``getsockname()`` or ``getpeername()`` returned, in canonical form."""
    host = canonical_address(name[0])
    return IPv6Address("TCP", host, *name[1:]) if ":" in host else IPv4Address("TCP", host, name[1])


if TYPE_CHECKING:
    # mypy holds the transports to the contract
    def _accepted(transport: ServerTransport) -> AcceptedTransport:
        return transport

    def _opened(transport: ClientTransport) -> Transport:
        return transport
