"""The counts as Prometheus reads them: families of samples, with names, help and labels.

Names and labels of the authentication are those of Auth-o-tron; the gateway's own begin with ``perimeter_``.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from perimeter.auth.chain.watch import UNKNOWN, Outcome
from perimeter.errors import (
    CredentialsTooLarge,
    ExpiredToken,
    InvalidCredentialsRequest,
    InvalidToken,
    MissingCredentials,
    Rejected,
    TooManyAttempts,
    Unavailable,
)
from perimeter.metrics.counts import REQUEST_BOUNDS, AuthCounts, Histogram, Metrics, RequestCounts
from perimeter.metrics.upstreams import upstream_counters

#: A refusal's reason -> the word of Auth-o-tron. It has no word for the last two.
_RESULTS = {
    MissingCredentials.reason: "no_auth_header",
    InvalidCredentialsRequest.reason: "invalid_header",
    CredentialsTooLarge.reason: "invalid_header",
    Rejected.reason: Outcome.ALL_FAILED,
    InvalidToken.reason: Outcome.ALL_FAILED,
    ExpiredToken.reason: Outcome.ALL_FAILED,
    Unavailable.reason: Outcome.UNAVAILABLE,
    TooManyAttempts.reason: Outcome.TOO_MANY,
}
_SWITCHING_PROTOCOLS = 101
_PROVIDER = ("provider_name", "provider_type", "realm")
_AUGMENTER = ("augmenter_name", "augmenter_type", "realm")


def families(metrics: Metrics) -> Iterator[Metric]:
    """All counts."""
    yield from _requests(metrics.requests)
    yield _auth_requests(metrics)
    yield from _auth(metrics.auth)
    yield from upstream_counters(metrics.upstreams)
    yield _counter(
        "perimeter_limited",
        "Requests that were refused because they were over a limit of their route.",
        ("route", "limit"),
        metrics.limited.items(),
    )
    yield _counter("perimeter_logins", "Sign-ins on the page of the gateway.", ("method", "outcome"), metrics.logins.items())
    shown = metrics.second_factors.items()
    yield _counter("perimeter_second_factor", "Second factors that were shown on the page.", ("kind", "outcome"), shown)
    yield _counter(
        "perimeter_session_renewals",
        "Questions to providers about users who are signed in.",
        ("provider", "outcome"),
        metrics.renewals.items(),
    )
    yield _counter("perimeter_traces", "Requests to record in traces.", ("outcome",), metrics.traces.items())
    yield _counter("perimeter_trace_spans", "Spans, by their outcome.", ("outcome",), metrics.spans.items())
    reloads = CounterMetricFamily("perimeter_config_reloads", "Reloads of the configuration.", labels=("result",))
    for result, count in metrics.reloads.items():
        reloads.add_metric((result,), count)
    yield reloads
    good = GaugeMetricFamily(
        "perimeter_config_last_reload_successful", "0 if the configuration on the disk was refused and is not in force."
    )
    good.add_metric((), metrics.reloaded)
    yield good


def _requests(counts: RequestCounts) -> Iterator[Metric]:
    requests: Counter[tuple[str, ...]] = Counter()
    received: Counter[tuple[str, ...]] = Counter()
    sent: Counter[tuple[str, ...]] = Counter()
    durations: dict[tuple[str, ...], tuple[list[float], list[int]]] = defaultdict(
        lambda: ([0.0], [0] * (len(REQUEST_BOUNDS) + 1))
    )
    for (listener, route, status, _), row in counts.rows.items():
        place = (listener, route)
        requests[listener, route, str(status)] += sum(row.buckets)
        received[place] += row.received
        sent[place] += row.sent
        if status != _SWITCHING_PROTOCOLS:  # a tunnel lasts until its user closes it
            total, buckets = durations[place]
            total[0] += row.seconds
            for at, count in enumerate(row.buckets):
                buckets[at] += count
    yield _counter("perimeter_requests", "Requests that have ended.", ("listener", "route", "status"), requests.items())
    yield _histogram(
        "perimeter_request_duration_seconds",
        "From a request's head to the last byte of the response, without tunnels.",
        ("listener", "route"),
        REQUEST_BOUNDS,
        durations.items(),
    )
    yield _counter("perimeter_received_bytes", "Bytes of the bodies of requests.", ("listener", "route"), received.items())
    yield _counter("perimeter_sent_bytes", "Bytes of the bodies of responses.", ("listener", "route"), sent.items())
    yield _counter(
        "perimeter_refusals",
        "Requests that the gateway refused or that ended early, by the reason in the audit log.",
        ("listener", "reason"),
        counts.refusals.items(),
    )


def _auth_requests(metrics: Metrics) -> Metric:
    found: Counter[tuple[str, ...]] = Counter({(result, UNKNOWN): 0 for result in _RESULTS.values()})
    for _, _, realm in (labels[:3] for labels in metrics.auth.attempts):
        found[Outcome.SUCCESS, realm] += 0
    for (_, _, _, who), row in metrics.requests.rows.items():
        if who is not None:
            found[Outcome.SUCCESS, who] += sum(row.buckets)
    for (_, reason), count in metrics.requests.refusals.items():
        result = _RESULTS.get(reason)
        if result is not None:
            found[result, UNKNOWN] += count
    return _counter("auth_requests", "Requests by whether the user is authenticated.", ("result", "realm"), found.items())


def _auth(counts: AuthCounts) -> Iterator[Metric]:
    yield _histogram(
        "auth_duration_seconds",
        "Verifications of credentials, without those that are still remembered.",
        ("result", "realm"),
        counts.decisions.bounds,
        counts.decisions.rows.items(),
    )
    yield _counter("auth_provider_attempts", "Questions to authenticators.", (*_PROVIDER, "result"), counts.attempts.items())
    yield _of("auth_provider_duration_seconds", "How long authenticators took.", _PROVIDER, counts.durations)
    yield _counter("augmenter_attempts", "Questions to augmenters.", (*_AUGMENTER, "result"), counts.augmentations.items())
    yield _of("augmenter_duration_seconds", "How long augmenters took.", _AUGMENTER[1:], counts.augmenting)


def _of(name: str, text: str, labels: Sequence[str], histogram: Histogram) -> Metric:
    return _histogram(name, text, labels, histogram.bounds, histogram.rows.items())


def _counter(name: str, text: str, labels: Sequence[str], rows: Iterable[tuple[tuple[str, ...], float]]) -> Metric:
    family = CounterMetricFamily(name, text, labels=labels)
    for values, count in rows:
        family.add_metric(values, count)
    return family


def _histogram(
    name: str,
    text: str,
    labels: Sequence[str],
    bounds: Sequence[float],
    rows: Iterable[tuple[tuple[str, ...], tuple[list[float], list[int]]]],
) -> Metric:
    family = HistogramMetricFamily(name, text, labels=labels)
    ends = [*map(str, bounds), "+Inf"]
    for values, (total, buckets) in rows:
        family.add_metric(values, list(zip(ends, accumulate(buckets), strict=True)), total[0])
    return family
