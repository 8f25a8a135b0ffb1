"""What protocols may ask of a transport: the types that stand between `perimeter.net` and what speaks on its connections.

`perimeter.net.transport` and `perimeter.net.tls` provide it over sockets, `perimeter.proxy.in_memory` inside the process.
"""

from __future__ import annotations

from typing import Any, Protocol

from cryptography.x509 import Certificate
from twisted.internet.address import IPv4Address, IPv6Address


class Transport(Protocol):
    """A connection, as a protocol sees it. Twisted's `ITCPTransport` and `IPushProducer`, and what is more here."""

    @property
    def buffered(self) -> int:
        """Bytes that were written and that the peer has not taken yet."""

    def write(self, data: bytes) -> None:
        """Send ``data``; what the peer does not take at once is queued. Never calls back into the protocol."""

    def loseConnection(self) -> None:
        """Close when everything written has been sent."""

    def abortConnection(self) -> None:
        """Reset the connection; what is queued is dropped."""

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Pause and resume ``producer`` (`twisted.internet.interfaces.IPushProducer`) as the peer takes what is written."""

    def unregisterProducer(self) -> None:
        """Undo `registerProducer`."""

    def pauseProducing(self) -> None:
        """Deliver nothing to the protocol until `resumeProducing`."""

    def resumeProducing(self) -> None:
        """Undo `pauseProducing`."""

    def has_input(self) -> bool:
        """Whether something has arrived that the protocol has not seen, the peer's end included. May cost a system call."""


class AcceptedTransport(Transport, Protocol):
    """A connection that a client opened."""

    @property
    def tls_version(self) -> str:
        """``TLSv1.3``, say; empty on a plain connection."""

    @property
    def server_name(self) -> str:
        """The name that the client asked for (SNI, RFC 6066, section 3), in lower case; may be empty."""

    @property
    def alpn(self) -> bytes:
        """The application protocol agreed upon (RFC 7301): ``http/1.1`` or ``h2``; may be empty."""

    @property
    def client_certificate(self) -> Certificate | None:
        """The client's verified certificate, where it showed one."""

    def loseWriteConnection(self) -> None:
        """End our side when everything written has been sent, and read on."""

    def getPeer(self) -> IPv4Address | IPv6Address:
        """The client's address, in canonical form."""
