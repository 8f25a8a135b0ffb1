"""What is counted while the gateway works, as plain numbers in dictionaries.

Counting a request is one look-up and some additions; everything else is done at a scrape (`perimeter.metrics.families`). Nothing
that a client chooses becomes a label (attack 23): listeners, routes, realms and sections are those of the configuration, reasons
are words of the program, a status has three digits. The counts outlive a reload, and the configuration that they belong to.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from perimeter.model.reasons import EarlyEnd
from perimeter.proxy.counts import UpstreamCounts

if TYPE_CHECKING:
    from prometheus_client.core import Metric

    from perimeter.config.site.config import SiteConfig
    from perimeter.metrics.sources import ScrapeSources
    from perimeter.model import AccessRecord

OTHER = "other"
"""Stands for a realm that is not configured: a token signed elsewhere with a shared secret can name any realm."""

REQUEST_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
AUTH_BOUNDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Seconds. The bounds of Auth-o-tron, so that the quantiles of its dashboards keep their meaning."""

RequestKey = tuple[str, str, int, str | None]
"""Listener, route ("" for none), status, and the realm of the user (None for an anonymous client)."""


class RequestRow:
    """The counts of the requests of one `RequestKey`."""

    __slots__ = ("buckets", "received", "seconds", "sent")

    def __init__(self) -> None:
        self.seconds = 0.0
        self.received = 0
        self.sent = 0
        self.buckets = [0] * (len(REQUEST_BOUNDS) + 1)


class RequestCounts:
    """Counts requests by their audit records."""

    def __init__(self) -> None:
        self.rows: dict[RequestKey, RequestRow] = {}
        #: by listener and reason
        self.refusals: Counter[tuple[str, str]] = Counter()
        self._realms: set[str] = set()

    def configured(self, config: SiteConfig) -> None:
        """``config`` is in force, or about to be."""
        self._realms.update(config.realms)

    def record(self, record: AccessRecord) -> None:
        """Count one request. This runs for every request, so it is cheap. A tunnel is counted when it ends."""
        if record.status == 101 and record.reason == EarlyEnd.TUNNEL_OPENED:
            return
        principal = record.principal
        realm = None if principal is None else principal.realm
        row = self.rows.get((record.listener, record.route, record.status, realm))
        if row is None:
            row = self._row(record, realm)
        seconds = record.duration
        row.seconds += seconds
        if record.received:
            row.received += record.received
        row.sent += record.sent
        row.buckets[bisect_left(REQUEST_BOUNDS, seconds)] += 1
        if record.reason:
            self.refusals[record.listener, record.reason] += 1

    def _row(self, record: AccessRecord, realm: str | None) -> RequestRow:
        if realm is not None and realm not in self._realms:
            realm = OTHER
        return self.rows.setdefault((record.listener, record.route, record.status, realm), RequestRow())


