"""The memory of tokens: one question at a time for a token, and nothing from before it forgets."""

from __future__ import annotations

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from perimeter.auth.kinds.remote.memory import TokenMemory, Vouched
from perimeter.model import Principal

ALICE, BOB = Principal("alice", "r"), Principal("bob", "r")


class MemoryTests(TestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.memory = TokenMemory(60.0, self.clock)
        self.questions: list[Deferred[Vouched | None]] = []

    def find(self) -> Deferred[Principal | None]:
        async def look() -> Vouched | None:
            self.questions.append(Deferred())
            return await self.questions[-1]

        return Deferred.fromCoroutine(self.memory.find("token", look))

    def test_a_question_under_way_is_shared_until_it_is_forgotten(self) -> None:
        first, second = self.find(), self.find()
        self.assertEqual(len(self.questions), 1)
        self.memory.forget()
        third = self.find()
        self.assertEqual(len(self.questions), 2)
        self.questions[0].callback(Vouched(ALICE))
        self.assertEqual([self.successResultOf(one) for one in (first, second)], [ALICE, ALICE])
        self.questions[1].callback(Vouched(BOB))
        self.assertEqual(self.successResultOf(third), BOB)
        self.assertIs(self.successResultOf(self.find()), BOB, "only what was asked after that is remembered")

    def test_a_verdict_ends_with_the_word_of_the_issuer(self) -> None:
        first = self.find()
        self.questions[0].callback(Vouched(ALICE, 10.0))
        self.successResultOf(first)
        self.clock.advance(9.75)
        self.assertEqual(self.successResultOf(self.find()), attrs.evolve(ALICE, until=10.0))
        self.clock.advance(0.25)
        self.assertNoResult(self.find())

    def test_a_refusal_is_remembered_for_a_time_of_its_own(self) -> None:
        self.memory = TokenMemory(60.0, self.clock, refusals=10.0)
        for number in (0, 1):
            asked = self.find()
            self.clock.advance(3.0)
            self.questions[number].callback(None)
            self.assertIsNone(self.successResultOf(asked))
            self.clock.advance(6.75)
            self.assertIsNone(self.successResultOf(self.find()))
            self.clock.advance(0.25)
        self.assertNoResult(self.find())
        self.assertEqual(len(self.questions), 3)

    def test_a_refusal_from_before_it_forgets_is_not_remembered(self) -> None:
        self.memory = TokenMemory(60.0, self.clock, refusals=10.0)
        before, _ = self.find(), self.memory.forget()
        self.questions[0].callback(None)
        self.assertIsNone(self.successResultOf(before))
        after = self.find()
        self.questions[1].callback(None)
        self.assertIsNone(self.successResultOf(after))
        self.assertIsNone(self.successResultOf(self.find()))
        self.memory.forget()
        self.assertNoResult(self.find())

    def test_refusals_push_out_no_verdict_and_are_bounded(self) -> None:
        memory = TokenMemory(60.0, self.clock, 3, refusals=10.0)
        asked: list[str] = []

        def find(token: str, vouched: Vouched | None) -> Principal | None:
            async def look() -> Vouched | None:
                asked.append(token)
                return vouched

            found: Principal | None = self.successResultOf(Deferred.fromCoroutine(memory.find(token, look)))
            return found

        find("good", Vouched(ALICE))
        for number in range(4):
            find(f"bad{number}", None)
        self.assertEqual(find("good", None), ALICE)
        find("bad1", Vouched(BOB))
        self.assertEqual(asked, ["good", "bad0", "bad1", "bad2", "bad3"])
        self.assertEqual(find("bad0", Vouched(BOB)), BOB, "the one that was kept longest ago")
