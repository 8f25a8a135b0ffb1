"""The place of a worker among the others; the manager is played by the other end of a real channel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from perimeter.workers.page import SharedPage, SlotState
from perimeter.workers.place import Place, Reply
from tests.unit.workers.channels import connected


class PlaceTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.page = SharedPage.create()
        self.addCleanup(self.page.close)
        self.told: list[Mapping[str, Any]] = []
        manager, worker, self.pump = connected({"gather": self.gather, "others": self.told.append}, {})
        self.manager = manager
        self.place = Place(2, self.page, worker, {})

    def gather(self, question: Mapping[str, Any]) -> Any:
        self.told.append(question)
        return [{"slot": 0, "value": {"n": 1}}, {"slot": 1, "late": True}, {"slot": 3, "refused": "no"}]

    def test_replies_of_all_others(self) -> None:
        asked = self.place.gather("report", 1.0, brief=True)
        self.pump()
        self.assertEqual(self.successResultOf(asked), (Reply(0, {"n": 1}), Reply(1, late=True), Reply(3, refused="no")))
        self.assertEqual(self.told, [{"name": "report", "timeout": 1.0, "arguments": {"brief": True}}])

    def test_tell_others(self) -> None:
        self.place.tell_others("attempts", counts=[1])
        self.pump()
        self.assertEqual(self.told, [{"name": "attempts", "arguments": {"counts": [1]}}])

    def test_the_lowest_serving_slot_leads(self) -> None:
        self.assertFalse(self.place.leads)
        self.place.slot.state = SlotState.SERVING
        self.assertTrue(self.place.leads)
        self.page.slots[1].state = SlotState.STARTING
        self.assertTrue(self.place.leads)
        self.page.slots[1].state = SlotState.SERVING
        self.assertFalse(self.place.leads)
        self.page.slots[1].state = SlotState.DRAINING
        self.assertTrue(self.place.leads)