class Histogram:
    """Durations by labels: the sum of the seconds, and the number in each bucket."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.rows: dict[tuple[str, ...], tuple[list[float], list[int]]] = {}

    def observe(self, labels: tuple[str, ...], seconds: float) -> None:
        """Count one duration."""
        total, buckets = self.row(labels)
        total[0] += seconds
        buckets[bisect_left(self.bounds, seconds)] += 1

    def row(self, labels: tuple[str, ...]) -> tuple[list[float], list[int]]:
        """The sum and the buckets of ``labels``, all 0 at first."""
        return self.rows.setdefault(labels, ([0.0], [0] * (len(self.bounds) + 1)))


class AuthCounts:
    """Counts authentications (`perimeter.auth.chain.watch.Watch`)."""

    def __init__(self) -> None:
        self.decisions = Histogram(AUTH_BOUNDS)
        self.attempts: Counter[tuple[str, ...]] = Counter()
        self.durations = Histogram(AUTH_BOUNDS[:-1])
        self.augmentations: Counter[tuple[str, ...]] = Counter()
        self.augmenting = Histogram(AUTH_BOUNDS[:-2])
        #: name -> name, type and realm
        self._authenticators: dict[str, tuple[str, str, str]] = {}
        self._augmenters: dict[str, tuple[str, str, str]] = {}

    def configured(self, config: SiteConfig) -> None:
        """``config`` is in force, or about to be. Each count starts at 0, so that Prometheus sees the first increase."""
        several = config.user_sources
        self._authenticators.update({one.name: (one.name, one.kind, one.realm) for one in several})
        self._augmenters.update({one.name: (one.name, one.kind, one.realm) for one in config.augmenters})
        for one in several:
            for result in ("success", "error", "timeout", "unavailable"):
                self.attempts[*self._authenticators[one.name], result] += 0
            self.durations.row(self._authenticators[one.name])
        for augmenter in config.augmenters:
            for result in ("success", "error"):
                self.augmentations[*self._augmenters[augmenter.name], result] += 0
            self.augmenting.row(self._augmenters[augmenter.name][1:])

    def decided(self, result: str, realm: str, seconds: float) -> None:
        """See `Watch`."""
        self.decisions.observe((result, realm), seconds)

    def asked(self, name: str, result: str, seconds: float) -> None:
        """See `Watch`."""
        labels = self._authenticators[name]
        self.attempts[*labels, result] += 1
        self.durations.observe(labels, seconds)

    def augmented(self, name: str, result: str, seconds: float) -> None:
        """See `Watch`."""
        labels = self._augmenters[name]
        self.augmentations[*labels, result] += 1
        self.augmenting.observe(labels[1:], seconds)


class Metrics:
    """All metrics of one process. ``in_force`` returns the running parts, or None before the start and after the stop.

    ``of_all_workers`` gathers the families of all worker processes for a scrape; None if this is the only process. They may be
    iterated in a thread.
    """

    def __init__(self) -> None:
        self.requests = RequestCounts()
        self.auth = AuthCounts()
        self.upstreams = UpstreamCounts()
        #: sign-ins on the page, by method and outcome
        self.logins: Counter[tuple[str, ...]] = Counter()
        self.second_factors: Counter[tuple[str, ...]] = Counter()
        #: questions to providers about users who are signed in, by provider and outcome
        self.renewals: Counter[tuple[str, ...]] = Counter()
        #: requests that traces record (recorded), and those above the limit (limited)
        self.traces: Counter[tuple[str, ...]] = Counter()
        #: spans, by their outcome (`perimeter.traces.exporter.Outcome`)
        self.spans: Counter[tuple[str, ...]] = Counter()
        #: requests that were over a limit of their route, by the route and the limit
        self.limited: Counter[tuple[str, ...]] = Counter()
        #: reloads that succeeded, and those that failed
        self.reloads = {"success": 0, "error": 0}
        self.reloaded = True
        self.in_force: Callable[[], ScrapeSources | None] = lambda: None
        self.of_all_workers: Callable[[], Awaitable[Iterable[Metric]]] | None = None

    def configured(self, config: SiteConfig) -> None:
        """``config`` is in force, or about to be."""
        self.requests.configured(config)
        self.auth.configured(config)
        for route in config.routes:
            for limit in (*(f"rate {one.name}" for one in route.rate), *(f"in_flight {one}" for one in route.in_flight)):
                self.limited[route.name, limit] += 0
        if config.traces.endpoint:
            # so that Prometheus sees the first increase
            for recorded in ("recorded", "limited"):
                self.traces[recorded,] += 0
            for outcome in ("sent", "dropped", "refused", "failed"):
                self.spans[outcome,] += 0

    def count_trace(self, recorded: bool) -> None:
        """Count a request that traces record, or that is above their limit."""
        self.traces["recorded" if recorded else "limited",] += 1

    def count_spans(self, outcome: str, number: int) -> None:
        """Count spans. The outcome is a word of the program."""
        self.spans[outcome,] += number

    def count_limited(self, route: str, limit: str) -> None:
        """Count a request that was over a limit. Both are words of the configuration."""
        self.limited[route, limit] += 1

    def count_second_factor(self, kind: str, outcome: str) -> None:
        """A user has shown a second factor of ``kind``; ``outcome`` is ``success`` or what was wrong."""
        self.second_factors[kind, outcome] += 1

    def count_login(self, method: str, outcome: str) -> None:
        """Count a sign-in. Both are words of the program."""
        self.logins[method, outcome] += 1

    def count_renewal(self, provider: str, outcome: str) -> None:
        """Count a question to a provider about a user who is signed in. The outcome is a word of the program."""
        self.renewals[provider, outcome] += 1

    def count_reload(self, success: bool) -> None:
        """Count a reload."""
        self.reloads["success" if success else "error"] += 1
        self.reloaded = success
