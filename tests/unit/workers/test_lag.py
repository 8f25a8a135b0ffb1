"""For how long a worker is behind."""

from __future__ import annotations

from twisted.trial.unittest import TestCase

from perimeter.workers.lag import Lag


class LagTests(TestCase):
    def test_a_worker_that_keeps_up(self) -> None:
        lag = Lag()
        self.assertEqual([lag.look(5, 5, 10.0), lag.look(5, 5, 99.0)], [0.0, 0.0])

    def test_a_change_that_does_not_come_into_force(self) -> None:
        lag = Lag()
        self.assertEqual([lag.look(5, 6, now) for now in (10.0, 10.5, 12.0)], [0.0, 0.5, 2.0])
        self.assertEqual(lag.look(5, 9, 13.0), 3.0, "the oldest change counts")
        self.assertEqual(lag.look(6, 9, 14.0), 0.0, "that one is in force, and the others have waited since now at least")
        self.assertEqual(lag.look(8, 9, 15.0), 1.0)
        self.assertEqual(lag.look(9, 9, 16.0), 0.0)

    def test_a_worker_that_is_always_a_little_behind(self) -> None:
        lag = Lag()
        for second in range(20):
            self.assertEqual(lag.look(second, second + 1, float(second)), 0.0)

    def test_other_numbers_after_the_store_was_changed(self) -> None:
        lag = Lag()
        lag.look(5, 100, 0.0)
        self.assertEqual(lag.look(5, 7, 50.0), 0.0)
        self.assertEqual(lag.look(5, 7, 52.0), 2.0)

    def test_a_clock_that_is_set_back(self) -> None:
        lag = Lag()
        lag.look(5, 6, 100.0)
        self.assertEqual(lag.look(5, 6, 50.0), 0.0)
        self.assertEqual(lag.look(5, 6, 51.0), 1.0)
