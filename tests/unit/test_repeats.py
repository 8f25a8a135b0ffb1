"""Messages that repeat: the first ones are written, the rest are counted, and what is remembered is bounded."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from perimeter.repeats import FIRST_SPAN, LONGEST_SPAN, MOST_KINDS, Count, Repeats


class RepeatsTests(TestCase):
    def setUp(self) -> None:
        self.clock = Clock()

    def repeats(self, first: int = 1, limit: int = MOST_KINDS) -> Repeats[str]:
        return Repeats(self.clock.seconds, first, limit)

    def test_one_of_a_kind_is_written(self) -> None:
        repeats = self.repeats()
        self.assertEqual([repeats.admit("a"), repeats.admit("b"), repeats.admit("a")], [True, True, False])

    def test_as_many_as_wanted_are_written(self) -> None:
        repeats = self.repeats(first=3)
        self.assertEqual([repeats.admit("a") for _ in range(5)], [True, True, True, False, False])

    def test_the_rest_are_reported_at_the_end_of_the_span(self) -> None:
        repeats = self.repeats()
        for _ in range(6):
            repeats.admit("a")
        self.clock.advance(FIRST_SPAN - 0.5)
        self.assertEqual(repeats.due(), [])
        self.clock.advance(0.5)
        self.assertEqual(repeats.due(), [Count("a", 5, FIRST_SPAN)])
        self.assertEqual(repeats.due(), [])

    def test_spans_double_while_it_goes_on(self) -> None:
        repeats = self.repeats()
        repeats.admit("a")
        spans = []
        for _ in range(8):
            self.assertFalse(repeats.admit("a"))
            began = self.clock.seconds()
            while not (found := repeats.due()):
                self.clock.advance(1)
            self.assertEqual([(count.key, count.more) for count in found], [("a", 1)])
            spans.append(self.clock.seconds() - began)
        self.assertEqual(spans, [10, 20, 40, 80, 160, 320, LONGEST_SPAN, LONGEST_SPAN])

    def test_after_a_span_without_any_it_is_written_again(self) -> None:
        repeats = self.repeats()
        repeats.admit("a")
        self.clock.advance(FIRST_SPAN)
        self.assertFalse(repeats.admit("a"))
        self.assertEqual(repeats.due(), [Count("a", 1, FIRST_SPAN)])
        self.clock.advance(2 * FIRST_SPAN)
        self.assertEqual((repeats.due(), len(repeats)), ([], 0))
        self.assertTrue(repeats.admit("a"))

    def test_a_clock_that_is_set_back_holds_nothing_up(self) -> None:
        self.clock.advance(1000)
        repeats = self.repeats()
        repeats.admit("a")
        repeats.admit("a")
        self.clock.rightNow -= 500
        self.assertEqual([(count.key, count.more) for count in repeats.due()], [("a", 1)])

    def test_the_rest_at_the_end(self) -> None:
        repeats = self.repeats()
        for key in "aab":
            repeats.admit(key)
        self.clock.advance(2)
        self.assertEqual(repeats.rest(), [Count("a", 1, 2.0)])
        self.assertEqual((repeats.rest(), len(repeats)), ([], 0))

    def test_kinds_beyond_the_limit_are_counted_together(self) -> None:
        repeats = self.repeats(limit=2)
        self.assertEqual([repeats.admit(key) for key in "abcdab"], [True, True, True, False, False, False])
        self.assertEqual(len(repeats), 3)
        self.assertEqual({(count.key, count.more) for count in repeats.rest()}, {("a", 1), ("b", 1), (None, 1)})

    @given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 15)), max_size=60), st.integers(1, 3))
    def test_every_message_is_written_or_counted(self, steps: list[tuple[int, int]], first: int) -> None:
        clock = Clock()
        repeats: Repeats[int] = Repeats(clock.seconds, first, 8)
        written = counted = 0
        for key, seconds in steps:
            written += repeats.admit(key)
            clock.advance(seconds)
            counted += sum(count.more for count in repeats.due())
            self.assertLessEqual(len(repeats), 9)
        counted += sum(count.more for count in repeats.rest())
        self.assertEqual(written + counted, len(steps))
