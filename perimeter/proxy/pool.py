"""The kept connections to the servers of one upstream, and the making of new ones.

A server is chosen first (`perimeter.proxy.balance`), then one of its connections. A kept connection may be closed by the server
at any moment. A request that may be repeated takes any of them; one that may not (RFC 9110, section 9.2.2) takes only a
connection that has proved itself: it has served more than one request, or stayed open for a second after its first. So a server
that closes after each reply, as ecFlow's does, never gets such a request on a connection that is about to end.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from twisted.internet.defer import Deferred

from perimeter.config.site.server import ServerSettings
from perimeter.config.site.upstream import UpstreamSettings
from perimeter.net.deadlines import Deadlines
from perimeter.net.turns import Turns
from perimeter.proxy.balance import Balancer, Server
from perimeter.proxy.connection import UpstreamConnection

_PROBATION = 1.0
"""Seconds after its first reply in which a connection has not proved itself yet."""


class Dial(Protocol):
    """Opens a connection to one server within ``timeout`` seconds, with its TLS handshake done."""

    def __call__(
        self, server: ServerSettings, factory: Callable[[], UpstreamConnection], timeout: float
    ) -> Deferred[UpstreamConnection]:
        """The connected protocol; fails as `perimeter.net.connect` says."""


class PooledServer(Server):
    """One server and its connections: the `perimeter.proxy.connection.Owner` of each of them."""

    __slots__ = ("_pool", "clock", "connections", "deadlines", "idle", "read_timeout", "turns")

    def __init__(self, settings: ServerSettings, pool: UpstreamPool) -> None:
        super().__init__(settings)
        self._pool = pool
        self.clock = pool.clock
        self.deadlines = pool.deadlines
        self.turns = pool.turns
        self.read_timeout = pool.settings.read_timeout
        #: every connection there is, so that a shutdown reaches all of them
        self.connections: set[UpstreamConnection] = set()
        #: those of them that serve no request, the one used last at the end
        self.idle: list[UpstreamConnection] = []

    def opened(self, connection: UpstreamConnection) -> None:
        """See `perimeter.proxy.connection.Owner`."""
        self.connections.add(connection)

    def released(self, connection: UpstreamConnection) -> None:
        """See `perimeter.proxy.connection.Owner`: keep the connection, unless enough are kept."""
        pool = self._pool
        if pool.closed or pool.idle_count >= pool.settings.keepalive:
            connection.close()
        else:
            pool.idle_count += 1
            self.idle.append(connection)

    def lost(self, connection: UpstreamConnection) -> None:
        """See `perimeter.proxy.connection.Owner`."""
        self.connections.discard(connection)
        self.unusable(connection)

    def unusable(self, connection: UpstreamConnection) -> None:
        """See `perimeter.proxy.connection.Owner`."""
        if connection in self.idle:
            self.idle.remove(connection)
            self._pool.idle_count -= 1


class UpstreamPool:
    """Connections to one upstream. ``clock`` returns seconds, ``deadlines`` watches the connections.

    A connection waits in ``turns`` with what is left of an answer that takes long to take apart.
    """

    def __init__(
        self, settings: UpstreamSettings, dial: Dial, deadlines: Deadlines, turns: Turns, clock: Callable[[], float]
    ) -> None:
        self.settings = settings
        self.name = settings.name
        self.deadlines = deadlines
        self.turns = turns
        self.clock = clock
        self.servers = tuple(PooledServer(server, self) for server in settings.servers)
        self.balancer = Balancer(self.servers, clock)
        self._dial = dial
        self.closed = False
        #: kept connections that serve no request, of all servers
        self.idle_count = 0

    @property
    def connections(self) -> list[UpstreamConnection]:
        """Every connection to any of the servers, idle ones included."""
        return [connection for server in self.servers for connection in server.connections]

    def take(self, server: PooledServer, repeatable: bool) -> UpstreamConnection | None:
        """An idle connection to ``server`` that is good for the request, the one used last, or None."""
        idle = server.idle
        if not idle:
            return None
        if repeatable:
            self.idle_count -= 1
            return idle.pop()
        settled = self.clock() - _PROBATION
        for at in range(len(idle) - 1, -1, -1):
            connection = idle[at]
            if (connection.served > 1 or connection.idle_since < settled) and not connection.has_input():
                del idle[at]
                self.idle_count -= 1
                return connection
        return None

    def connect(self, server: PooledServer) -> Deferred[UpstreamConnection]:
        """A new connection to ``server``."""
        return self._dial(server.settings, lambda: UpstreamConnection(server), self.settings.connect_timeout)

    def close(self) -> None:
        """Close what is idle; connections in use close when their exchange is over."""
        self.closed = True
        self.idle_count = 0
        for server in self.servers:
            idle, server.idle = server.idle, []
            for connection in idle:
                connection.close()
