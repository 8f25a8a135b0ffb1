"""Sends the health checks of one upstream. `perimeter.proxy.health` decides what follows from their results.

A check is a request on a connection of its own, with the same strict reading of the response as for any request. Only the head of
the response is read, and the whole check has a deadline. With several workers, the leading worker sends the checks, and sends the
results to the others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Protocol

from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from perimeter.config.site.balancing import HealthCheck
from perimeter.errors import UpstreamBadReply
from perimeter.model import Field, ResponseHead
from perimeter.net.deadlines import Deadlines
from perimeter.net.turns import Turns
from perimeter.proxy.connection import UpstreamConnection
from perimeter.proxy.faults import connection_fault
from perimeter.proxy.pool import PooledServer, UpstreamPool

_log = Logger()

UNHEARD: Final = 3
"""Intervals without a result after which a worker that gets its results from another one regards all servers as up."""


class Others(Protocol):
    """The other workers."""

    @property
    def leads(self) -> bool:
        """Whether this worker sends the checks."""

    def tell(self, upstream: str, server: str, fault: str) -> None:
        """Send the result of a check to the others; ``server`` is its place, ``fault`` is "" if it passed."""


class HealthChecks:
    """Checks the servers of ``pool``. ``others`` is None in a single process."""

    def __init__(self, pool: UpstreamPool, check: HealthCheck, clock: IReactorTime, others: Others | None = None) -> None:
        self._pool = pool
        self._check = check
        self._clock = clock
        self._others = others
        self._loop = LoopingCall(self._round)
        self._loop.clock = clock
        self._under_way: dict[PooledServer, Deferred[None]] = {}
        self._heard = 0.0

    def start(self) -> None:
        """Check all servers now, and then at each interval."""
        self._heard = self._clock.seconds()
        self._loop.start(self._check.interval)

    def stop(self) -> None:
        """End the checks."""
        if self._loop.running:
            self._loop.stop()
        for check in tuple(self._under_way.values()):
            check.cancel()

    def heard(self, place: str, fault: str) -> None:
        """The worker that leads has checked the server at ``place``."""
        self._heard = self._clock.seconds()
        for server in self._pool.servers:
            if server.place == place:
                self._pool.choice.checked(server, fault)

    def _round(self) -> None:
        if self._others is None or self._others.leads:
            self._heard = self._clock.seconds()
            for server in self._pool.servers:
                if server not in self._under_way:
                    self._begin(server)
        elif self._clock.seconds() - self._heard > UNHEARD * self._check.interval:
            for server in self._pool.servers:
                self._pool.choice.unchecked(server)

    def _begin(self, server: PooledServer) -> None:
        def ended(result: object) -> None:
            self._under_way.pop(server, None)

        checking = Deferred.fromCoroutine(self._run(server))
        self._under_way[server] = checking
        checking.addErrback(lambda failure: failure.trap(CancelledError) and None)
        checking.addErrback(lambda failure: _log.failure("a health check has failed", failure))
        checking.addBoth(ended)

    async def _run(self, server: PooledServer) -> None:
        fault = await self.fault(server)
        if server.gone:
            return
        self._pool.choice.checked(server, fault)
        if self._others is not None:
            self._others.tell(self._pool.name, server.place, fault)

    async def fault(self, server: PooledServer) -> str:
        """Check ``server`` once. Returns its fault, or ""."""
        check = self._check
        try:
            status = await Deferred.fromCoroutine(self._status(server)).addTimeout(check.timeout, self._clock)
        except TimeoutError:
            return f"no answer to {check} within {check.timeout:g} s"
        except UpstreamBadReply as malformed:
            return f"a malformed answer to {check}: {malformed.detail}"
        except _Closed:
            return f"it closed the connection before it answered {check}"
        except CancelledError:
            raise
        except Exception as problem:
            return connection_fault(problem, check.timeout)
        return "" if check.lowest <= status <= check.highest else f"it answered {status} to {check}"

    async def _status(self, server: PooledServer) -> int:
        """The status of the response to one check."""
        check = self._check
        answer = _Answer(self._pool)
        connection = await self._pool.connect(server, answer)
        try:
            connection.begin(answer, head_only=check.method == "HEAD", tunnel=False, complete=True)
            connection.send(
                f"{check.method} {check.target} HTTP/1.1\r\nHost: {server.settings.authority}\r\n"
                "User-Agent: perimeter-health\r\nAccept: */*\r\nConnection: close\r\n\r\n".encode("ascii")
            )
            return await answer.status
        finally:
            connection.drop()


class _Closed(Exception):
    """The server has closed the connection of a check."""


class _Answer:
    """Takes the head of the response to a check (`ReplyReceiver`), and owns its connection (`ConnectionOwner`)."""

    clock: Callable[[], float]
    deadlines: Deadlines
    turns: Turns
    read_timeout: float
    idle_timeout: float

    def __init__(self, pool: UpstreamPool) -> None:
        self.clock = pool.clock
        self.deadlines = pool.deadlines
        self.turns = pool.turns
        self.read_timeout = pool.settings.read_timeout
        self.idle_timeout = pool.settings.idle_timeout
        self.status: Deferred[int] = Deferred()

    def _end(self, result: int | Exception) -> None:
        if not self.status.called:
            if isinstance(result, int):
                self.status.callback(result)
            else:
                self.status.errback(result)

    # -- ReplyReceiver

    def reply_interim(self, head: ResponseHead) -> None:
        """An informational response."""

    def reply_head(self, head: ResponseHead, length: int | None) -> None:
        """The response begins: that is enough."""
        self._end(head.status)

    def reply_whole(self, head: ResponseHead, body: bytes) -> None:
        """The complete response."""
        self._end(head.status)

    def reply_data(self, data: bytes) -> None:
        """Bytes of the body, which is not needed."""

    def reply_settled(self) -> None:
        """Nothing is held back."""

    def reply_end(self, trailers: Sequence[Field]) -> None:
        """The response is complete."""

    def reply_failed(self, refusal: UpstreamBadReply) -> None:
        """The response is invalid."""
        self._end(refusal)

    def reply_lost(self, clean: bool, seen: bool) -> None:
        """The connection ended."""
        self._end(_Closed())

    def reply_timeout(self) -> None:
        """The server sent nothing for ``read_timeout``."""
        self._end(TimeoutError())

    def pause_request(self) -> None:
        """There is no body to send."""

    def resume_request(self) -> None:
        """There is no body to send."""

    # -- ConnectionOwner

    def opened(self, connection: UpstreamConnection) -> None:
        """The server has accepted the connection."""

    def released(self, connection: UpstreamConnection) -> None:
        """The connection is for one check only."""
        connection.close()

    def unusable(self, connection: UpstreamConnection) -> None:
        """The connection is about to be dropped."""

    def lost(self, connection: UpstreamConnection) -> None:
        """The connection has ended."""
