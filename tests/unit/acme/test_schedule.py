from __future__ import annotations

from datetime import UTC, datetime, timedelta

from twisted.trial import unittest

from perimeter.acme.schedule import earliest, next_question, next_try, renewal_time

START = datetime(2026, 1, 1, tzinfo=UTC)
BEGIN = START.timestamp()


class ScheduleTests(unittest.TestCase):
    def test_two_thirds_of_the_life_and_a_little_later(self) -> None:
        end = START + timedelta(days=90)
        self.assertEqual(renewal_time(START, end, 0.0), BEGIN + 60 * 86400)
        self.assertAlmostEqual(renewal_time(START, end, 1.0), BEGIN + 61.8 * 86400, places=3)

    def test_pauses_grow_with_the_failures(self) -> None:
        pauses = [next_try(1000.0, failures, 0.0, 0.0) - 1000.0 for failures in range(1, 8)]
        self.assertEqual(pauses, [60.0, 300.0, 900.0, 3600.0, 21600.0, 21600.0, 21600.0])
        self.assertEqual(next_try(0.0, 1, 0.0, 1.0), 66.0)

    def test_at_most_four_tries_in_the_first_hour(self) -> None:
        now, tries = 0.0, 1
        while now < 3600.0:
            now = next_try(now, tries, 0.0, 0.0)
            tries += now < 3600.0
        self.assertEqual(tries, 4)

    def test_pause_that_the_ca_asks_for(self) -> None:
        self.assertEqual(next_try(0.0, 1, 7200.0, 0.0), 7200.0)
        self.assertEqual(next_try(0.0, 1, 59.0, 0.0), 60.0)
        self.assertEqual(next_try(0.0, 1, 1e9, 0.0), 86400.0)

    def test_questions_are_neither_frequent_nor_rare(self) -> None:
        for wanted, expected in ((-5.0, 600.0), (600.0, 600.0), (601.0, 601.0), (21600.0, 21600.0), (1e9, 86400.0)):
            self.assertEqual(next_question(50.0, wanted), 50.0 + expected)

    def test_no_two_orders_within_an_hour(self) -> None:
        self.assertEqual(earliest(10.0, START, START + timedelta(days=90)), 3610.0)
        self.assertEqual(earliest(10.0, START, START + timedelta(seconds=1200)), 70.0)
