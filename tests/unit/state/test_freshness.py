"""How old the knowledge of the engine is: when it counts as stale, and how the notes of other processes count."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from twisted.trial.unittest import SynchronousTestCase

from perimeter.state.freshness import ALWAYS, MOST_SKEW, Freshness, machine_seconds
from perimeter.state.peers import Alone


class Page(Alone):
    """The notes of several processes; each of them has a view of its own (`seat`)."""

    def __init__(self, seats: int = 2) -> None:
        self.notes = [0] * seats
        self.at = 0

    def seat(self, number: int) -> Page:
        seat = Page(0)
        seat.notes, seat.at = self.notes, number
        return seat

    def heard(self) -> Sequence[int]:
        return self.notes

    def note_heard(self, note: int) -> None:
        self.notes[self.at] = note


class FreshnessTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.now = 5000.0
        self.fresh = self.one()

    def one(self, engine: str = "redis://a", limit: float = 60.0) -> Freshness:
        return Freshness(engine, limit, clock=lambda: self.now)

    def hears(self, freshness: Freshness) -> None:
        """The log of the engine is read to its end, and then the local log."""
        freshness.compared(0.0)
        freshness.heard()

    def test_nothing_is_known_at_first(self) -> None:
        self.assertTrue(self.fresh.stale)
        self.assertEqual(self.fresh.silent, inf)
        self.assertEqual(self.fresh.reason, "Redis has not been heard since the start")

    def test_what_was_heard_counts_until_the_limit(self) -> None:
        self.hears(self.fresh)
        self.assertEqual((self.fresh.stale, self.fresh.silent, self.fresh.reason), (False, 0.0, ""))
        self.now += 60.0
        self.assertEqual((self.fresh.stale, self.fresh.silent, self.fresh.reason), (False, 60.0, ""))
        self.now += 0.5
        self.assertTrue(self.fresh.stale)
        self.assertEqual(self.fresh.reason, "Redis has not been heard for 60 s (stale_limit is 60 s)")
        self.hears(self.fresh)
        self.assertFalse(self.fresh.stale)

    def test_a_note_counts_when_the_local_log_was_read_after_it(self) -> None:
        page = Page()
        self.fresh.join(page.seat(0))
        other = self.one()
        other.join(page.seat(1))
        before = self.fresh.mark()
        self.hears(self.fresh)
        self.assertEqual((self.fresh.stale, other.stale), (False, True))
        other.read(before)
        self.assertTrue(other.stale, "the log was read before the note was seen")
        other.read(other.mark())
        self.assertFalse(other.stale)

    def test_attack_186_an_answer_that_was_under_way_for_long_is_as_old_as_its_last_entry(self) -> None:
        self.fresh.compared(0.0)
        self.fresh.heard(59.0)
        self.assertEqual((self.fresh.stale, self.fresh.silent), (False, 59.0))
        self.fresh.heard(70.0)
        self.assertEqual(self.fresh.silent, 59.0, "an older one takes nothing back")
        self.now += 1.5
        self.assertTrue(self.fresh.stale)
        self.fresh.heard(61.0)
        self.assertTrue(self.fresh.stale)
        self.fresh.heard(10.0**9)
        self.assertEqual(self.fresh.silent, 60.5)

    def test_the_note_of_the_worker_that_follows_counts_in_all(self) -> None:
        page = Page()
        other = self.one()
        self.fresh.join(page.seat(0))
        other.join(page.seat(1))
        self.hears(self.fresh)
        other.read(other.mark())
        self.assertFalse(other.stale)
        self.assertEqual(page.notes[0], page.notes[1], "and goes on if the first worker ends")
        page.notes[0] = 0
        third = self.one()
        third.join(page.seat(0))
        third.read(third.mark())
        self.assertEqual((third.stale, third.silent), (False, 0.0))

    def test_notes_never_go_back(self) -> None:
        page = Page(1)
        self.fresh.join(page)
        self.hears(self.fresh)
        old = self.fresh.mark()
        self.now += 10.0
        self.hears(self.fresh)
        self.fresh.read(old)
        self.assertEqual(self.fresh.silent, 0.0)
        self.assertGreater(page.notes[0], old)

    def test_a_note_about_another_engine_says_nothing(self) -> None:
        page = Page()
        other = self.one("redis://b")
        self.fresh.join(page.seat(0))
        other.join(page.seat(1))
        self.hears(self.fresh)
        other.read(other.mark())
        self.assertEqual((other.mark(), other.stale, other.silent), (0, True, inf))

    def test_what_was_noted_before_the_page_is_shared_is_shared_then(self) -> None:
        page = Page(1)
        self.hears(self.fresh)
        self.fresh.join(page)
        self.assertEqual(page.notes[0], self.fresh.mark())
        self.assertNotEqual(page.notes[0], 0)

    def test_what_is_heard_counts_once_the_clocks_agree(self) -> None:
        self.fresh.heard()
        self.assertEqual((self.fresh.stale, self.fresh.mark(), self.fresh.skew), (True, 0, 0.0))
        for ahead in (2.01, -2.01):
            self.fresh.compared(ahead)
            self.fresh.heard()
            self.assertEqual((self.fresh.stale, self.fresh.mark(), self.fresh.silent), (True, 0, inf))
        self.fresh.compared(-2.0)
        self.fresh.heard()
        self.assertEqual((self.fresh.stale, self.fresh.silent), (False, 0.0))

    def test_clocks_that_differ_by_more_than_two_seconds(self) -> None:
        self.hears(self.fresh)
        for ahead, stale in ((MOST_SKEW, False), (-MOST_SKEW, False), (2.01, True), (-2.01, True), (0.0, False)):
            self.fresh.compared(ahead)
            self.assertEqual((self.fresh.stale, self.fresh.skew), (stale, ahead))
        self.fresh.compared(3.25)
        self.assertEqual(self.fresh.reason, "the clock of this machine is 3.2 s behind the clock of Redis")
        self.fresh.compared(-3.25)
        self.assertEqual(self.fresh.reason, "the clock of this machine is 3.2 s ahead of the clock of Redis")

    def test_each_turn_is_seen_once(self) -> None:
        self.assertEqual([self.fresh.turned(), self.fresh.turned()], [True, False])
        self.hears(self.fresh)
        self.assertEqual([self.fresh.turned(), self.fresh.turned()], [True, False])
        self.now += 61.0
        self.assertEqual([self.fresh.turned(), self.fresh.turned()], [True, False])

    def test_the_clock_goes_on_and_is_that_of_the_machine(self) -> None:
        self.assertLessEqual(machine_seconds(), machine_seconds())
        with open("/proc/uptime", encoding="ascii") as file:
            self.assertLess(abs(machine_seconds() - float(file.read().split()[0])), 5.0)


class AlwaysTests(SynchronousTestCase):
    def test_the_state_of_one_machine_is_never_stale(self) -> None:
        ALWAYS.allow(1.0, 1.0)
        ALWAYS.join(Page(1))
        ALWAYS.read(ALWAYS.mark())
        self.assertEqual((ALWAYS.stale, ALWAYS.turned(), ALWAYS.reason), (False, False, ""))
        self.assertEqual((ALWAYS.silent, ALWAYS.skew, ALWAYS.spared, ALWAYS.limit, ALWAYS.mark()), (0.0, 0.0, 0.0, inf, 0))
