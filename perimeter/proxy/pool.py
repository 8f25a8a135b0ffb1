"""Keeps idle connections to the servers of one upstream, and opens new ones.

A server is chosen first (`perimeter.proxy.balance`), then one of its connections. A server may close an idle connection at any
moment. A request that may be repeated takes any connection. A request that may not be repeated (RFC 9110, section 9.2.2) takes
only a reliable connection: one that has served more than one request, or stayed open for a second after its first. So a server
that closes after each response, as ecFlow's server does, never gets such a request on a connection that is about to close. No
connection is used after ``idle_timeout``, or shortly before the end of the time that the server has announced for idle ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Protocol

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from perimeter.config.site.server import ServerSettings
from perimeter.config.site.upstream import UpstreamSettings
from perimeter.net.deadlines import Deadlines
from perimeter.net.turns import Turns
from perimeter.proxy.balance import BalancedServer
from perimeter.proxy.choice import ServerChoice, health_rules
from perimeter.proxy.connection import ConnectionOwner, UpstreamConnection
from perimeter.proxy.counts import UpstreamCounts
from perimeter.proxy.faults import connection_fault
from perimeter.proxy.health import GOOD_STATES, ServerHealth, ServerState
from perimeter.proxy.introduction import of_no_client

_PROBATION = 1.0
"""Seconds after its first response for which a connection does not count as reliable."""


class Dial(Protocol):
    """Opens a connection to one server within ``timeout`` seconds, TLS handshake included."""

    def __call__(
        self,
        server: ServerSettings,
        factory: Callable[[], UpstreamConnection],
        timeout: float,
        address: str = "",
        preface: bytes = b"",
    ) -> Deferred[UpstreamConnection]:
        """Fire with the connected protocol. Fails like `perimeter.net.connect.connect`.

        ``preface`` is sent first. ``address`` is used instead of a look-up of the server's host. The certificate must have the
        name of the host.
        """


def at_address(settings: ServerSettings, address: str) -> str:
    """The URL of a server, with its address if that was looked up: it identifies the server in logs and metrics."""
    return f"{settings.url} ({address})" if address else settings.url


class PooledServer(BalancedServer):
    """One server, and the `ConnectionOwner` of its connections. ``address`` replaces the name of its host, if set."""

    __slots__ = ("_pool", "address", "clock", "connections", "deadlines", "gone", "idle", "idle_timeout", "read_timeout", "turns")

    def __init__(self, settings: ServerSettings, pool: UpstreamPool, address: str = "") -> None:
        super().__init__(settings, ServerHealth(pool.rules, pool.clock), at_address(settings, address))
        self.address = address
        #: its host does not have the address any more
        self.gone = False
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
        """See `ConnectionOwner`. Keeps the connection, unless ``keepalive`` connections are idle already, or the
        connection is introduced as that of one client."""
        pool = self._pool
        if pool.closed or self.gone or pool.idle_count >= pool.keepalive:
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


@attrs.frozen
class ServerView:
    """A server for operators. ``url`` has its address too, if that was looked up. ``fault`` is the reason why it is not up.

    ``active`` counts its requests, if they are counted (an upstream with one server and no options for it does not count them),
    ``busy`` and ``idle`` count connections.
    """

    url: str
    state: ServerState
    fault: str
    weight: int
    backup: bool
    active: int
    busy: int
    idle: int

    @property
    def usable(self) -> bool:
        """Whether it gets its share of the requests."""
        return self.state in GOOD_STATES


class UpstreamPool:
    """The connections to one upstream. ``clock`` returns seconds, ``deadlines`` watches the connections.

    A connection waits in ``turns`` with the rest of a response that takes long to parse. ``counts`` are those of all upstreams.
    ``workers`` is the number of processes that divide ``max_requests``.
    """

    def __init__(
        self,
        settings: UpstreamSettings,
        dial: Dial,
        deadlines: Deadlines,
        turns: Turns,
        clock: Callable[[], float],
        counts: UpstreamCounts | None = None,
        workers: int = 1,
    ) -> None:
        self.settings = settings
        self.name = settings.name
        self.deadlines = deadlines
        self.turns = turns
        self.clock = clock
        self.rules = health_rules(settings)
        limit = None if settings.max_requests is None else max(1, settings.max_requests // workers)
        servers = [PooledServer(server, self) for server in settings.servers]
        self.choice = ServerChoice(settings, servers, limit, deadlines, clock, counts or UpstreamCounts())
        #: all requests go to one server at once, without choice and health
        self.plain = len(servers) == 1 and limit is None and not (settings.health or settings.retries or settings.looks_up)
        #: how many idle connections are kept: none that begins with the address of one client
        self.keepalive = settings.keepalive if settings.proxy_protocol is None else 0
        #: what a connection begins with that is for no client
        self._own_preface = of_no_client(settings.proxy_protocol)
        self._dial = dial
        #: servers whose addresses are gone, and which still have requests
        self._gone: list[PooledServer] = []
        self.closed = False
        #: number of idle connections to all servers
        self.idle_count = 0

    @property
    def servers(self) -> tuple[PooledServer, ...]:
        """The servers."""
        return self.choice.balancer.servers

    def view(self) -> tuple[ServerView, ...]:
        """Each server, for operators."""
        return tuple(_view(server) for server in self.servers)

    @property
    def connections(self) -> list[UpstreamConnection]:
        """Every connection to any of the servers, including idle ones, and those to removed servers."""
        return [connection for server in (*self.servers, *self._gone) for connection in server.connections]

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

    def connect(
        self, server: PooledServer, owner: ConnectionOwner | None = None, preface: bytes | None = None
    ) -> Deferred[UpstreamConnection]:
        """Open a connection to ``server``. It belongs to ``server``, or to another ``owner``.

        ``preface`` names the client that it is for (`perimeter.proxy.introduction`); None if it is for none.
        """
        timeout = self.settings.connect_timeout
        first = self._own_preface if preface is None else preface
        return self._dial(server.settings, lambda: UpstreamConnection(owner or server), timeout, server.address, first)

    # -- its servers

    def renew(self, host: str, addresses: Sequence[str]) -> None:
        """``host`` has these addresses now: each is a server. A server whose address is gone finishes its requests.

        New addresses begin slowly, except the first ones of a name.
        """
        there = {server.place: server for server in self.servers}
        servers: list[PooledServer] = []
        for settings in self.settings.servers:
            if settings.host == host:
                slowly = any(server.settings is settings and server.address for server in self.servers)
                servers += [self._server(settings, address, there, slowly) for address in addresses]
            else:
                servers += [server for server in self.servers if server.settings is settings]
        gone = [server for server in self.servers if server not in servers]
        self.choice.replace(servers)
        self._gone = [server for server in (*self._gone, *gone) if server.connections]
        for server in gone:
            server.gone = True
            self._close_idle(server)

    def _server(self, settings: ServerSettings, address: str, there: Mapping[str, PooledServer], slowly: bool) -> PooledServer:
        server = there.get(at_address(settings, address))
        if server is None:
            server = PooledServer(settings, self, address)
            if slowly:
                server.health.begin_slowly()
        return server

    def adopt(self, old: UpstreamPool) -> None:
        """Take over the health and the requests in flight of the same servers from ``old``."""
        known = {server.place: server for server in old.servers}
        if self.choice.shares is not None and old.choice.shares is not None:
            self.choice.shares = old.choice.shares
        for server in self.servers:
            before = known.get(server.place)
            if before is not None:
                server.health, server.shown, server.active = before.health, before.shown, before.active
                before.successor = partial(self.choice.carry, server)
                server.health.rules = self.rules
                if self.settings.health is None:
                    self.choice.unchecked(server)

    def _close_idle(self, server: PooledServer) -> None:
        idle, server.idle = server.idle, []
        self.idle_count -= len(idle)
        for connection in idle:
            connection.close()

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
        for server in self.servers:
            self._close_idle(server)


def _view(server: PooledServer) -> ServerView:
    settings, health = server.settings, server.health
    state = health.state()
    return ServerView(
        url=server.place,
        state=state,
        fault="" if state in GOOD_STATES else health.fault,
        weight=settings.weight,
        backup=settings.backup,
        active=server.active,
        busy=max(0, len(server.connections) - len(server.idle)),
        idle=len(server.idle),
    )
