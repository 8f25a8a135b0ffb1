"""A worker that does not see what the others have revoked."""

from __future__ import annotations

import signal

from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import TestCase

from perimeter.manager.child import BEHIND, Child
from perimeter.workers.page import LAST, SharedPage, SlotState


class Transport:
    """Of a process that gets signals."""

    pid = 4711

    def __init__(self) -> None:
        self.signals: list[int] = []

    def signalProcess(self, number: int) -> None:
        self.signals.append(number)


class LateTests(TestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.page = SharedPage.create()
        self.addCleanup(self.page.close)
        self.child = Child(1, self.page, {}, self.clock)
        self.transport = self.child.transport = Transport()  # type: ignore[assignment]
        self.child.status = "serves"
        self.slot = self.page.slots[1]
        self.slot.state = SlotState.SERVING
        self.slot.applied = 7
        self.page.slots[0].committed = 7

    def watch(self, seconds: int) -> list[int]:
        """The signals that the worker got in this time."""
        for _ in range(seconds):
            self.slot.heartbeat += 1
            self.child.watch()
            self.clock.advance(1)
        return self.transport.signals

    def test_a_worker_that_keeps_up(self) -> None:
        for _ in range(20):
            self.page.slots[0].committed += 1
            self.slot.applied = self.page.slots[0].committed - 1
            self.assertEqual(self.watch(1), [])

    def test_attack_88_a_worker_that_is_late_is_ended(self) -> None:
        self.page.slots[0].committed = 8
        self.assertEqual(self.watch(BEHIND + 1), [])
        with capturedLogs() as logs:
            self.assertEqual(self.watch(1), [signal.SIGABRT])
        self.assertEqual([(event["slot"], event["pid"]) for event in logs if "slot" in event], [(1, 4711)])
        self.assertEqual(self.watch(3), [signal.SIGABRT, signal.SIGKILL])

    def test_a_worker_that_catches_up_in_time(self) -> None:
        self.page.slots[0].committed = 8
        self.watch(BEHIND)
        self.slot.applied = 8
        self.assertEqual(self.watch(20), [])

    def test_attack_88_a_worker_that_drains_and_does_not_follow_may_still_admit_requests(self) -> None:
        self.page.slots[0].committed = 8
        self.slot.state = SlotState.DRAINING
        with capturedLogs():
            self.assertEqual(self.watch(BEHIND + 2), [signal.SIGABRT])

    def test_a_worker_whose_last_connection_has_ended_is_left_alone(self) -> None:
        self.page.slots[0].committed = 8
        self.slot.state, self.slot.applied = SlotState.DRAINING, LAST
        self.assertEqual(self.watch(20), [])
