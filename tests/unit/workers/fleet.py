"""Several places that are connected in memory, with a manager that passes on what they say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.task import Clock

from perimeter.workers.channel import Channel, Handler
from perimeter.workers.page import SharedPage, SlotState
from perimeter.workers.place import Place
from tests.unit.workers.channels import connected


class Fleet:
    """The places of ``count`` workers that serve; ``deliver`` passes on what was sent. ``told`` is what was told to others."""

    def __init__(self, count: int, clock: Clock) -> None:
        self.page = SharedPage.create()
        self.places: list[Place] = []
        self.told: list[tuple[int, str, Mapping[str, Any]]] = []
        self._ends: list[Channel] = []
        self._pumps: list[Callable[[], None]] = []
        for number in range(count):
            handlers: dict[str, Handler] = {}
            manager, worker, pump = connected(self._answers(number), handlers, clock)
            self.places.append(Place(number, self.page, worker, handlers))
            self.page.slots[number].state = SlotState.SERVING
            self._ends.append(manager)
            self._pumps.append(pump)

    def _others(self, number: int) -> list[int]:
        return [slot.number for slot in self.page.serving() if slot.number != number]

    def _answers(self, number: int) -> Mapping[str, Handler]:
        def others(told: Mapping[str, Any]) -> None:
            self.told.append((number, told["name"], told["arguments"]))
            for other in self._others(number):
                self._ends[other].tell(told["name"], **told["arguments"])

        def gather(asked: Mapping[str, Any]) -> Deferred[Any]:
            slots = self._others(number)
            answers = [self._ends[other].ask(asked["name"], asked["timeout"], **asked["arguments"]) for other in slots]

            def replies(found: Any) -> list[Any]:
                return [
                    {"slot": slot, "value": value} if success else {"slot": slot, "late": True}
                    for slot, (success, value) in zip(slots, found, strict=True)
                ]

            return DeferredList(answers, consumeErrors=True).addCallback(replies)

        return {"others": others, "gather": gather}

    def deliver(self) -> None:
        """Deliver what was sent, and what follows from it."""
        for _ in range(4):
            for pump in self._pumps:
                pump()
