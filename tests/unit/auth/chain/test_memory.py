"""The memory of verified credentials: its size, its time, and what a change of users ends."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from perimeter.auth.chain.memory import CredentialMemory
from perimeter.model import Principal

ALICE = Principal("alice", "local")


class MemoryTests(TestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.memory = CredentialMemory(60, self.clock.seconds)

    def keep(self, credential: bytes = b"x") -> None:
        self.memory.keep(self.memory.digest(credential), ALICE, self.memory.begin())

    def test_a_verdict_counts_from_the_beginning_of_its_verification(self) -> None:
        began = self.memory.begin()
        self.clock.advance(10)
        self.memory.keep(self.memory.digest(b"x"), ALICE, began)
        self.clock.advance(49.75)
        self.assertIs(self.memory.find(b"x"), ALICE)
        self.clock.advance(0.25)
        self.assertIsNone(self.memory.find(b"x"))

    def test_attack_39_what_began_before_a_change_is_not_kept(self) -> None:
        began = self.memory.begin()
        self.memory.forget()
        self.memory.keep(self.memory.digest(b"x"), ALICE, began)
        self.assertIsNone(self.memory.find(b"x"))
        self.keep()
        self.assertIs(self.memory.find(b"x"), ALICE)
        self.memory.forget()
        self.assertIsNone(self.memory.find(b"x"))

    def test_attack_23_ten_thousand_verdicts_are_kept(self) -> None:
        for number in range(10_001):
            self.keep(b"%d" % number)
        self.assertIsNone(self.memory.find(b"0"))
        self.assertIs(self.memory.find(b"1"), ALICE)

    def test_each_memory_has_a_key_of_its_own(self) -> None:
        digest = self.memory.digest(b"x")
        self.assertEqual(len(digest), 16)
        self.assertNotEqual(CredentialMemory(60, self.clock.seconds).digest(b"x"), digest)
