"""Counts of all machines: what is asked for, and replies that are no counts. What Redis does is in the integration tests."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from perimeter.cluster.counts import MOST_BEGUN, NO_DECAY, Count, Decay, SharedCounts
from perimeter.errors import StateUnavailable
from tests.unit.doubles.scripted_redis import ScriptedRedis


class CountTests(TestCase):
    def setUp(self) -> None:
        self.redis = ScriptedRedis()
        self.counts = SharedCounts(self.redis, b"k" * 32, 1800.0)

    def done(self, work: Any, *replies: Any) -> Any:
        self.redis.replies += replies
        return self.successResultOf(Deferred.fromCoroutine(work))

    def test_a_failure(self) -> None:
        self.assertEqual(self.done(self.counts.add(b"a"), [3, 0, -1]), Count(3, 0.0, None))
        self.assertEqual(self.done(self.counts.add(b"a", Decay(8, 0.25), b"guess"), [3, 1500, 2500]), Count(3, 1.5, 2.5))
        (_, plain, first), (_, once, second) = self.redis.ran
        self.assertEqual(first, (NO_DECAY.limit, "0.000000000", 1_800_000, MOST_BEGUN))
        self.assertEqual(second, (8, "0.250000000", 1_800_000, MOST_BEGUN))
        self.assertEqual((plain, len(once)), (once[:2], 3))
        self.assertTrue(all(key.startswith("perimeter:") for key in once))

    def test_names_are_keyed_digests(self) -> None:
        other = SharedCounts(self.redis, b"x" * 32, 1800.0)
        for counts in (self.counts, other):
            for name, once in ((b"a", b""), (b"b", b""), (b"a", b"b"), (b"ab", b"c"), (b"a", b"bc")):
                self.done(counts.add(name, once=once), [1, 0, -1])
        keys = [key for _, names, _ in self.redis.ran for key in (names[0], *names[2:])]
        self.assertEqual(len(set(keys)), 12, "3 counts and 3 marks for each key")

    def test_counts(self) -> None:
        found = self.done(self.counts.find([b"a", b"b"]), [[0, 0, -1], [7, 2000, 0]])
        self.assertEqual(found, [Count(0, 0.0, None), Count(7, 2.0, 0.0)])

    def test_a_clock_of_a_new_primary_that_is_behind(self) -> None:
        self.assertEqual(self.done(self.counts.find([b"a"]), [[2, -5000, -5000]]), [Count(2, 0.0, 0.0)])

    def test_dropped(self) -> None:
        self.done(self.counts.drop([b"a", b"b"]), 2)
        self.assertEqual((len(self.redis.ran[0][1]), self.redis.ran[0][2]), (2, (1_800_000,)))

    def test_what_is_no_count(self) -> None:
        for reply in (
            None,
            3,
            [],
            [[1, 2]],
            [["1", 0, -1]],
            [[1, 0, None]],
            [[-1, 0, -1]],
            [[10**6 + 1, 0, -1]],
            [[1, 10**9 + 1, -1]],
        ):
            self.redis.replies.append(reply)
            self.failureResultOf(Deferred.fromCoroutine(self.counts.find([b"a"])), StateUnavailable)
        self.assertEqual(self.done(self.counts.find([b"a"]), [[10**6, 10**9, -1]]), [Count(10**6, 10.0**6, None)])
        for replies in ([[1, 0, -1]] * 2, []):
            self.redis.replies.append(replies)
            self.failureResultOf(Deferred.fromCoroutine(self.counts.find([b"a"])), StateUnavailable)

    def test_the_engine_is_away(self) -> None:
        for work in (self.counts.add(b"a"), self.counts.find([b"a"]), self.counts.drop([b"a"])):
            self.redis.replies.append(StateUnavailable("Redis does not answer"))
            self.failureResultOf(Deferred.fromCoroutine(work), StateUnavailable)
