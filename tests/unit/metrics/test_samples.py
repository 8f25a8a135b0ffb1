"""One sample a second, from the counts that Prometheus reads."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import attrs
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from perimeter.metrics.counts import REQUEST_BOUNDS, Metrics
from perimeter.metrics.figures import AuthenticatorNow, ServerNow
from perimeter.metrics.samples import LINGER, RING, Sample, Sampler, quantile
from perimeter.metrics.sources import ScrapeSources
from perimeter.proxy.health import ServerState
from perimeter.proxy.pool import ServerView
from tests.unit.doubles.audit_records import make_record

NOTHING = ScrapeSources(connections={}, pools=(), audit_failing=False, authenticators=(), keys=(), queues={}, sessions=0)


def buckets(**counts: int) -> list[int]:
    found = [0] * (len(REQUEST_BOUNDS) + 1)
    for place, count in counts.items():
        found[int(place[1:])] = count
    return found


@attrs.define
class Pool:
    name: str
    servers: Sequence[ServerView]
    plain: bool = True

    def view(self) -> Sequence[ServerView]:
        return self.servers


@attrs.define
class Breaker:
    open: bool
    remaining: float


@attrs.define
class Guarded:
    name: str
    realm: str
    breaker: Breaker


class There(set[int]):
    def in_flight(self) -> int:
        return 7


class QuantileTests(TestCase):
    def test_none_without_requests(self) -> None:
        self.assertIsNone(quantile(0.5, buckets()))

    def test_linear_within_a_bucket(self) -> None:
        # the third bucket is from 0.0025 to 0.005
        self.assertAlmostEqual(quantile(0.5, buckets(b2=10)) or 0, 0.00375)
        self.assertAlmostEqual(quantile(1.0, buckets(b2=10)) or 0, 0.005)
        self.assertAlmostEqual(quantile(0.5, buckets(b0=1)) or 0, 0.0005)

    def test_a_rank_on_the_end_of_a_bucket_is_its_bound(self) -> None:
        self.assertAlmostEqual(quantile(0.5, buckets(b0=5, b9=5)) or 0, 0.001)
        self.assertAlmostEqual(quantile(0.95, buckets(b0=94, b9=6)) or 0, 0.5 + 0.5 * 1 / 6)

    def test_above_the_last_bound(self) -> None:
        self.assertEqual(quantile(0.99, buckets(b14=3)), 30.0)


class SamplerTests(TestCase):
    def setUp(self) -> None:
        self.metrics = Metrics()
        self.sources: ScrapeSources | None = NOTHING
        self.metrics.in_force = lambda: self.sources
        self.clock = Clock()
        self.clock.advance(1000)
        self.sampler = Sampler(self.metrics, self.clock)
        self.addCleanup(self.sampler.stop)

    def count(self, number: int = 1, **record: Any) -> None:
        for _ in range(number):
            self.metrics.requests.record(make_record(**record))

    def after(self, seconds: float = 1.0) -> Sample:
        self.clock.advance(seconds)
        return self.sampler.samples[-1]

    def test_a_sample_has_what_happened_since_the_one_before(self) -> None:
        self.count(5)
        self.assertEqual(self.sampler.look(), ())
        self.count(3, status=200, duration=0.0005, sent=10, received=2)
        self.count(1, status=404, duration=0.3, sent=1, reason="no_route")
        self.count(1, status=499, reason="client_gone", sent=0)
        self.count(1, status=0, sent=0)
        self.count(1, status=101, duration=3600.0, sent=7)
        self.count(2, status=503, reason="overloaded", listener="other", sent=0)
        self.count(1, status=503, reason="overloaded", sent=0)
        found = self.after()
        self.assertEqual((found.time, found.seconds), (1001.0, 1.0))
        self.assertEqual(found.requests, (2, 1, 3, 0, 1, 3))
        self.assertEqual(found.refusals, {"no_route": 1, "client_gone": 1, "overloaded": 3})
        self.assertEqual((found.sent, found.received), (38, 6))
        self.assertAlmostEqual(found.quantiles[0] or 0, 0.01 + 0.015 * 1.5 / 5, places=4)
        found = self.after()
        self.assertEqual((found.requests, found.refusals, found.sent), ((0, 0, 0, 0, 0, 0), {}, 0))
        self.assertEqual(found.quantiles, (None, None, None))

    def test_the_sum_of_the_samples_is_the_count(self) -> None:
        self.sampler.look()
        for number in range(20):
            self.count(number, status=200)
            self.clock.advance(1)
        self.assertEqual(sum(sum(one.requests) for one in self.sampler.samples), sum(range(20)))

    def test_what_is_read_of_the_gateway(self) -> None:
        server = ServerView("http://127.0.0.1:1", ServerState.RESTING, "refused", 1, False, 0, 2, 1)
        other = ServerView("http://127.0.0.1:2", ServerState.UP, "", 1, False, 0, 0, 0)
        self.sources = ScrapeSources(
            connections={"http": There((1, 2))},  # type: ignore[dict-item]
            pools=(Pool("app", (server, other)),),  # type: ignore[arg-type]
            audit_failing=True,
            authenticators=(Guarded("corp", "example", Breaker(True, 2.1)),),  # type: ignore[arg-type]
            keys=(),
            queues={},
            sessions=4,
        )
        self.sampler.look()
        found = self.after()
        self.assertEqual((found.connections, found.in_flight, found.sessions, found.audit_failing), (2, 7, 4, True))
        self.assertEqual(
            found.servers,
            (
                ServerNow("app", "http://127.0.0.1:1", 2, 1, "resting", "refused"),
                ServerNow("app", "http://127.0.0.1:2", 0, 0, "up"),
            ),
        )
        self.assertEqual(found.authenticators, (AuthenticatorNow("corp", "example", True, 3),))
        self.assertLess(len(json.dumps(found.members())), 1024)

    def test_a_ring_of_five_minutes(self) -> None:
        self.sampler.watch(lambda _: None)
        self.clock.pump([1.0] * (RING + 5))
        self.assertEqual(len(self.sampler.samples), RING)
        self.assertEqual(self.sampler.samples[0].time, 1006.0)

    def test_no_samples_are_made_without_a_viewer(self) -> None:
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.sampler.look()
        self.clock.pump([1.0] * int(LINGER))
        self.assertEqual(len(self.sampler.samples), int(LINGER))
        self.clock.pump([1.0] * 2)
        self.assertEqual((self.sampler.samples, self.clock.getDelayedCalls()), ((), []))
        self.assertEqual(self.sampler.look(), ())
        self.count(2)
        self.assertEqual(sum(self.after().requests), 2)

    def test_viewers_keep_it_going_and_end(self) -> None:
        seen: list[Sample] = []
        end = self.sampler.watch(seen.append)
        self.clock.pump([1.0] * 100)
        self.assertEqual(len(seen), 100)
        end()
        end()
        self.clock.pump([1.0] * 62)
        self.assertEqual((len(seen), self.clock.getDelayedCalls()), (100, []))

    def test_a_viewer_that_fails_loses_its_place_alone(self) -> None:
        seen: list[Sample] = []

        def broken(_: Sample) -> None:
            raise ValueError("gone")

        self.sampler.watch(broken)
        self.sampler.watch(seen.append)
        self.clock.pump([1.0] * 2)
        self.assertEqual(len(seen), 2)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_while_the_gateway_stops(self) -> None:
        self.sampler.look()
        self.sources = None
        self.clock.advance(1)
        self.assertEqual(self.sampler.samples, ())
