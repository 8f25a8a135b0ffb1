"""Deadlines: one sweep for all, on a clock that the test advances."""

from __future__ import annotations

import math
from collections.abc import Callable

from twisted.internet.task import Clock
from twisted.trial import unittest

from perimeter.net.deadlines import Deadlines


class Item:
    def __init__(self, deadline: float, then: Callable[[], None] | None = None) -> None:
        self.deadline = deadline
        self.expired = 0
        self.then = then

    def deadline_expired(self) -> None:
        self.expired += 1
        self.deadline = math.inf
        if self.then:
            self.then()


class DeadlinesTests(unittest.TestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.deadlines = Deadlines(self.clock, tick=0.25)

    def watch(self, *items: Item) -> None:
        for item in items:
            self.deadlines.watch(item)

    def test_expires_within_a_tick_and_once(self) -> None:
        item = Item(1.0)
        self.watch(item)
        self.clock.pump([0.25] * 3)
        self.assertEqual(item.expired, 0)
        self.clock.advance(0.25)
        self.assertEqual(item.expired, 1)
        self.clock.pump([0.25] * 8)
        self.assertEqual(item.expired, 1)

    def test_a_deadline_may_be_moved_by_assignment(self) -> None:
        item = Item(1.0)
        self.watch(item)
        self.clock.pump([0.25] * 3)
        item.deadline = 2.0
        self.clock.pump([0.25] * 4)
        self.assertEqual(item.expired, 0)
        self.clock.advance(0.25)
        self.assertEqual(item.expired, 1)

    def test_none_is_infinity(self) -> None:
        item = Item(math.inf)
        self.watch(item)
        self.clock.pump([0.25] * 20)
        self.assertEqual(item.expired, 0)

    def test_ticks_only_while_it_watches(self) -> None:
        self.assertEqual(self.clock.getDelayedCalls(), [])
        item, other = Item(9.0), Item(9.0)
        self.watch(item, other, item)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.deadlines.forget(item)
        self.deadlines.forget(item)
        self.clock.advance(0.25)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.deadlines.forget(other)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.watch(item)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)

    def test_a_failing_item_does_not_stop_the_sweep(self) -> None:
        def fail() -> None:
            raise ZeroDivisionError

        items = [Item(1.0, fail), Item(1.0), Item(1.0, fail)]
        self.watch(*items)
        self.clock.advance(1)
        self.assertEqual([item.expired for item in items], [1, 1, 1])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)

    def test_items_forgotten_and_watched_during_the_sweep(self) -> None:
        items: list[Item] = []
        late = Item(0.5)

        def forget_all() -> None:
            for item in items:
                self.deadlines.forget(item)
            self.deadlines.watch(late)

        items += [Item(1.0, forget_all) for _ in range(5)]
        self.watch(*items)
        self.clock.advance(1)
        self.assertEqual(sum(item.expired for item in items), 1)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.clock.advance(0.25)
        self.assertEqual(late.expired, 1)
