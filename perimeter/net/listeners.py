"""Accepting: the listening sockets, how many connections there may be, and which transport they get.

Contexts come from `perimeter.net.contexts`. What is spoken on a connection is the factory's.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from errno import EAFNOSUPPORT, EMFILE, ENFILE, ENOBUFS, ENOMEM
from typing import Any, cast

from twisted.internet import tcp
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IAddress, IProtocol, IProtocolFactory
from twisted.logger import Logger

from perimeter.config.site.listener import ListenerSettings
from perimeter.errors import StartupError
from perimeter.net.contexts import ServerContexts
from perimeter.net.deadlines import Deadlines
from perimeter.net.tls import TLSServerTransport
from perimeter.net.transport import ServerTransport, socket_address

log = Logger()

BACKLOG = 20000
"""The kernel lowers it to net.core.somaxconn."""

MOST_ACCEPTS = 100
"""Connections accepted in one turn at most."""

PAUSE = 0.5
"""Seconds without accepting when descriptors or memory have run out; clients wait in the backlog meanwhile."""

_EXHAUSTED = frozenset({EMFILE, ENFILE, ENOBUFS, ENOMEM})


class ConnectionLimits:
    """How many connections there may be, in total and from one canonical address (attack 22). One for all listeners."""

    def __init__(self, total: int = 20000, per_address: int = 1000) -> None:
        self.total = total
        self.per_address = per_address
        self._open = 0
        self._by_address: dict[str, int] = {}

    @property
    def open(self) -> int:
        """Connections at the moment."""
        return self._open

    def admit(self, address: str) -> bool:
        """Take a place for a connection from ``address`` (canonical); False where there is none."""
        there = self._by_address.get(address, 0)
        if self._open >= self.total or there >= self.per_address:
            return False
        self._open += 1
        self._by_address[address] = there + 1
        return True

    def release(self, address: str) -> None:
        """Give a place back."""
        self._open -= 1
        left = self._by_address[address] - 1
        if left:
            self._by_address[address] = left
        else:
            del self._by_address[address]


class ListeningPort(tcp.Port):
    """A `tcp.Port` on a socket that already listens, with limits, and with TLS where ``contexts`` is given."""

    reactor: Any

    def __init__(
        self,
        listening: socket.socket,
        factory: IProtocolFactory,
        reactor: Any,
        *,
        contexts: ServerContexts | None,
        limits: ConnectionLimits,
        deadlines: Deadlines,
        handshake_timeout: float,
    ) -> None:
        super().__init__(0, factory, reactor=reactor)
        self.addressFamily = listening.family
        self._preexistingSocket = listening
        self.contexts = contexts
        self.limits = limits
        self.deadlines = deadlines
        self.handshake_timeout = handshake_timeout
        self.build_protocol: Callable[[IAddress, bytes], IProtocol | None] = lambda peer, alpn: factory.buildProtocol(peer)
        self.transport: type[ServerTransport] = ServerTransport if contexts is None else TLSServerTransport
        self._accepts = MOST_ACCEPTS
        self._refused = 0

    def release(self, address: str) -> None:
        """A connection from ``address`` is over."""
        self.limits.release(address)

    def getHost(self) -> IPv4Address | IPv6Address:
        """The address that is listened on."""
        return socket_address(self.socket.getsockname())

    def doRead(self) -> None:
        """Accept what waits. After one connection only one is tried on the next turn: a try in vain is a system call, too."""
        accepted = 0
        accept = self.socket._accept  # type: ignore[union-attr]
        while accepted < self._accepts:
            try:
                fd, name = accept()
            except BlockingIOError:
                break
            except OSError as problem:
                if problem.errno in _EXHAUSTED:
                    self._pause(problem)
                    break
                # The connection was gone before it was accepted; others wait behind it.
                accepted += 1
                continue
            accepted += 1
            # `socket.accept` wraps what it gets in another class and two enumerations: 3 of 6 µs.
            self._accepted(cast(socket.socket, socket.SocketType(self.addressFamily, socket.SOCK_STREAM, 0, fd)), name)
        self._accepts = min(MOST_ACCEPTS, accepted + 20) if accepted == self._accepts else max(1, accepted)

    def _accepted(self, sock: socket.socket, name: tuple[Any, ...]) -> None:
        peer = socket_address(name)
        address = peer.host
        if not self.limits.admit(address):
            sock.close()
            self._refused += 1
            if self._refused & (self._refused - 1) == 0:
                # At 1, 2, 4, 8… so that a flood of connections is no flood of the log.
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
        log.warn("Cannot accept connections for {pause} s: {problem}", pause=PAUSE, problem=problem.strerror)
        self.reactor.removeReader(self)
        self.reactor.callLater(PAUSE, self._resume)

    def _resume(self) -> None:
        if self.connected and not self.disconnecting:
            self.reactor.addReader(self)


def listen(
    reactor: Any,
    settings: ListenerSettings,
    factory: IProtocolFactory,
    tls: ServerContexts | None,
    limits: ConnectionLimits,
    deadlines: Deadlines,
    handshake_timeout: float = 10.0,
    listening: socket.socket | None = None,
) -> ListeningPort:
    """Accept connections on ``listening``, which the port owns from now on; by default on a new socket (`bind`)."""
    port = ListeningPort(
        bind(settings) if listening is None else listening,
        factory,
        reactor,
        contexts=tls,
        limits=limits,
        deadlines=deadlines,
        handshake_timeout=handshake_timeout,
    )
    port.startListening()
    return port


def bind(settings: ListenerSettings) -> socket.socket:
    """A socket that listens at the address of ``settings`` (no interface: all, IPv4 and IPv6). Raises `StartupError`."""
    try:
        return listening_socket(settings.interface, settings.port)
    except OSError as problem:
        host = f"[{settings.interface}]" if ":" in settings.interface else settings.interface or "*"
        reason = (problem.strerror or str(problem)) if not isinstance(problem, socket.gaierror) else "this is not an IP address"
        reason = reason[:1].lower() + reason[1:]
        raise StartupError(f"listener {settings.name}: cannot listen on {host}:{settings.port}: {reason}") from problem


def listening_socket(interface: str, port: int, backlog: int = BACKLOG) -> socket.socket:
    """A non-blocking socket that listens. ``interface`` is an IP address, or empty for all of both families. Raises `OSError`."""
    if interface:
        family, _, _, _, name = socket.getaddrinfo(
            interface, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
        )[0]
        return _bound(family, name, backlog, only_v6=True)
    try:
        return _bound(socket.AF_INET6, ("::", port), backlog, only_v6=False)
    except OSError as problem:
        if problem.errno != EAFNOSUPPORT and os.path.exists("/proc/net/if_inet6"):
            raise
        # A kernel without IPv6.
        return _bound(socket.AF_INET, ("", port), backlog, only_v6=False)


def _bound(family: int, name: tuple[Any, ...], backlog: int, *, only_v6: bool) -> socket.socket:
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setblocking(False)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only_v6)
        # Accepted sockets inherit these on Linux: that spares the calls for each of them.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        listening.bind(name)
        listening.listen(backlog)
    except BaseException:
        listening.close()
        raise
    return listening
