"""One sample a second of what the gateway does, for the operator's page.

A sample has the differences between the totals, and the state at its end (`perimeter.metrics.figures`), of all worker processes.
Samples are only made while there is a viewer, and the last `RING` of them are kept.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from perimeter.errors import Refusal
from perimeter.metrics.counts import REQUEST_BOUNDS, Metrics
from perimeter.metrics.figures import AuthenticatorNow, Now, ServerNow, Totals, now_of, totals

_log = Logger()

RING: Final = 300
"""Samples that are kept: five minutes."""

SECOND: Final = 1.0
"""Seconds between two samples."""

LINGER: Final = 60.0
"""Seconds for which samples are still made after the last request: a page without scripts is loaded every ten seconds."""


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


def sample(before: Totals, after: Totals, now: Now, time: float, seconds: float) -> Sample:
    """What happened between two moments. ``time`` is the second one (epoch seconds), ``seconds`` what is between them."""
    buckets = [count - earlier for count, earlier in zip(after.buckets, before.buckets, strict=True)]
    refusals = {reason: count - before.refusals.get(reason, 0) for reason, count in after.refusals.items()}
    return Sample(
        time=time,
        seconds=seconds,
        requests=tuple(count - earlier for count, earlier in zip(after.requests, before.requests, strict=True)),
        quantiles=(quantile(0.5, buckets), quantile(0.95, buckets), quantile(0.99, buckets)),
        refusals={reason: count for reason, count in refusals.items() if count > 0},
        sent=after.sent - before.sent,
        received=after.received - before.received,
        connections=sum(now.connections.values()),
        in_flight=now.in_flight,
        sessions=now.sessions,
        audit_failing=now.audit_failing,
        servers=tuple(now.servers),
        authenticators=tuple(now.authenticators),
    )


Gather = Callable[[], Awaitable[tuple[Totals, Now]]]
"""Returns the figures of all worker processes. Raises a `Refusal` if they are not known."""


class Sampler:
    """Makes samples while there are viewers, and gives them each sample.

    They are samples of ``metrics``, or with ``gather`` of all worker processes.
    """

    def __init__(self, metrics: Metrics, clock: IReactorTime, gather: Gather | None = None) -> None:
        self._metrics = metrics
        self._clock = clock
        self._gather = gather
        self._ring: deque[Sample] = deque(maxlen=RING)
        self._viewers: set[Callable[[Sample], None]] = set()
        self._before: Totals | None = None
        self._time = 0.0
        self._looked = 0.0
        self._loop: LoopingCall | None = None

    @property
    def samples(self) -> Sequence[Sample]:
        """Those that are kept, the oldest first."""
        return tuple(self._ring)

    def look(self) -> Sequence[Sample]:
        """The samples so far, perhaps none; more are made for `LINGER` seconds."""
        self._looked = self._clock.seconds()
        if self._loop is None:
            self._loop = LoopingCall(self._tick)
            self._loop.clock = self._clock
            if self._gather is None:
                self._before, self._time = totals(self._metrics), self._looked
            # The first figures of several processes come late; they make no sample.
            self._loop.start(SECOND, now=self._gather is not None)
        return self.samples

    def watch(self, viewer: Callable[[Sample], None]) -> Callable[[], None]:
        """Call ``viewer`` with each sample. Returns a function that ends this."""
        self._viewers.add(viewer)
        self.look()
        return lambda: self._viewers.discard(viewer)

    def stop(self) -> None:
        """Make no more samples, and forget those that were made."""
        if self._loop is not None:
            self._loop.stop()
            self._loop = None
        self._ring.clear()
        self._before = None

    def _tick(self) -> Deferred[None] | None:
        now = self._clock.seconds()
        if self._viewers:
            self._looked = now
        elif now - self._looked > LINGER:
            self.stop()
            return None
        if self._gather is not None:
            return Deferred.fromCoroutine(self._ask(self._gather, self._loop))
        sources = self._metrics.in_force()
        if sources is not None:
            self._add(totals(self._metrics), now_of(sources, now))
        return None

    async def _ask(self, gather: Gather, loop: LoopingCall | None) -> None:
        try:
            figures = await gather()
            if self._loop is loop:  # otherwise it was stopped meanwhile
                self._add(*figures)
        except Refusal:
            pass  # the next sample is of a longer time
        except Exception:  # the LoopingCall must not end
            _log.failure("there is no sample of this second")

    def _add(self, after: Totals, there: Now) -> None:
        now = self._clock.seconds()
        before, self._before = self._before, after
        earlier, self._time = self._time, now
        if before is None:
            return
        made = sample(before, after, there, now, max(0.001, now - earlier))
        self._ring.append(made)
        for viewer in tuple(self._viewers):
            try:
                viewer(made)
            except Exception:  # the others must get theirs, and the LoopingCall must not end
                _log.failure("a viewer could not take a sample")
                self._viewers.discard(viewer)
