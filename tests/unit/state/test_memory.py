"""The store that keeps nothing: it counts, so that a state can tell its own changes from others'."""

from __future__ import annotations

from twisted.trial.unittest import TestCase

from perimeter.state.changes import Change
from perimeter.state.memory import MemoryStore


class MemoryTests(TestCase):
    def test_changes_are_counted_and_not_kept(self) -> None:
        store = MemoryStore()
        self.assertEqual(store.load(), ({}, 0))
        self.assertEqual(store.write([Change(), Change()]), 2)
        self.assertEqual(store.write([Change()]), 3)
        self.assertEqual(store.load(), ({}, 3))
        self.assertEqual(store.since(1), ([], 1))
