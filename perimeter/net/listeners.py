"""Accepts connections on listening sockets, limits their number, and gives them transports.

TLS contexts come from `perimeter.net.contexts`. The factory makes the protocol of a connection.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from errno import EMFILE, ENFILE, ENOBUFS, ENOMEM
from typing import Any, cast

from twisted.internet import tcp
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IAddress, IProtocol, IProtocolFactory
from twisted.logger import Logger

from perimeter.config.site.listener import ListenerSettings
from perimeter.descriptors import system_reason
from perimeter.net.binding import bind
from perimeter.net.contexts import ServerContexts
from perimeter.net.contract import Reactor
from perimeter.net.deadlines import Deadlines
from perimeter.net.handshakes import FailedHandshakes, HandshakeLog
from perimeter.net.tls import TLSServerTransport
from perimeter.net.transport import ServerTransport, socket_address

log = Logger()

MAX_ACCEPTS = 100
"""Maximum number of connections accepted in one turn of the event loop."""

PAUSE = 0.5
"""Seconds for which no connection is accepted after descriptors or memory ran out. Clients wait in the backlog meanwhile."""

_EXHAUSTED = frozenset({EMFILE, ENFILE, ENOBUFS, ENOMEM})


class ConnectionLimits:
    """Limits the number of connections, in total and from one canonical address (attack 22). One object for all listeners.

    ``make_room`` closes some of the connections that send nothing, of one address or of all (None), the oldest first. It returns
    how many: a client that is silent must not take the place of one that is not (attack 58).
    """

    def __init__(
        self, total: int = 20000, per_address: int = 1000, make_room: Callable[[str | None], int] = lambda address: 0
    ) -> None:
        self.total = total
        self.per_address = per_address
        self.make_room = make_room
        self._open = 0
        self._by_address: dict[str, int] = {}

    @property
    def open(self) -> int:
        """The number of open connections."""
        return self._open

    def admit(self, address: str) -> bool:
        """Count a connection from ``address`` (canonical).

        Returns False, without counting it, if a limit is reached and no connection could make room for it.
        """
        by_address = self._by_address
        if by_address.get(address, 0) >= self.per_address and not self.make_room(address):
            return False
        if self._open >= self.total and not self.make_room(None):
            return False
        self._open += 1
        by_address[address] = by_address.get(address, 0) + 1
        return True

    def release(self, address: str) -> None:
        """A connection from ``address`` has ended."""
        self._open -= 1
        left = self._by_address[address] - 1
        if left:
            self._by_address[address] = left
        else:
            del self._by_address[address]


class ListeningPort(tcp.Port):
    """A `tcp.Port` on a socket that already listens, with limits, and with TLS if ``contexts`` is not None."""

    reactor: Reactor  # type: ignore[assignment]  # Twisted's type has no timers

    def __init__(
        self,
        listening: socket.socket,
        factory: IProtocolFactory,
        reactor: Reactor,
        *,
        contexts: ServerContexts | None,
        limits: ConnectionLimits,
        deadlines: Deadlines,
        handshake_timeout: float,
        handshakes: HandshakeLog,
    ) -> None:
        super().__init__(0, factory, reactor=reactor)
        self.addressFamily = listening.family
        self._preexistingSocket = listening
        self.contexts = contexts
        self.limits = limits
        self.deadlines = deadlines
        self.handshake_timeout = handshake_timeout
        self.handshakes = handshakes
        self.build_protocol: Callable[[IAddress, bytes], IProtocol | None] = lambda peer, alpn: factory.buildProtocol(peer)
        self.transport: type[ServerTransport] = ServerTransport if contexts is None else TLSServerTransport
        self.waiting: dict[ServerTransport, float] = {}
        self._accepts = MAX_ACCEPTS
        self._refused = 0

    def release(self, address: str) -> None:
        """A connection from ``address`` has ended."""
        self.limits.release(address)

    def getHost(self) -> IPv4Address | IPv6Address:
        """The address of the listening socket."""
        return socket_address(self.listening.getsockname())

    @property
    def listening(self) -> socket.socket:
        """The listening socket, which belongs to the port from the beginning."""
        return cast(socket.socket, self._preexistingSocket or self.socket)

    def close(self) -> None:
        """Accept no more, and close the socket, whether or not connections were accepted so far."""
        if self.connected:
            self.stopListening()  # type: ignore[no-untyped-call]
        else:
            self.listening.close()

    def doRead(self) -> None:
        """Accept the waiting connections.

        If one turn found a single connection, the next turn tries only one: a useless try costs a system call too.
        """
        accepted = 0
        accept = self.socket._accept  # type: ignore[union-attr]
        while accepted < self._accepts:
            try:
                fd, name = accept()
            except BlockingIOError:
                break
            except OSError as problem:
                if problem.errno in _EXHAUSTED:
                    if self.limits.make_room(None):
                        accepted += 1
                        continue
                    self._pause(problem)
                    break
                # The client closed the connection before it was accepted. Others may wait behind it.
                accepted += 1
                continue
            accepted += 1
            # `socket.accept` wraps the socket in another class and two enumerations, which takes 3 of 6 µs.
            self._accepted(cast(socket.socket, socket.SocketType(self.addressFamily, socket.SOCK_STREAM, 0, fd)), name)
        self._accepts = min(MAX_ACCEPTS, accepted + 20) if accepted == self._accepts else max(1, accepted)

    def _accepted(self, sock: socket.socket, name: tuple[Any, ...]) -> None:
        peer = socket_address(name)
        address = peer.host
        if not self.limits.admit(address):
            sock.close()
            self._refused += 1
            if self._refused & (self._refused - 1) == 0:
                # At 1, 2, 4, 8… so that a flood of connections does not flood the log.
                log.warn("Connection from {address} refused: too many ({count} so far)", address=address, count=self._refused)
            return
        self.sessionno += 1
        transport: ServerTransport | None = None
        try:
            if self.contexts is not None:
                transport = TLSServerTransport(sock, None, peer, self, self.sessionno, self.reactor)
                return
            protocol = self.build_protocol(peer, b"")
            if protocol is not None:
                transport = ServerTransport(sock, protocol, peer, self, self.sessionno, self.reactor)
                protocol.makeConnection(transport)
        except Exception:
            log.failure("A connection from {address} could not be set up", address=address)
            if transport is not None:
                transport.abortConnection()
        finally:
            if transport is None:
                self.limits.release(address)
                sock.close()

    def _pause(self, problem: OSError) -> None:
        log.warn("Cannot accept connections for {pause} s: {problem}", pause=PAUSE, problem=system_reason(problem))
        self.reactor.removeReader(self)
        self.reactor.callLater(PAUSE, self._resume)

    def _resume(self) -> None:
        if self.connected and not self.disconnecting:
            self.reactor.addReader(self)


def listen(
    reactor: Reactor,
    settings: ListenerSettings,
    factory: IProtocolFactory,
    tls: ServerContexts | None,
    limits: ConnectionLimits,
    deadlines: Deadlines,
    handshake_timeout: float = 10.0,
    listening: socket.socket | None = None,
    handshakes: FailedHandshakes | None = None,
) -> ListeningPort:
    """A port for connections to ``listening``, which it then owns (None: to a new socket, see `bind`).

    It accepts none before its `startListening` is called.
    """
    return ListeningPort(
        bind(settings.name, settings.interface, settings.port) if listening is None else listening,
        factory,
        reactor,
        contexts=tls,
        limits=limits,
        deadlines=deadlines,
        handshake_timeout=handshake_timeout,
        handshakes=HandshakeLog(settings.name, handshakes or FailedHandshakes(reactor.seconds)),
    )
