"""A directory of one or several servers: runs searches and tries passwords.

Searches go over a few kept connections, bound as the gateway's own account or anonymous. A user's password is tried on a
connection of its own, which is closed afterwards: no search ever runs with a user's rights, and two logins never share the state
of a connection (attack 33).

Servers are asked in their order. A server that fails is moved to the end of the order for a while (it rests). If all rest, only
the one that has rested longest is tried: a directory that is down costs one try, and the next try notices its return.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from perimeter.auth.kinds.ldap.connection import LdapConnection
from perimeter.auth.kinds.ldap.opening import Address, open_connection
from perimeter.auth.kinds.ldap.pool import MAX_PENDING, SearchPool
from perimeter.auth.kinds.ldap.results import judge_login, judge_service
from perimeter.auth.kinds.ldap.values import Found, Search, ServerFailure
from perimeter.errors import Rejected, Unavailable
from perimeter.fair_queue import FairSemaphore

T = TypeVar("T")
Step = Coroutine[Deferred[Any], Any, T]
_log = Logger()

MAX_WAITING = 500
"""Logins that wait for one of the connections for binds, and again for searches; clients take turns (`perimeter.fair_queue`)."""


class _Server:
    """One server and its state."""

    def __init__(self, address: Address, pool: SearchPool) -> None:
        self.address = address
        self.pool = pool
        #: when its rest ends, in the clock's seconds; 0 if its last question was answered
        self.rests_until = 0.0
        #: while it rests: it refused the gateway's own account, so it is not asked again before its rest ends
        self.final = False


class LdapDirectory:
    """``addresses`` in the order of preference. ``bind_dn`` and ``bind_password`` are the gateway's own account, "" for none.

    ``timeout`` is for each server to be connected to, and for each of its answers; ``rest`` for how long one that failed is left
    alone; ``search_connections`` and ``bind_connections`` bound the connections to one server and for logins.
    """

    def __init__(
        self,
        name: str,
        addresses: Sequence[Address],
        bind_dn: str,
        bind_password: str,
        reactor: Any,
        *,
        timeout: float,
        rest: float,
        search_connections: int,
        bind_connections: int,
    ) -> None:
        self._name = name
        self._account = (bind_dn, bind_password)
        self._reactor = reactor
        self._timeout = timeout
        self._rest = rest
        self._binds = FairSemaphore(bind_connections, MAX_WAITING, f"binds in the directory of {name}")
        self._searches = FairSemaphore(search_connections * MAX_PENDING, MAX_WAITING, f"searches in the directory of {name}")
        self._servers = tuple(
            _Server(address, SearchPool(self._opener(address), search_connections, reactor)) for address in addresses
        )

    async def search(self, search: Search) -> Found:
        """Run ``search`` on the first server that is able to. Raises `Unavailable`."""
        await self._searches.acquire()
        try:
            return await self._ask(lambda server: server.pool.search(search, self._timeout))
        finally:
            self._searches.release()

    async def check_password(self, dn: str, password: str) -> None:
        """Return if the directory lets ``dn`` bind with ``password``; otherwise raise `Rejected` or `Unavailable`.

        Neither may be empty: see `LdapConnection.bind`.
        """
        await self._binds.acquire()
        try:
            await self._ask(lambda server: self._bind_once(server.address, dn, password))
        finally:
            self._binds.release()

    async def probe(self) -> None:
        """Connect to a server, and bind as the account for searches. Raises `Unavailable`."""

        async def open_and_close(server: _Server) -> None:
            (await self._opener(server.address)()).close()

        await self._ask(open_and_close)

    def close(self) -> None:
        """Close connections as soon as they are not in use. Later questions each use a new connection."""
        for server in self._servers:
            server.pool.close()

    # -- one server

    def _opener(self, address: Address) -> Callable[[], Step[LdapConnection]]:
        async def opener() -> LdapConnection:
            connection = await open_connection(self._reactor, address, self._timeout)
            try:
                judge_service(await connection.bind(*self._account, self._timeout))
            except BaseException:
                connection.close()
                raise
            return connection

        return opener

    async def _bind_once(self, address: Address, dn: str, password: str) -> None:
        connection = await open_connection(self._reactor, address, self._timeout)
        try:
            judge_login(await connection.bind(dn, password, self._timeout))
        finally:
            connection.close()

    # -- one after the other

    async def _ask(self, step: Callable[[_Server], Step[T]]) -> T:
        problems = []
        for server in self._candidates():
            try:
                answer = await step(server)
            except ServerFailure as problem:
                self._failed(server, problem)
                problems.append(f"{server.address}: {problem.detail}")
            except Rejected:
                self._answered(server)
                raise
            else:
                self._answered(server)
                return answer
        said = "; ".join(problems) or "all servers rest after they failed"
        raise Unavailable(f"the directory of {self._name} cannot be asked: {said}", retry_after=self._retry_after())

    def _candidates(self) -> list[_Server]:
        now = self._reactor.seconds()
        awake = [server for server in self._servers if server.rests_until <= now]
        resting = [server for server in self._servers if server.rests_until > now and not server.final]
        resting.sort(key=lambda server: server.rests_until)
        return awake + resting if awake else resting[:1]

    def _failed(self, server: _Server, problem: ServerFailure) -> None:
        if not server.rests_until:
            _log.warn(
                "Authenticator {name}: the directory server {server} cannot be used: {detail}",
                name=self._name,
                server=str(server.address),
                detail=problem.detail,
            )
        server.rests_until = self._reactor.seconds() + self._rest
        server.final = problem.final

    def _answered(self, server: _Server) -> None:
        if server.rests_until:
            _log.info(
                "Authenticator {name}: the directory server {server} answers again", name=self._name, server=str(server.address)
            )
        server.rests_until = 0.0

    def _retry_after(self) -> int:
        soonest: float = min(server.rests_until for server in self._servers) - self._reactor.seconds()
        return max(1, math.ceil(min(soonest, self._rest)))
