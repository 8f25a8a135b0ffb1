"""How long a slot waits before its next worker."""

from __future__ import annotations

from twisted.trial.unittest import TestCase

from perimeter.manager.backoff import Backoff


class BackoffTests(TestCase):
    def test_each_further_failure_waits_longer(self) -> None:
        backoff = Backoff()
        self.assertEqual([backoff.ended(0.0) for _ in range(9)], [0, 1, 2, 4, 8, 16, 30, 30, 30])
        self.assertEqual(backoff.failures, 9)
        for _ in range(5000):
            self.assertEqual(backoff.ended(1.9), 30)

    def test_two_seconds_of_service_begin_anew(self) -> None:
        backoff = Backoff()
        for _ in range(5):
            backoff.ended(0.0)
        self.assertEqual((backoff.ended(2.0), backoff.failures), (0, 1))
        self.assertEqual(backoff.ended(1.9), 1)
