"""The idle connections to one upstream, and the making of new ones.

A pooled connection may be closed by the server at any moment. A request that may be repeated takes any of them; one that may
not (RFC 9110, section 9.2.2) takes only a connection that has proved itself: it has served more than one request, or stayed
open for a second after its first. A server that closes after each reply, as ecFlow's does, so never gets such a request on a
dying connection.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING, Protocol

from twisted.internet.defer import Deferred

from perimeter.config.site.values import ServerSettings, UpstreamSettings
from perimeter.proxy.balance import Balancer, Server
from perimeter.proxy.connection import UpstreamConnection

if TYPE_CHECKING:
    from perimeter.net.deadlines import Deadlines

_PROBATION = 1.0


class Dial(Protocol):
    """Opens a connection to one server within ``timeout`` seconds, with its TLS handshake done."""

    def __call__(
        self, server: ServerSettings, factory: Callable[[], UpstreamConnection], timeout: float
    ) -> Deferred[UpstreamConnection]:
        """The connected protocol; fails as `perimeter.net.connect` says."""


class PooledServer(Server):
    """A server and its idle connections, the one used last at the end."""

    __slots__ = ("idle",)

    def __init__(self, settings: ServerSettings) -> None:
        super().__init__(settings)
        self.idle: list[UpstreamConnection] = []


class UpstreamPool:
    """Connections to one upstream. ``clock`` gives seconds, ``deadlines`` watches the connections."""

    def __init__(self, settings: UpstreamSettings, dial: Dial, deadlines: Deadlines, clock: Callable[[], float]) -> None:
        self.settings = settings
        self.name = settings.name
        self.deadlines = deadlines
        self.clock = clock
        self.servers = tuple(PooledServer(server) for server in settings.servers)
        self.balancer = Balancer(self.servers, clock)
        self._dial = dial
        self._idle_count = 0
        self._closed = False
        #: every connection there is, so that a shutdown reaches all of them
        self.connections: set[UpstreamConnection] = set()

    def take(self, repeatable: bool) -> UpstreamConnection | None:
        """An idle connection that is good for the request, the one used last, or None."""
        if not self._idle_count:
            return None
        for server in self.balancer.order():
            idle = server.idle
            if repeatable:
                if idle:
                    self._idle_count -= 1
                    return idle.pop()
                continue
            settled = self.clock() - _PROBATION
            for at in range(len(idle) - 1, -1, -1):
                connection = idle[at]
                if (connection.served > 1 or connection.idle_since < settled) and is_open(connection):
                    del idle[at]
                    self._idle_count -= 1
                    return connection
        return None

    def connect(self, server: PooledServer) -> Deferred[UpstreamConnection]:
        """A new connection."""
        return self._dial(server.settings, lambda: UpstreamConnection(self, server), self.settings.connect_timeout)

    def give_back(self, connection: UpstreamConnection) -> None:
        """A connection that can serve another request."""
        if self._closed or self._idle_count >= self.settings.keepalive:
            connection.close()
            return
        connection.deadline = inf
        connection.server.idle.append(connection)
        self._idle_count += 1

    def discard(self, connection: UpstreamConnection) -> None:
        """An idle connection has ended."""
        idle = connection.server.idle
        if connection in idle:
            idle.remove(connection)
            self._idle_count -= 1

    def close(self) -> None:
        """Close what is idle; connections in use close when their exchange is over."""
        self._closed = True
        for server in self.servers:
            for connection in server.idle[:]:
                connection.close()
            server.idle.clear()
        self._idle_count = 0


def is_open(connection: UpstreamConnection) -> bool:
    """Whether nothing has come on an idle connection, least of all its end. Costs a system call."""
    raw = getattr(connection.transport, "socket", None)
    if raw is None:
        return True
    try:
        raw.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return True
    except OSError:
        return False
    # Either its end or octets that nobody asked for. TLS sends such, but a new connection costs less than a lost request.
    return False
