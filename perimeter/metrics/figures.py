"""The figures of one moment, for the operator's page: the counts so far, and the present state.

Both are values that one worker process sends to another as JSON, and those of several processes become one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import ceil
from typing import Any, Final, TypeVar

import attrs

from perimeter.metrics.counts import REQUEST_BOUNDS, Metrics
from perimeter.metrics.sources import NotRunning, ScrapeSources
from perimeter.proxy.health import GOOD_STATES, GRAVITY, ServerState
from perimeter.workers.gathered import WorkerNow, known
from perimeter.workers.sums import Counts

CLASSES: Final = ("none", "1xx", "2xx", "3xx", "4xx", "5xx")
"""Classes of statuses. ``none``: there was no answer, such as for a client that left."""

STREAM_ROUTE: Final = "operator/events"
"""The name of the route to the stream of samples.

It lasts until its viewer closes it, so its duration does not count as a response time.
"""

_SWITCHING_PROTOCOLS = 101
_CLIENT_GONE = 499

_REQUESTS: Final = "figures.requests"
_REFUSALS: Final = "figures.refusals"
_LIMITED: Final = "figures.limited"

T = TypeVar("T")


@attrs.frozen
class Totals:
    """Requests so far.

    ``requests`` are by class (`CLASSES`), ``refusals`` by reason, those over a limit (``limited``) by route and limit.
    ``buckets`` are of the durations of all requests except tunnels and streams of samples, which last until their user closes
    them. ``sent`` and ``received`` count bytes of bodies.
    """

    requests: Sequence[int]
    buckets: Sequence[int]
    refusals: Mapping[str, int]
    sent: int = 0
    received: int = 0
    limited: Mapping[tuple[str, ...], int] = attrs.field(factory=dict)

    def counts(self) -> Counts:
        """As counts that can be added up."""
        return {
            _REQUESTS: [[[], [self.sent, self.received, *self.requests, *self.buckets]]],
            _REFUSALS: [[[reason], [count]] for reason, count in self.refusals.items()],
            _LIMITED: [[list(labels), [count]] for labels, count in self.limited.items()],
        }

    @classmethod
    def from_counts(cls, counts: Counts) -> Totals:
        """The totals in the sum of several processes' counts."""
        ((_, (sent, received, *rest)),) = counts.get(_REQUESTS) or [[[], [0] * (2 + len(CLASSES) + len(REQUEST_BOUNDS) + 1)]]
        refusals = {reason: count for (reason,), (count,) in counts.get(_REFUSALS, ())}
        limited = {tuple(labels): count for labels, (count,) in counts.get(_LIMITED, ())}
        return cls(rest[: len(CLASSES)], rest[len(CLASSES) :], refusals, sent, received, limited)


def totals(metrics: Metrics) -> Totals:
    """The totals of this process."""
    requests, buckets, sent, received = [0] * len(CLASSES), [0] * (len(REQUEST_BOUNDS) + 1), 0, 0
    for (_, route, status, _), row in metrics.requests.rows.items():
        requests[_class(status)] += sum(row.buckets)
        sent += row.sent
        received += row.received
        if status != _SWITCHING_PROTOCOLS and route != STREAM_ROUTE:
            for at, count in enumerate(row.buckets):
                buckets[at] += count
    refusals: dict[str, int] = {}
    for (_, reason), count in metrics.requests.refusals.items():
        refusals[reason] = refusals.get(reason, 0) + count
    return Totals(requests, buckets, refusals, sent, received, dict(metrics.limited))


