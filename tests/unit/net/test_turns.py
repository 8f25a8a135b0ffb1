from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from perimeter.net.turns import BUDGET, NEXT_TURN, Turns


class Item:
    """Does ``parts`` parts of work, each of which takes ``seconds``."""

    def __init__(self, case: TurnsTests, name: str, parts: int, seconds: float) -> None:
        self.case = case
        self.name = name
        self.parts = parts
        self.seconds = seconds

    def take_turn(self) -> None:
        self.case.now += self.seconds
        self.case.order.append(self.name)
        self.parts -= 1
        if self.parts:
            self.case.turns.wait(self)


class TurnsTests(TestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.now = 0.0
        self.order: list[str] = []
        self.turns = Turns(self.clock, lambda: self.now)

    def test_nothing_is_done_at_once(self) -> None:
        self.turns.wait(Item(self, "a", 1, 0))
        self.assertEqual((self.order, len(self.turns)), ([], 1))
        self.clock.advance(NEXT_TURN)
        self.assertEqual((self.order, len(self.turns), self.clock.getDelayedCalls()), (["a"], 0, []))

    def test_attack_46_one_after_the_other(self) -> None:
        for name in "abc":
            self.turns.wait(Item(self, name, 3, BUDGET / 100))
        self.clock.advance(NEXT_TURN)
        self.assertEqual("".join(self.order), "abcabcabc")

    def test_attack_46_the_budget_is_shared_by_all(self) -> None:
        for name in "abcdefgh":
            self.turns.wait(Item(self, name, 100, BUDGET / 4 + 1e-9))
        self.clock.advance(NEXT_TURN)
        self.assertEqual("".join(self.order), "abcd")
        self.clock.advance(NEXT_TURN)
        self.assertEqual("".join(self.order), "abcdefgh")
        self.clock.advance(NEXT_TURN)
        self.assertEqual("".join(self.order), "abcdefghabcd")

    def test_a_part_longer_than_the_budget_is_the_only_one(self) -> None:
        for name in "ab":
            self.turns.wait(Item(self, name, 1, BUDGET * 10))
        self.clock.advance(NEXT_TURN)
        self.assertEqual("".join(self.order), "a")
        self.clock.advance(NEXT_TURN)
        self.assertEqual("".join(self.order), "ab")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_one_that_fails_does_not_stop_the_others(self) -> None:
        class Failing:
            def take_turn(self) -> None:
                raise ValueError("broken")

        self.turns.wait(Failing())
        self.turns.wait(Item(self, "a", 1, 0))
        self.clock.advance(NEXT_TURN)
        self.assertEqual(self.order, ["a"])
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_what_waits_later_is_served_too(self) -> None:
        for _ in range(3):
            self.turns.wait(Item(self, "a", 2, 0))
            self.clock.advance(NEXT_TURN)
        self.assertEqual(self.order, ["a"] * 6)
