"""Bounded memories: never more than their limit, never another value, and nothing beyond its time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from perimeter.recent import Expiring, Memo, Recent

KEYS = st.lists(st.tuples(st.integers(0, 9), st.booleans()), max_size=60)


class MemoTests(TestCase):
    def test_a_full_memo_is_cleared(self) -> None:
        memo: Memo[str, int] = Memo(2)
        self.assertEqual(memo.keep("a", 1), 1)
        memo.keep("b", 2)
        self.assertEqual(dict(memo), {"a": 1, "b": 2})
        memo.keep("c", 3)
        self.assertEqual(dict(memo), {"c": 3})

    @given(st.integers(1, 5), KEYS)
    def test_never_more_than_the_limit_and_never_another_value(self, limit: int, steps: list[tuple[int, bool]]) -> None:
        memo: Memo[int, object] = Memo(limit)
        latest: dict[int, object] = {}
        for key, put in steps:
            if put:
                latest[key] = memo.keep(key, object())
            self.assertIn(memo.get(key), (None, latest.get(key)))
            self.assertLessEqual(len(memo), limit)


class RecentTests(TestCase):
    def test_the_entry_that_was_kept_longest_ago_is_dropped(self) -> None:
        recent: Recent[str, int] = Recent(2)
        for key, value in (("a", 1), ("b", 2), ("a", 3), ("c", 4)):
            recent.keep(key, value)
        self.assertEqual(list(recent.items()), [("a", 3), ("c", 4)])


class ExpiringTests(TestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.memory: Expiring[str, object] = Expiring(2, 10, self.clock.seconds)
        self.value = object()

    def test_an_entry_lasts_for_its_time(self) -> None:
        self.memory.keep("a", self.value)
        self.clock.advance(9.9)
        self.assertIs(self.memory.get("a"), self.value)
        self.clock.advance(0.1)
        self.assertIsNone(self.memory.get("a"), "at its end an entry is gone")
        self.assertEqual(len(self.memory), 0)

    def test_it_counts_from_when_the_question_was_asked(self) -> None:
        self.clock.advance(8)
        self.memory.keep("a", self.value, since=2)
        self.clock.advance(4)
        self.assertIsNone(self.memory.get("a"))

    def test_it_ends_with_what_it_stands_for(self) -> None:
        self.memory.keep("a", self.value, until=3)
        self.clock.advance(3)
        self.assertIsNone(self.memory.get("a"))

    def test_what_has_ended_is_not_kept(self) -> None:
        self.clock.advance(20)
        self.memory.keep("a", self.value, since=10)
        self.memory.keep("b", self.value, until=20)
        Expiring(2, 0, self.clock.seconds).keep("c", self.value)
        self.assertEqual(len(self.memory), 0)

    def test_the_least_recently_used_entry_makes_room(self) -> None:
        for key in ("a", "b"):
            self.memory.keep(key, self.value)
        self.memory.get("a")
        self.memory.keep("c", self.value)
        self.assertEqual([self.memory.get(key) is not None for key in ("a", "b", "c")], [True, False, True])

    def test_the_end_of_an_entry(self) -> None:
        self.clock.advance(5)
        self.memory.keep("a", self.value)
        self.assertEqual((self.memory.end("a"), self.memory.end("b")), (15, 0))

    def test_some_are_dropped(self) -> None:
        other = object()
        self.memory.keep("a", self.value)
        self.memory.keep("b", other)
        self.memory.drop_if(lambda value: value is other)
        self.assertEqual((self.memory.get("a"), self.memory.get("b")), (self.value, None))

    def test_clear(self) -> None:
        self.memory.keep("a", self.value)
        self.memory.clear()
        self.assertIsNone(self.memory.get("a"))

    @given(st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from(["keep", "get", "wait"])), max_size=60))
    def test_never_more_than_the_limit_and_nothing_that_has_ended(self, steps: list[tuple[str, str]]) -> None:
        self.setUp()
        ends: dict[str, float] = {}
        for key, step in steps:
            if step == "keep":
                self.memory.keep(key, key)
                ends[key] = self.clock.seconds() + 10
            elif step == "wait":
                self.clock.advance(4)
            found = self.memory.get(key)
            self.assertIn(found, (None, key))
            if found is not None:
                self.assertLess(self.clock.seconds(), ends[key])
            self.assertLessEqual(len(self.memory), 2)