def _class(status: int) -> int:
    return 0 if status == _CLIENT_GONE else min(max(status // 100, 0), len(CLASSES) - 1)


@attrs.frozen
class ServerNow:
    """A server of an upstream, as `perimeter.proxy.pool.ServerView` has it. ``state`` is a `ServerState`."""

    upstream: str
    url: str
    busy: int
    idle: int
    state: str = ServerState.UP
    fault: str = ""
    weight: int = 1
    backup: bool = False
    active: int = 0

    @property
    def usable(self) -> bool:
        """Whether it gets its share of the requests."""
        return self.state in GOOD_STATES


@attrs.frozen
class AuthenticatorNow:
    """An authenticator. While ``down`` it is not asked for ``next_try`` seconds (its circuit breaker is open)."""

    name: str
    realm: str
    down: bool
    next_try: int


@attrs.frozen
class Now:
    """The present state. ``connections`` are by listener, ``waiting`` are requests that wait for a server, by upstream."""

    connections: Mapping[str, int]
    in_flight: int
    sessions: int
    audit_failing: bool
    servers: Sequence[ServerNow]
    authenticators: Sequence[AuthenticatorNow]
    waiting: Mapping[str, int] = attrs.field(factory=dict)

    def members(self) -> dict[str, Any]:
        """As members of a JSON object."""
        return attrs.asdict(self)

    @classmethod
    def from_members(cls, members: Mapping[str, Any]) -> Now:
        """The value of `members`, perhaps from another process."""
        rows = {
            "servers": [known(ServerNow, one) for one in members["servers"]],
            "authenticators": [known(AuthenticatorNow, one) for one in members["authenticators"]],
        }
        return known(cls, {**members, **rows})


def now_of(sources: ScrapeSources, time: float) -> Now:
    """The present state of this process. ``time`` is the present (epoch seconds)."""
    return Now(
        connections={name: len(several) for name, several in sources.connections.items()},
        in_flight=sum(connections.in_flight() for connections in sources.connections.values()),
        sessions=sources.sessions,
        audit_failing=sources.audit_failing,
        servers=[
            ServerNow(pool.name, one.url, one.busy, one.idle, str(one.state), one.fault, one.weight, one.backup, one.active)
            for pool in sources.pools
            for one in pool.view()
        ],
        authenticators=[
            AuthenticatorNow(one.name, one.realm, one.breaker.open, ceil(one.breaker.remaining)) for one in sources.authenticators
        ],
        waiting={pool.name: len(pool.choice.queue) for pool in sources.pools if not pool.plain},
    )


def together(own: Now, others: Iterable[Now]) -> Now:
    """The present state of all processes: connections are added up, a state is the worst one, all processes have all sessions.

    Listeners, servers and authenticators are those of ``own``, in its order: another process may have another configuration for a
    moment.
    """
    several = (own, *others)
    servers = _grouped(several, lambda now: now.servers, lambda one: (one.upstream, one.url))
    authenticators = _grouped(several, lambda now: now.authenticators, lambda one: (one.name, one.realm))
    return Now(
        connections={name: sum(one.connections.get(name, 0) for one in several) for name in own.connections},
        in_flight=sum(one.in_flight for one in several),
        sessions=max(one.sessions for one in several),
        audit_failing=any(one.audit_failing for one in several),
        servers=[
            attrs.evolve(
                max(same, key=lambda one: GRAVITY[one.state]),
                busy=sum(one.busy for one in same),
                idle=sum(one.idle for one in same),
                active=sum(one.active for one in same),
            )
            for first, same in servers
        ],
        authenticators=[
            attrs.evolve(first, down=any(one.down for one in same), next_try=max(one.next_try for one in same))
            for first, same in authenticators
        ],
        waiting={name: sum(one.waiting.get(name, 0) for one in several) for name in own.waiting},
    )


def _grouped(
    several: Sequence[Now], rows: Callable[[Now], Sequence[T]], key: Callable[[T], object]
) -> list[tuple[T, Sequence[T]]]:
    """Each row of the first list, with the rows of all lists that have the same key."""
    found: dict[object, list[T]] = {}
    for now in several:
        for row in rows(now):
            found.setdefault(key(row), []).append(row)
    return [(row, found[key(row)]) for row in rows(several[0])]


@attrs.frozen
class Figures:
    """The figures of the gateway, which has been up for ``uptime`` seconds.

    ``workers`` are its worker processes, none if there is one process.
    """

    totals: Totals
    now: Now
    uptime: float
    workers: Sequence[WorkerNow] = ()


def own_figures(metrics: Metrics, time: float, uptime: float = 0.0) -> Figures:
    """The figures of this process. ``time`` is the present (epoch seconds). Raises `NotRunning` while it stops."""
    sources = metrics.in_force()
    if sources is None:
        raise NotRunning
    return Figures(totals(metrics), now_of(sources, time), uptime)
