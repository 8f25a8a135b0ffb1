"""Keeps idle connections to the servers of one upstream, and opens new ones.

A server is chosen first (`perimeter.proxy.balance`), then one of its connections. A server may close an idle connection at any
moment. A request that may be repeated takes any connection. A request that may not be repeated (RFC 9110, section 9.2.2) takes
only a reliable connection: one that has served more than one request, or stayed open for a second after its first. So a server
that closes after each response, as ecFlow's server does, never gets such a request on a connection that is about to close. No
connection is used after ``idle_timeout``, or shortly before the end of the time that the server has announced for idle ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from perimeter.config.site.server import ServerSettings
from perimeter.config.site.upstream import UpstreamSettings
from perimeter.net.deadlines import Deadlines
from perimeter.net.turns import Turns
from perimeter.proxy.balance import BalancedServer, Balancer
from perimeter.proxy.connection import UpstreamConnection
from perimeter.proxy.faults import connection_fault

_PROBATION = 1.0
"""Seconds after its first response for which a connection does not count as reliable."""


class Dial(Protocol):
    """Opens a connection to one server within ``timeout`` seconds, TLS handshake included."""

    def __call__(
        self, server: ServerSettings, factory: Callable[[], UpstreamConnection], timeout: float
    ) -> Deferred[UpstreamConnection]:
        """Fire with the connected protocol. Fails like `perimeter.net.connect.connect`."""


class PooledServer(BalancedServer):
    """One server, and the `ConnectionOwner` of its connections."""

    __slots__ = ("_pool", "clock", "connections", "deadlines", "idle", "idle_timeout", "read_timeout", "turns")

    def __init__(self, settings: ServerSettings, pool: UpstreamPool) -> None:
        super().__init__(settings)
        self._pool = pool
        self.clock = pool.clock
        self.deadlines = pool.deadlines
        self.turns = pool.turns
        self.read_timeout = pool.settings.read_timeout
        self.idle_timeout = pool.settings.idle_timeout
        #: all connections, so that a shutdown reaches each of them
        self.connections: set[UpstreamConnection] = set()
        #: the connections that serve no request; the one used last is at the end
        self.idle: list[UpstreamConnection] = []

    def opened(self, connection: UpstreamConnection) -> None:
        """See `ConnectionOwner`."""
        self.connections.add(connection)

    def released(self, connection: UpstreamConnection) -> None:
        """See `ConnectionOwner`. Keeps the connection, unless ``keepalive`` connections are idle already."""
        pool = self._pool
        if pool.closed or pool.idle_count >= pool.settings.keepalive:
            connection.close()
        else:
            pool.idle_count += 1
            self.idle.append(connection)

    def lost(self, connection: UpstreamConnection) -> None:
        """See `ConnectionOwner`."""
        self.connections.discard(connection)
        self.unusable(connection)

    def unusable(self, connection: UpstreamConnection) -> None:
        """See `ConnectionOwner`."""
        if connection in self.idle:
            self.idle.remove(connection)
            self._pool.idle_count -= 1


class UpstreamPool:
    """The connections to one upstream. ``clock`` returns seconds, ``deadlines`` watches the connections.

    A connection waits in ``turns`` with the rest of a response that takes long to parse.
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
        #: number of idle connections to all servers
        self.idle_count = 0

    @property
    def connections(self) -> list[UpstreamConnection]:
        """Every connection to any of the servers, idle ones included."""
        return [connection for server in self.servers for connection in server.connections]

    def take(self, server: PooledServer, repeatable: bool) -> UpstreamConnection | None:
        """Remove and return the idle connection to ``server`` that was used last and suits the request, or None."""
        idle = server.idle
        if not idle:
            return None
        if repeatable:
            self.idle_count -= 1
            return idle.pop()
        now = self.clock()
        settled = now - _PROBATION
        for at in range(len(idle) - 1, -1, -1):
            connection = idle[at]
            proved = connection.served > 1 or connection.idle_since < settled
            if proved and connection.deadline > now and not connection.has_input():
                del idle[at]
                self.idle_count -= 1
                return connection
        return None

    def connect(self, server: PooledServer) -> Deferred[UpstreamConnection]:
        """Open a connection to ``server``."""
        return self._dial(server.settings, lambda: UpstreamConnection(server), self.settings.connect_timeout)

    async def probe(self, server: PooledServer, timeout: float, clock: IReactorTime) -> str:
        """Connect to ``server``, for at most ``timeout`` seconds, and close. Returns what is wrong, or ""."""
        try:
            connection = await self.connect(server).addTimeout(timeout, clock)
        except Exception as problem:
            return connection_fault(problem, min(timeout, self.settings.connect_timeout))
        connection.close()
        return ""

    def close(self) -> None:
        """Close the idle connections. Connections in use close when their exchange is over."""
        self.closed = True
        self.idle_count = 0
        for server in self.servers:
            idle, server.idle = server.idle, []
            for connection in idle:
                connection.close()
