"""Connections from load balancers that send the client's address in front of the data (`perimeter.net.proxy_protocol`)."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Protocol

from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST
from twisted.python.failure import Failure
from zope.interface import implementer

from perimeter.net.connection_limits import UNNAMED
from perimeter.net.contract import Peer, Reactor
from perimeter.net.deadlines import Deadlines
from perimeter.net.proxy_protocol import LONGEST, BadProxyHeader, Source, extent, source
from perimeter.net.transport import Waiting, peer_of


class HeaderPort(Protocol):
    """The port that accepted the connection (`perimeter.net.listeners.ListeningPort`)."""

    deadlines: Deadlines
    handshake_timeout: float
    waiting: dict[Waiting, float]

    def release(self, address: str) -> None:
        """The connection from ``address`` no longer counts for the limits."""


@implementer(IReadDescriptor)
class HeaderReader:
    """Reads the header of an accepted connection, and no byte behind it. Then it calls ``read`` with the client, or ``fail``.

    ``balancer`` is the address of the sender. After ``read`` the socket belongs to its callee; otherwise it is closed.
    """

    def __init__(
        self,
        sock: socket.socket,
        balancer: Peer,
        port: HeaderPort,
        reactor: Reactor,
        read: Callable[[socket.socket, Peer], None],
        fail: Callable[[str], None],
    ) -> None:
        self._socket = sock
        self._balancer = balancer
        self._port = port
        self._reactor = reactor
        self._read = read
        self._fail = fail
        self._header = b""
        self._over = False
        now = reactor.seconds()
        # An absolute time, so that bytes that arrive one by one do not move it.
        self.deadline = now + port.handshake_timeout
        port.waiting[self] = now
        port.deadlines.watch(self)
        reactor.addReader(self)

    def fileno(self) -> int:
        """See `IReadDescriptor`."""
        return -1 if self._over else self._socket.fileno()

    def logPrefix(self) -> str:
        """See `IReadDescriptor`."""
        return type(self).__name__

    def getPeer(self) -> Peer:
        """The address of the load balancer."""
        return self._balancer

    def doRead(self) -> Exception | None:  # type: ignore[override]  # as Twisted's own transports
        """Take what belongs to the header from the socket."""
        try:
            # What follows the header has to stay in the socket: OpenSSL reads it from there.
            seen = self._header + self._socket.recv(LONGEST - len(self._header), socket.MSG_PEEK)
            if len(seen) == len(self._header):
                return CONNECTION_DONE
            end, whole = extent(seen)
            taken = self._socket.recv(end - len(self._header))
            self._header += taken
            if not whole:
                return None
            client = source(self._header)
        except BlockingIOError:
            return None
        except OSError:
            return CONNECTION_LOST
        except BadProxyHeader as fault:
            self._fail(str(fault))
            return CONNECTION_LOST
        self._done(client)
        return None

    def _done(self, client: Source | None) -> None:
        self._leave()
        self._read(self._socket, self._balancer if client is None else peer_of(client.address, client.port))

    def _leave(self) -> None:
        self._reactor.removeReader(self)
        self._over = True
        self._port.deadlines.forget(self)
        self._port.waiting.pop(self, None)
        self._port.release(UNNAMED)

    def connectionLost(self, reason: Failure) -> None:
        """See `IReadDescriptor`. Closes the socket."""
        if not self._over:
            self._leave()
            self._socket.close()

    def deadline_expired(self) -> None:
        """The header has not come in time."""
        self._fail("no header came in time")
        self.close_now()

    def make_room(self) -> bool:
        """Close the connection for another one, and return True."""
        self.close_now()
        return True

    def close_now(self) -> None:
        """Close the connection."""
        self.connectionLost(Failure(CONNECTION_LOST))
