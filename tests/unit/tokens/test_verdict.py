"""Verdicts are cached in bounded memory."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import TestCase

from perimeter.model import Principal
from perimeter.tokens.verdict import Verdict, VerdictCache


def verdict(name: str = "alice") -> Verdict:
    return Verdict(Principal(name, "local"), 1.0)


class VerdictCacheTests(TestCase):
    def test_finds_what_was_put(self) -> None:
        cache = VerdictCache(32768)
        first, second = verdict(), verdict()
        cache.put(b"Bearer a", first)
        cache.put(b"bearer a", second)
        self.assertIs(cache.get(b"Bearer a"), first)
        self.assertIs(cache.get(b"bearer a"), second)
        self.assertIsNone(cache.get(b"Bearer b"))
        cache.put(b"Bearer a", second)
        self.assertIs(cache.get(b"Bearer a"), second)
        self.assertEqual(len(cache), 2)

    def test_replaces_what_grew_old(self) -> None:
        cache = VerdictCache(limit=6)
        first, second = verdict(), verdict()
        cache.put(b"a", first)
        for number in range(2):
            cache.put(b"%d" % number, verdict())
        cache.put(b"a", second)
        self.assertIs(cache.get(b"a"), second)
        self.assertEqual(len(cache), 3, "the first one is not kept beside it")

    def test_what_is_asked_for_stays(self) -> None:
        cache = VerdictCache(limit=30)
        wanted = verdict()
        cache.put(b"wanted", wanted)
        for number in range(1000):
            cache.put(b"%d" % number, verdict())
            self.assertIs(cache.get(b"wanted"), wanted)
        self.assertIsNone(cache.get(b"0"))

    def test_the_latest_third_is_always_there(self) -> None:
        cache = VerdictCache(limit=30)
        for number in range(1000):
            cache.put(b"%d" % number, verdict())
            for recent in range(max(0, number - 9), number + 1):
                self.assertIsNotNone(cache.get(b"%d" % recent))

    def test_old_verdicts_are_cleared_away_a_few_at_a_time(self) -> None:
        cache = VerdictCache(limit=300)
        for number in range(201):
            cache.put(b"%d" % number, verdict())
        left = []
        for number in range(201, 301):
            cache.put(b"%d" % number, verdict())
            left.append(len(cache._dying))
        self.assertEqual(left[-1], 98)
        for number in range(301, 350):
            cache.put(b"%d" % number, verdict())
        self.assertEqual(len(cache._dying), 0)

    def test_clear(self) -> None:
        cache = VerdictCache(limit=9)
        for number in range(9):
            cache.put(b"%d" % number, verdict())
        cache.clear()
        self.assertEqual(len(cache), 0)
        self.assertEqual([cache.get(b"%d" % number) for number in range(9)], [None] * 9)

    def test_limit_must_leave_room(self) -> None:
        self.assertRaises(ValueError, VerdictCache, 2)

    @given(st.integers(3, 40), st.lists(st.tuples(st.integers(0, 60), st.sampled_from(["put", "get", "clear"])), max_size=300))
    def test_never_more_than_the_limit_and_never_another_verdict(self, limit: int, steps: list[tuple[int, str]]) -> None:
        cache = VerdictCache(limit)
        latest: dict[bytes, Verdict] = {}
        for number, step in steps:
            key = b"%d" % number
            if step == "put":
                latest[key] = verdict(str(number))
                cache.put(key, latest[key])
                self.assertIs(cache.get(key), latest[key])
            elif step == "get":
                self.assertIn(cache.get(key), (None, latest.get(key)))
            else:
                cache.clear()
                self.assertIsNone(cache.get(key))
            held = len(cache._young) + len(cache._old) + len(cache._dying)
            self.assertLessEqual(held, limit)
            self.assertLessEqual(len(cache), held)
