"""Accepts connections on listening sockets, and gives them transports.

TLS contexts come from `perimeter.net.contexts`. The factory makes the protocol of a connection.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from errno import EMFILE, ENFILE, ENOBUFS, ENOMEM
from functools import partial
from typing import Any, cast

from twisted.internet import tcp
from twisted.internet.interfaces import IAddress, IProtocol, IProtocolFactory
from twisted.logger import Logger

from perimeter.config.language.net_types import PeerNetwork, in_networks
from perimeter.config.site.listener import ListenerSettings
from perimeter.descriptors import system_reason
from perimeter.net.binding import bind
from perimeter.net.connection_limits import UNNAMED, ConnectionLimits
from perimeter.net.contexts import ServerContexts
from perimeter.net.contract import Peer, Reactor
from perimeter.net.deadlines import Deadlines
from perimeter.net.handshakes import FailedHandshakes, HandshakeLog
from perimeter.net.proxied import HeaderReader
from perimeter.net.tls import TLSServerTransport
from perimeter.net.transport import ServerTransport, Waiting, socket_address

log = Logger()

MAX_ACCEPTS = 100
"""Maximum number of connections accepted in one turn of the event loop. With several processes it is less."""

PAUSE = 0.5
"""Seconds for which no connection is accepted after descriptors or memory ran out. Clients wait in the backlog meanwhile."""

_EXHAUSTED = frozenset({EMFILE, ENFILE, ENOBUFS, ENOMEM})


class ListeningPort(tcp.Port):
    """A `tcp.Port` on a socket that already listens, with limits, and with TLS if ``contexts`` is not None."""

    reactor: Reactor  # type: ignore[assignment]  # Twisted's type has no timers
    max_accepts = MAX_ACCEPTS

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
        balancers: Sequence[PeerNetwork] = (),
    ) -> None:
        super().__init__(0, factory, reactor=reactor)
        self.addressFamily = listening.family
        self._preexistingSocket = listening
        self.contexts = contexts
        self.limits = limits
        self.deadlines = deadlines
        self.handshake_timeout = handshake_timeout
        self.handshakes = handshakes
        #: only these may connect, and send the client's address first; if there are none, connections are the clients' own
        self.balancers = balancers
        self.build_protocol: Callable[[IAddress, bytes], IProtocol | None] = lambda peer, alpn: factory.buildProtocol(peer)
        self.transport: type[ServerTransport] = ServerTransport if contexts is None else TLSServerTransport
        self.waiting: dict[Waiting, float] = {}
        self._accepts = self.max_accepts
        self._refused = 0
        self._faulty = 0
        self._paused = False
        #: the port that gets the connections which wait here when this one is closed
        self.successor: ListeningPort | None = None
        self.closed = False

    def release(self, address: str) -> None:
        """A connection from ``address`` has ended."""
        self.limits.release(address)

    def getHost(self) -> Peer:
        """The address of the listening socket. The port of a unix socket is 0."""
        return socket_address(self.listening.getsockname())

    def startListening(self) -> None:
        """Accept connections. As Twisted's, for a socket that exists already and may have no port."""
        self.socket, self._preexistingSocket = self.listening, None
        self._shouldShutdown = False  # the socket may have copies, in this process and in others
        self._realPortNumber = self.getHost().port
        self.fileno = self.socket.fileno  # type: ignore[method-assign]
        assert self.factory is not None
        self.factory.doStart()
        self.connected = True
        self.startReading()  # type: ignore[no-untyped-call]

    @property
    def listening(self) -> socket.socket:
        """The listening socket, which belongs to the port from the beginning."""
        return cast(socket.socket, self._preexistingSocket or self.socket)

    def _hand_over(self, successor: ListeningPort) -> None:
        """Let ``successor`` serve the connections that wait here, and that its own socket would get."""
        while True:
            try:
                sock, name = self.listening.accept()
            except OSError:
                return
            sock.setblocking(False)
            if successor.covers(socket_address(sock.getsockname()).host):
                successor._accepted(sock, name)
            else:
                sock.close()

    def covers(self, host: str) -> bool:
        """Whether the socket gets the connections to ``host``, a canonical address of this machine."""
        own = self.getHost().host
        return own in (host, "::") or (own == "0.0.0.0" and ":" not in host)  # noqa: S104  # compared, not bound

    def close(self) -> None:
        """Accept no more, and close the socket, whether or not connections were accepted so far."""
        if self.closed:
            return
        self.closed = True
        if self.connected:
            if self.successor is not None:
                # Twisted closes the socket a turn later: too late for connections that arrive after this.
                self.stopReading()  # type: ignore[no-untyped-call]
                self._hand_over(self.successor)
                self.socket.close()
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
        self._accepts = min(self.max_accepts, accepted + 20) if accepted == self._accepts else max(1, accepted)

    def _accepted(self, sock: socket.socket, name: Any) -> None:
        peer = socket_address(name)
        if self.balancers:
            self._await_header(sock, peer)
        else:
            self._serve(sock, peer)

    def _await_header(self, sock: socket.socket, balancer: Peer) -> None:
        """Serve a connection after its header of the PROXY protocol (attack 115)."""
        if not in_networks(balancer.host, self.balancers):
            sock.close()
            self._note_fault(balancer, "its address is not in proxy_protocol")
        elif not self.limits.admit(UNNAMED):
            sock.close()
            self._note_refusal(balancer)
        else:
            HeaderReader(sock, balancer, self, self.reactor, self._serve, partial(self._note_fault, balancer))

    def _note_fault(self, balancer: Peer, fault: str) -> None:
        self._faulty += 1
        if self._faulty & (self._faulty - 1) == 0:
            log.warn(
                "Connection from {address} to listener {listener} refused, which takes only connections with the PROXY protocol: "
                "{fault} ({count} such connections so far)",
                address=balancer.host,
                listener=self.handshakes.listener,
                fault=fault,
                count=self._faulty,
            )

    def _note_refusal(self, peer: Peer) -> None:
        self._refused += 1
        if self._refused & (self._refused - 1) == 0:
            # At 1, 2, 4, 8… so that a flood of connections does not flood the log.
            log.warn("Connection from {address} refused: too many ({count} so far)", address=peer.host, count=self._refused)

    def _serve(self, sock: socket.socket, peer: Peer) -> None:
        """Serve a connection of the client ``peer``, or close it."""
        address = peer.host
        if not self.limits.admit(address):
            sock.close()
            self._note_refusal(peer)
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

    def pause(self, paused: bool) -> None:
        """Accept no connections for the time being, or accept some again."""
        self._paused = paused
        if self.connected and not self.disconnecting:
            if paused:
                self.stopReading()  # type: ignore[no-untyped-call]
            else:
                self.startReading()  # type: ignore[no-untyped-call]

    def _pause(self, problem: OSError) -> None:
        log.warn("Cannot accept connections for {pause} s: {problem}", pause=PAUSE, problem=system_reason(problem))
        self.stopReading()  # type: ignore[no-untyped-call]
        self.reactor.callLater(PAUSE, self._resume)

    def _resume(self) -> None:
        if self.connected and not self.disconnecting and not self._paused:
            self.startReading()  # type: ignore[no-untyped-call]


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
    port_type: type[ListeningPort] = ListeningPort,
) -> ListeningPort:
    """A port for connections to ``listening``, which it then owns (None: to a new socket, see `bind`).

    It accepts none before its `startListening` is called.
    """
    return port_type(
        bind(settings.address) if listening is None else listening,
        factory,
        reactor,
        contexts=tls,
        limits=limits,
        deadlines=deadlines,
        handshake_timeout=handshake_timeout,
        handshakes=HandshakeLog(settings.name, handshakes or FailedHandshakes(reactor.seconds)),
        balancers=settings.proxy_protocol,
    )
