"""The interfaces between `perimeter.net` and the protocols on its connections: transports, and the reactor they need.

`perimeter.net.transport` and `perimeter.net.tls` implement transports on sockets, `perimeter.proxy.in_memory` in the process.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import attrs
from cryptography.x509 import Certificate
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IHostnameResolver,
    IPushProducer,
    IReadDescriptor,
    IWriteDescriptor,
)
from zope.interface import implementer

from perimeter.model import UNIX_PEER


@implementer(IAddress)
@attrs.frozen
class UnixPeer:
    """The address of a client of a unix socket: all have the same one."""

    host: str = UNIX_PEER
    port: int = 0


Peer = IPv4Address | IPv6Address | UnixPeer


class Reactor(Protocol):
    """The parts of a Twisted reactor that connections use: `IReactorTime`, `IReactorFDSet` and the name resolver."""

    nameResolver: IHostnameResolver

    def seconds(self) -> float:
        """See `IReactorTime`."""

    def callLater(self, delay: float, callable: Callable[..., object], *args: object, **kw: object) -> IDelayedCall:
        """See `IReactorTime`."""

    def addReader(self, reader: IReadDescriptor) -> None:
        """See `IReactorFDSet`."""

    def addWriter(self, writer: IWriteDescriptor) -> None:
        """See `IReactorFDSet`."""

    def removeReader(self, reader: IReadDescriptor) -> None:
        """See `IReactorFDSet`."""

    def removeWriter(self, writer: IWriteDescriptor) -> None:
        """See `IReactorFDSet`."""


class Transport(Protocol):
    """A connection as its protocol sees it: parts of Twisted's `ITCPTransport` and `IPushProducer`, and additions."""

    @property
    def buffered(self) -> int:
        """Number of bytes that were written and not sent yet."""

    def write(self, data: bytes) -> None:
        """Send ``data``. What the socket does not accept at once is queued. Never calls the protocol."""

    def loseConnection(self) -> None:
        """Close the connection after everything written has been sent."""

    def abortConnection(self) -> None:
        """Reset the connection. Queued data is dropped."""

    def registerProducer(self, producer: IPushProducer, streaming: bool) -> None:
        """Pause ``producer`` while too much is queued, and resume it afterwards."""

    def unregisterProducer(self) -> None:
        """Undo `registerProducer`."""

    def pauseProducing(self) -> None:
        """Deliver no data to the protocol until `resumeProducing`."""

    def resumeProducing(self) -> None:
        """Undo `pauseProducing`."""

    def has_input(self) -> bool:
        """Whether data or the peer's end has arrived that the protocol has not seen. May cost a system call."""


class AcceptedTransport(Transport, Protocol):
    """A connection that a client opened."""

    @property
    def tls_version(self) -> str:
        """The TLS version, for example ``TLSv1.3``; empty without TLS."""

    @property
    def server_name(self) -> str:
        """The name that the client asked for (SNI, RFC 6066, section 3), in lower case; may be empty."""

    @property
    def alpn(self) -> bytes:
        """The negotiated application protocol (RFC 7301), ``http/1.1`` or ``h2``; may be empty."""

    @property
    def client_certificate(self) -> Certificate | None:
        """The client's verified certificate, or None if it showed none."""

    def close_now(self) -> None:
        """Close at once, in order: what was not sent yet is dropped, and the descriptor is free when this returns.

        Calls the protocol's ``connectionLost``.
        """

    def loseWriteConnection(self) -> None:
        """Close our side after everything written has been sent, and continue reading."""

    def getPeer(self) -> Peer:
        """The client's address, in canonical form."""

    def local_address(self) -> str:
        """The IP address that the client connected to, in canonical form; "" for a unix socket."""
