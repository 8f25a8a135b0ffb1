"""Leases: how long they are held, and when they are renewed. What Redis does for them is in the integration tests."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from perimeter.cluster.leases import LIFE, Clocks, Lease, Leases
from perimeter.errors import StateUnavailable
from tests.unit.doubles.scripted_redis import ScriptedRedis

AWAY = StateUnavailable("Redis does not answer")


class LeaseTests(TestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.redis = ScriptedRedis()
        self.leases = Leases(self.redis, Clocks(self.clock, self.clock.seconds))

    def asked(self, name: str = "keyring", life: float = 9.0) -> Deferred[Any]:
        return Deferred.fromCoroutine(self.leases.take(name, life))

    def take(self, life: float = 9.0) -> Lease:
        self.redis.replies.append(b"1800000000000000")
        lease: Lease = self.successResultOf(self.asked(life=life))
        return lease

    def test_what_is_asked_for(self) -> None:
        lease = self.take()
        _, keys, (owner, life) = self.redis.ran[0]
        self.assertEqual((keys, life), (("perimeter:lease:keyring", "perimeter:fence"), 9000))
        self.assertEqual(lease.fence, 1_800_000_000_000_000)
        self.take()
        self.assertNotEqual(self.redis.ran[1][2][0], owner)
        self.redis.replies.append(b"1")
        self.successResultOf(Deferred.fromCoroutine(self.leases.take("keyring")))
        self.assertEqual(self.redis.ran[2][2][1], int(LIFE * 1000))

    def test_it_is_taken(self) -> None:
        self.redis.replies.append(None)
        self.assertIsNone(self.successResultOf(self.asked()))

    def test_what_is_no_number(self) -> None:
        for reply in (b"x", [], b""):
            self.redis.replies.append(reply)
            self.failureResultOf(self.asked(), StateUnavailable)

    def test_the_engine_is_away(self) -> None:
        self.redis.replies.append(AWAY)
        self.failureResultOf(self.asked(), StateUnavailable)

    def test_it_is_held_for_less_than_its_life_from_when_it_was_asked_for(self) -> None:
        asked = self.asked()
        self.clock.advance(2)
        self.redis.waiting.pop().callback(b"7")
        lease = self.successResultOf(asked)
        self.clock.advance(6)
        self.assertTrue(lease.held)
        self.clock.advance(0.125)
        self.assertFalse(lease.held)

    def test_it_is_renewed_at_each_third(self) -> None:
        lease = self.take()
        for third in range(1, 9):
            self.redis.replies.append(1)
            self.clock.advance(2.875)
            self.assertEqual(len(self.redis.ran), third)
            self.clock.advance(0.125)
            self.assertEqual(self.redis.ran[-1][1:], (("perimeter:lease:keyring",), self.redis.ran[0][2]))
            self.assertTrue(lease.held)

    def test_a_renewal_counts_from_when_it_was_sent(self) -> None:
        lease = self.take()
        self.clock.advance(3)
        self.clock.advance(2)
        self.redis.waiting.pop().callback(1)
        self.clock.advance(1)  # the next one
        self.clock.advance(5)
        self.assertTrue(lease.held, "3 s and 9 s, less a tenth")
        self.clock.advance(0.25)
        self.assertFalse(lease.held)

    def test_a_lease_that_another_one_has_is_over(self) -> None:
        lease = self.take()
        self.redis.replies.append(0)
        self.clock.advance(3)
        self.assertFalse(lease.held)
        self.clock.advance(30)
        self.assertEqual(len(self.redis.ran), 2)
        lease.release()
        self.assertEqual(len(self.redis.ran), 2, "nothing to release")

    def test_a_renewal_that_fails_is_tried_again(self) -> None:
        lease = self.take()
        self.redis.replies += [AWAY, 1]
        self.clock.advance(3)
        self.assertTrue(lease.held)
        self.clock.advance(3)
        self.clock.advance(8)
        self.assertTrue(lease.held)

    def test_without_renewals_it_ends(self) -> None:
        lease = self.take()
        self.redis.replies += [AWAY] * 3
        self.clock.pump([3, 3, 2])
        self.assertTrue(lease.held)
        self.clock.advance(0.125)
        self.assertFalse(lease.held)

    def test_released(self) -> None:
        with self.take() as lease:
            self.redis.replies.append(1)
        self.assertFalse(lease.held)
        self.assertEqual(self.redis.ran[1][1:], (("perimeter:lease:keyring",), self.redis.ran[0][2][:1]))
        self.clock.advance(30)
        self.assertEqual(len(self.redis.ran), 2)
        lease.release()
        self.assertEqual(len(self.redis.ran), 2)

    def test_a_release_that_fails(self) -> None:
        lease = self.take()
        self.redis.replies.append(AWAY)
        lease.release()
        self.assertFalse(lease.held)

    def test_a_renewal_that_comes_after_the_release_does_not_count(self) -> None:
        lease = self.take()
        self.clock.advance(3)
        renewal = self.redis.waiting.pop()
        self.redis.replies.append(1)
        lease.release()
        renewal.callback(1)
        self.assertFalse(lease.held)
