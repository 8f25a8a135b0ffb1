"""One sample a second of what the gateway does, for the operator's page.

A sample is made of differences between the counts (`perimeter.metrics.counts`) and of what is read from the running gateway
(`perimeter.metrics.sources`). Samples are only made while there is a viewer, and the last `RING` of them are kept.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Sequence
from math import ceil
from typing import Any, Final

import attrs
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from perimeter.metrics.counts import REQUEST_BOUNDS, Metrics
from perimeter.metrics.sources import ScrapeSources

_log = Logger()

RING: Final = 300
"""Samples that are kept: five minutes."""

SECOND: Final = 1.0
"""Seconds between two samples."""

LINGER: Final = 60.0
"""Seconds for which samples are still made after the last request: a page without scripts is loaded every ten seconds."""

STREAM_ROUTE: Final = "operator/events"
"""The name of the route to the stream of samples.

It lasts until its viewer closes it, so its duration does not count as a response time.
"""

CLASSES: Final = ("none", "1xx", "2xx", "3xx", "4xx", "5xx")
"""Classes of statuses. ``none``: there was no answer, such as for a client that left."""

_SWITCHING_PROTOCOLS = 101
_CLIENT_GONE = 499


@attrs.frozen
class ServerNow:
    """A server of an upstream. ``busy`` and ``idle`` count connections; ``state`` is a `ServerState`."""

    upstream: str
    url: str
    busy: int
    idle: int
    state: str


@attrs.frozen
class AuthenticatorNow:
    """An authenticator. While ``down`` it is not asked for ``next_try`` seconds (its circuit breaker is open)."""

    name: str
    realm: str
    down: bool
    next_try: int


@attrs.frozen
class Sample:
    """The figures of about one second.

    ``time`` is its end (epoch seconds) and ``seconds`` its length. ``requests`` are those that ended, by class (`CLASSES`).
    ``quantiles`` are the medians and the 95th and 99th percentile of their durations (seconds), None without requests.
    ``refusals`` are by reason; ``sent`` and ``received`` count bytes of bodies; the others are counts at the end.
    """

    time: float
    seconds: float
    requests: tuple[int, ...]
    quantiles: tuple[float | None, float | None, float | None]
    refusals: dict[str, int]
    sent: int
    received: int
    connections: int
    in_flight: int
    sessions: int
    audit_failing: bool
    servers: tuple[ServerNow, ...]
    authenticators: tuple[AuthenticatorNow, ...]

    def members(self) -> dict[str, Any]:
        """The sample as members of a JSON object."""
        return attrs.asdict(self)


class Totals:
    """All counts of requests at one moment."""

    __slots__ = ("buckets", "received", "refusals", "requests", "sent")

    def __init__(self, metrics: Metrics) -> None:
        self.requests = [0] * len(CLASSES)
        #: of all requests except tunnels and streams of samples, which last until their user closes them
        self.buckets = [0] * (len(REQUEST_BOUNDS) + 1)
        self.sent = 0
        self.received = 0
        self.refusals: Counter[str] = Counter()
        for (_, route, status, _), row in metrics.requests.rows.items():
            self.requests[_class(status)] += sum(row.buckets)
            self.sent += row.sent
            self.received += row.received
            if status != _SWITCHING_PROTOCOLS and route != STREAM_ROUTE:
                for at, count in enumerate(row.buckets):
                    self.buckets[at] += count
        for (_, reason), count in metrics.requests.refusals.items():
            self.refusals[reason] += count


def _class(status: int) -> int:
    return 0 if status == _CLIENT_GONE else min(max(status // 100, 0), len(CLASSES) - 1)


def quantile(part: float, buckets: Sequence[int]) -> float | None:
    """The quantile ``part`` (0 to 1) of durations in ``buckets`` (one more than `REQUEST_BOUNDS`), in seconds.

    Linear within a bucket, as Prometheus's ``histogram_quantile`` has it; above the last bound it is that bound. None if the
    buckets are empty.
    """
    total = sum(buckets)
    if not total:
        return None
    rank = part * total
    seen = 0
    lower = 0.0
    for bound, count in zip(REQUEST_BOUNDS, buckets, strict=False):
        if count and seen + count >= rank:
            return lower + (bound - lower) * (rank - seen) / count
        seen += count
        lower = bound
    return REQUEST_BOUNDS[-1]


def sample(before: Totals, after: Totals, now: ScrapeSources, time: float, seconds: float) -> Sample:
    """What happened between two moments. ``time`` is the second one (epoch seconds), ``seconds`` what is between them."""
    buckets = [count - earlier for count, earlier in zip(after.buckets, before.buckets, strict=True)]
    return Sample(
        time=time,
        seconds=seconds,
        requests=tuple(count - earlier for count, earlier in zip(after.requests, before.requests, strict=True)),
        quantiles=(quantile(0.5, buckets), quantile(0.95, buckets), quantile(0.99, buckets)),
        refusals=dict(after.refusals - before.refusals),
        sent=after.sent - before.sent,
        received=after.received - before.received,
        connections=sum(len(connections) for connections in now.connections.values()),
        in_flight=sum(connections.in_flight() for connections in now.connections.values()),
        sessions=now.sessions,
        audit_failing=now.audit_failing,
        servers=tuple(_servers(now)),
        authenticators=tuple(
            AuthenticatorNow(one.name, one.realm, one.breaker.open, ceil(one.breaker.remaining)) for one in now.authenticators
        ),
    )


def _servers(now: ScrapeSources) -> list[ServerNow]:
    return [ServerNow(pool.name, one.url, one.busy, one.idle, one.state) for pool in now.pools for one in pool.view()]


class Sampler:
    """Makes samples of ``metrics`` while there are viewers, and gives them each sample."""

    def __init__(self, metrics: Metrics, clock: IReactorTime) -> None:
        self._metrics = metrics
        self._clock = clock
        self._ring: deque[Sample] = deque(maxlen=RING)
        self._viewers: set[Callable[[Sample], None]] = set()
        self._before: Totals | None = None
        self._time = 0.0
        self._looked = 0.0
        self._loop = LoopingCall(self._tick)
        self._loop.clock = clock

    @property
    def samples(self) -> Sequence[Sample]:
        """Those that are kept, the oldest first."""
        return tuple(self._ring)

    def look(self) -> Sequence[Sample]:
        """The samples so far, perhaps none; more are made for `LINGER` seconds."""
        self._looked = self._clock.seconds()
        if not self._loop.running:
            self._before, self._time = Totals(self._metrics), self._looked
            self._loop.start(SECOND, now=False)
        return self.samples

    def watch(self, viewer: Callable[[Sample], None]) -> Callable[[], None]:
        """Call ``viewer`` with each sample. Returns a function that ends this."""
        self._viewers.add(viewer)
        self.look()
        return lambda: self._viewers.discard(viewer)

    def stop(self) -> None:
        """Make no more samples, and forget those that were made."""
        if self._loop.running:
            self._loop.stop()
        self._ring.clear()
        self._before = None

    def _tick(self) -> None:
        now = self._clock.seconds()
        if self._viewers:
            self._looked = now
        elif now - self._looked > LINGER:
            self.stop()
            return
        sources = self._metrics.in_force()
        before = self._before
        if sources is None or before is None:
            return
        after = Totals(self._metrics)
        made = sample(before, after, sources, now, max(0.001, now - self._time))
        self._before, self._time = after, now
        self._ring.append(made)
        for viewer in tuple(self._viewers):
            try:
                viewer(made)
            except Exception:  # the others must get theirs, and the LoopingCall must not end
                _log.failure("a viewer could not take a sample")
                self._viewers.discard(viewer)
