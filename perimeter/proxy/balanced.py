"""Requests to an upstream with several servers, with a limit, with health checks or with retries.

A request that cannot get a server now waits (`perimeter.proxy.waiting`). A failed request may be sent to another server
(`perimeter.proxy.retries`), if that is safe: it has no body and may be repeated, and no part of a response has been passed on. A
request that was not sent, because the gateway could not connect to its server, goes to the next server in any case.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf

from twisted.python.failure import Failure

from perimeter.config.site.balancing import Balance, HashOf, Method
from perimeter.errors import Refusal, UpstreamBusy, UpstreamDown
from perimeter.fair_queue import retry_after
from perimeter.gate.clients import client_of
from perimeter.gate.decision import Admitted
from perimeter.model import Field, RequestHead, ResponseHead
from perimeter.proxy.forwarding import Forwarding, ProxyTarget
from perimeter.proxy.headers import HeaderRules
from perimeter.proxy.pool import PooledServer, UpstreamPool

BAD_STATUSES = frozenset((502, 503, 504))
"""Statuses with which a server says that it cannot serve the request."""

_HASH = Method.HASH


def proxy_target(pool: UpstreamPool, rules: HeaderRules) -> ProxyTarget:
    """The target of the routes to ``pool``."""
    return ProxyTarget(pool, rules, forwarding_of(pool))


def forwarding_of(pool: UpstreamPool) -> type[Forwarding]:
    """The class of requests to ``pool``. Those to a single server, without options for it, take a shorter way."""
    if pool.choice.shares is not None:
        return FairForwarding
    return Forwarding if pool.plain else BalancedForwarding


def hashed(balance: Balance, head: RequestHead, decision: Admitted) -> bytes:
    """The value that chooses the server of a request, for `Method.HASH`.

    A request without the header, or without a user, counts by its address.
    """
    if balance.of is HashOf.HEADER:
        value = head.headers.get(balance.header)
        if value is not None:
            return value
    elif balance.of is HashOf.USER and decision.principal is not None:
        return client_of(decision).encode()
    return decision.address.encode()


class BalancedForwarding(Forwarding):
    """One request under way, with a server that was chosen for it. It is a `Waiter` while it has none."""

    __slots__ = ("_failure", "_key", "_occupied", "_retries", "_tried", "_waits", "bounded", "client", "deadline")

    _server: PooledServer

    def begin(self) -> None:
        """Choose a server, or wait for one."""
        pool = self._target.pool
        settings = pool.settings
        self._exchange.responder = self
        self._tried: list[PooledServer] = []
        self._failure: Refusal | None = None
        #: the server that counts this request
        self._occupied: PooledServer | None = None
        self._waits = False
        self.bounded = True
        self.client = ""
        self.deadline = inf
        balance = settings.balance
        self._key = hashed(balance, self._exchange.head, self._decision) if balance.method is _HASH else b""
        self._retries = settings.retries
        if settings.retries:
            pool.choice.budget.request()
        self._choose()

    # -- a server

    def _choose(self) -> None:
        choice = self._target.pool.choice
        server = choice.balancer.choose(self._key, self._tried)
        if server is not None:
            self._occupy(server)
        elif choice.balancer.tier(self._tried):
            self._wait()
        else:
            self._exchange.refuse(self._failure or self._down())

    def _wait(self) -> None:
        self.client = client_of(self._decision)
        self._waits = True
        self._target.pool.choice.queue.add(self)

    def _down(self) -> UpstreamDown:
        pool = self._target.pool
        faults = "; ".join(f"{server.place}: {server.health.fault}" for server in pool.servers[:3])
        seconds = pool.settings.health.interval if pool.settings.health else 1.0
        return UpstreamDown(f"upstream {pool.name}: no server passes its checks: {faults}", retry_after=retry_after(seconds))

    def _occupy(self, server: PooledServer) -> None:
        self._occupied = server
        self._target.pool.choice.occupy(server)
        self._start(server)

    def _vacate(self) -> None:
        """The request has no server any more."""
        server, self._occupied = self._occupied, None
        if server is not None:
            self._target.pool.choice.vacate(server)

    def _not_connected(self, refusal: Refusal) -> None:
        self._tried.append(self._server)
        self._failure = refusal
        self.deadline = inf
        self._vacate()
        if not self._exchange.ended:
            self._choose()

    # -- waiting (Waiter)

    def admit(self) -> None:
        """See `Waiter`."""
        self._waits = False
        try:
            self._choose()
        except Exception:  # the request that has left must not fail with it
            self._broken(Failure())

    def turn_away(self, refusal: UpstreamBusy) -> None:
        """See `Waiter`."""
        self._waits = False
        self._exchange.refuse(refusal)

    def deadline_expired(self) -> None:
        """See `Waiter`."""
        self._target.pool.choice.queue.expire(self)

    # -- sending it again

    def _next(self) -> PooledServer | None:
        """Another server that the request may be sent to again, or None. It counts as a retry."""
        if not self._retries or not self._repeatable or self._body_taken or self._exchange.started or self._exchange.ended:
            return None
        choice = self._target.pool.choice
        server = choice.balancer.choose(self._key, (*self._tried, self._server))
        if server is None or not choice.may_retry():
            return None
        self._retries -= 1
        return server

    def _move(self, server: PooledServer) -> None:
        """Send the request to ``server`` after the present one has failed."""
        self._tried.append(self._server)
        self._vacate()
        self._occupy(server)

    def _unanswered(self, refusal: Refusal) -> None:
        self._target.pool.choice.answered(self._server, refusal.detail or refusal.reason)
        server = self._next()
        if server is not None:
            self._failure = refusal
            self._move(server)
        else:
            self._vacate()
            self._exchange.refuse(refusal)

    # -- the upstream's side (ReplyReceiver)

    def reply_head(self, head: ResponseHead, length: int | None) -> None:
        """The final response or the tunnel begins: pass it on, or try another server."""
        server = self._judged(head)
        if server is None:
            super().reply_head(head, length)
            return
        connection, self._connection = self._connection, None
        assert connection is not None
        connection.leave()
        self._move(server)

    def reply_whole(self, head: ResponseHead, body: bytes) -> None:
        """The complete final response: pass it on, or try another server."""
        server = self._judged(head)
        if server is None:
            self._vacate()
            super().reply_whole(head, body)
        else:
            self._connection = None
            self._move(server)

    def _judged(self, head: ResponseHead) -> PooledServer | None:
        """Another server, if the answer is bad and the request may be sent again. A service that says when to come back is not
        asked again before (Retry-After, RFC 9110, section 10.2.3)."""
        choice = self._target.pool.choice
        if head.status not in BAD_STATUSES:
            choice.answered(self._server)
            return None
        choice.answered(self._server, f"it answered {head.status}")
        return None if head.headers.get(b"retry-after") is not None else self._next()

    def reply_end(self, trailers: Sequence[Field]) -> None:
        """The response is complete."""
        self._vacate()
        super().reply_end(trailers)

    def reply_lost(self, clean: bool, seen: bool) -> None:
        """The upstream closed the connection before the response was complete."""
        self._cut(lambda: super(BalancedForwarding, self).reply_lost(clean, seen))

    def reply_timeout(self) -> None:
        """The upstream did not answer in time."""
        self._cut(super().reply_timeout)

    def _cut(self, end: Callable[[], None]) -> None:
        """The response ends early, if it has begun."""
        exchange = self._exchange
        if exchange.started or exchange.tunnel:
            if not exchange.tunnel:
                self._target.pool.choice.answered(self._server, "it broke off in the middle of a response")
            self._vacate()
        end()

    # -- the client's side (IResponder)

    def client_gone(self) -> None:
        """The client has closed the connection."""
        if self._waits:
            self._waits = False
            self._target.pool.choice.queue.remove(self)
        super().client_gone()
        self._vacate()


class FairForwarding(BalancedForwarding):
    """The same with ``fair = yes``: a client that has its share waits, even if a server has room."""

    __slots__ = ("_sharer", "_shares")

    def _choose(self) -> None:
        choice = self._target.pool.choice
        assert choice.shares is not None
        #: those of the upstream, and whose request this is
        self._shares, self._sharer = choice.shares, client_of(self._decision)
        free = choice.balancer.free()
        if free and not self._shares.may_begin(self._sharer, free):
            self._wait()
        else:
            super()._choose()

    def _occupy(self, server: PooledServer) -> None:
        self._shares.begin(self._sharer)
        super()._occupy(server)

    def _vacate(self) -> None:
        if self._occupied is not None:
            self._shares.end(self._sharer)
        super()._vacate()
