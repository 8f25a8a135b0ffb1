"""Rates of routes."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from perimeter.errors import RateExceeded
from perimeter.limits.buckets import Buckets
from perimeter.limits.rates import RateLimit
from perimeter.limits.tables import BUCKETS_SIZE as SIZE

SECOND = 1_000_000_000
SECRET = b"s" * 32


class RateTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.now = 1000 * SECOND
        self.buckets = Buckets(memoryview(bytearray(SIZE)).cast("Q"), lambda: self.now)
        self.counted = 0

    def count(self) -> None:
        self.counted += 1

    def limit(self, amount: int, seconds: int, burst: int, **changes: Any) -> RateLimit:
        options = {"place": "rate a user s", "name": "5/s per user", "count": self.count} | changes
        return RateLimit(self.buckets, SECRET, amount=amount, seconds=seconds, burst=burst, **options)

    def refusal(self, limit: RateLimit, client: str) -> RateExceeded:
        return self.assertRaises(RateExceeded, limit.take, client)

    def test_a_burst_and_then_the_rate(self) -> None:
        limit = self.limit(5, 1, 20)
        for _ in range(20):
            limit.take("ann")
        self.refusal(limit, "ann")
        limit.take("ben")
        self.now += 200_000_000
        limit.take("ann")
        self.refusal(limit, "ann")
        self.assertEqual(self.counted, 2)

    def test_the_refusal_says_when_to_come_back(self) -> None:
        limit = self.limit(2, 60, 4)
        for _ in range(4):
            limit.take("ann")
        refusal = self.refusal(limit, "ann")
        self.assertEqual((refusal.status, refusal.reason, refusal.retry_after), (429, "rate_exceeded", 30))
        self.assertEqual(refusal.lines, b'RateLimit-Policy: "5/s per user";q=4;w=120\r\nRateLimit: "5/s per user";r=0;t=30\r\n')
        self.assertEqual(refusal.detail, "over rate = 5/s per user")
        self.now += 29 * SECOND + 1
        self.assertEqual(self.refusal(limit, "ann").retry_after, 1)
        self.now += SECOND - 1
        limit.take("ann")

    def test_the_lines_for_the_response(self) -> None:
        limit = self.limit(2, 60, 4)
        policy = b'RateLimit-Policy: "5/s per user";q=4;w=120\r\n'
        self.assertEqual(limit.take("ann"), policy + b'RateLimit: "5/s per user";r=3;t=30\r\n')
        self.assertEqual(limit.take("ann"), policy + b'RateLimit: "5/s per user";r=2;t=60\r\n')
        self.now += 1
        self.assertEqual(limit.take("ann"), policy + b'RateLimit: "5/s per user";r=1;t=90\r\n')
        self.now += 15 * SECOND
        self.assertEqual(limit.take("ann"), policy + b'RateLimit: "5/s per user";r=0;t=105\r\n')

    def test_times_are_rounded_up(self) -> None:
        limit = self.limit(5, 1, 1)
        limit.take("ann")
        refusal = self.refusal(limit, "ann")
        self.assertEqual(refusal.retry_after, 1)
        self.assertIn(b"w=1\r\n", refusal.lines)

    def test_the_same_place_has_the_same_buckets_in_the_next_configuration(self) -> None:
        self.limit(1, 1, 1).take("ann")
        self.refusal(self.limit(1, 1, 1), "ann")
        self.limit(1, 1, 1, place="rate b user s").take("ann")

    def test_bytes(self) -> None:
        limit = self.limit(1000, 1, 4000)
        self.assertEqual(limit.spend("ann", 4000), 0)
        self.assertEqual(limit.spend("ann", 500), 0.5)
        self.assertEqual(limit.spend("ann", 0), 0.5)
        self.assertEqual(limit.spend("ben", 4000), 0)
        self.now += SECOND
        self.assertEqual(limit.spend("ann", 1500), 1.0)
        self.assertEqual(self.counted, 0)

    def test_bytes_of_a_high_rate(self) -> None:
        limit = self.limit(10**12, 1, 10**12)
        self.assertEqual(limit.spend("ann", 10**12), 0)
        self.assertEqual(limit.spend("ann", 10**9), 0.001)
