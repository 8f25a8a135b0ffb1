"""Several workers in one process, with the manager's part of their figures between them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from perimeter.metrics.counts import Metrics
from perimeter.metrics.sources import ScrapeSources
from perimeter.workers.channel import Channel, Handler
from perimeter.workers.page import SharedPage
from perimeter.workers.place import Place
from perimeter.workers.shares import Shares
from tests.unit.doubles.audit_records import make_record
from tests.unit.doubles.exchange_rig import FakeOffload
from tests.unit.metrics.test_samples import NOTHING
from tests.unit.workers.channels import connected


class FakeRuntime:
    """What figures need of `perimeter.run.build.runtime.Runtime`."""

    def __init__(self, clock: Clock, place: Place | None = None) -> None:
        self.reactor = clock
        self.metrics = Metrics()
        self.offload = FakeOffload()
        self.sources: ScrapeSources | None = NOTHING
        self.metrics.in_force = lambda: self.sources
        self.place = place


class FakeWorker:
    """A worker, and both ends of its channel. A worker that is ``stopped`` reads nothing."""

    def __init__(self, number: int, page: SharedPage, shares: Shares, clock: Clock) -> None:
        self.number = number
        self.stopped = False
        handlers: dict[str, Handler] = {}
        self.channel: Channel
        self.pump: Callable[[], None]
        self.channel, own, self.pump = connected(shares.handlers(self), handlers, clock)
        self.place = Place(number, page, own, handlers)
        self.runtime: Any = FakeRuntime(clock, self.place)

    def count(self, number: int, **record: Any) -> None:
        """``number`` requests have ended."""
        for _ in range(number):
            self.runtime.metrics.requests.record(make_record(**record))


class FakeFleet:
    """``workers`` that serve, and the manager's part of their figures."""

    def __init__(self, number: int) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.page = SharedPage.create()
        self.shares = Shares(lambda: self.workers, self._described, self.clock.seconds)
        self.workers: list[FakeWorker] = []
        #: what the manager says of a slot, other than usual
        self.states: dict[int, dict[str, Any]] = {}
        for slot in range(number):
            self.start(slot)

    def start(self, slot: int) -> FakeWorker:
        """A worker has begun to serve."""
        worker = FakeWorker(slot, self.page, self.shares, self.clock)
        self.workers.append(worker)
        return worker

    def kill(self, worker: FakeWorker) -> None:
        """The process of ``worker`` has ended."""
        self.workers.remove(worker)
        self.shares.ended(worker)

    @contextmanager
    def stopped(self, worker: FakeWorker) -> Iterator[None]:
        """A block in which ``worker`` does not turn."""
        worker.stopped = True
        yield
        worker.stopped = False

    def pump(self) -> None:
        """Deliver what is on its way."""
        for _ in range(3):
            for worker in self.workers:
                if not worker.stopped:
                    worker.pump()

    def ask(self, asking: Any) -> Deferred[Any]:
        """The answer to a coroutine of one of the workers."""
        answer = Deferred.fromCoroutine(asking)
        self.pump()
        return answer

    def _described(self) -> list[dict[str, Any]]:
        return [
            {
                "slot": one.number,
                "pid": 70 + one.number,
                "state": "serving",
                "connections": 1,
                "since": 5.0,
                "restarts": 0,
                "generation": 1,
                **self.states.get(one.number, {}),
            }
            for one in self.workers
        ]
