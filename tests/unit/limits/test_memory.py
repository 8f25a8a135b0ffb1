"""The memory of limits."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from perimeter.limits.keys import key_of
from perimeter.limits.memory import LimitMemory


class MemoryTests(SynchronousTestCase):
    def test_memory_of_one_process(self) -> None:
        memory, other = LimitMemory.private(), LimitMemory.private()
        self.assertNotEqual(memory.secret, other.secret)
        self.assertEqual(len(memory.secret), 32)
        self.assertNotIn(repr(memory.secret), repr(memory))
        key = key_of("ann", memory.secret)
        self.assertEqual(memory.buckets.take(key, 10**9, 10**9), 10**9)
        self.assertGreater(memory.buckets.take(key, 10**9, 10**9), 10**9)
        self.assertEqual(other.buckets.take(key, 10**9, 10**9), 10**9)
        self.assertTrue(memory.flights.begin(key, 1))
        self.assertFalse(memory.flights.begin(key, 1))
