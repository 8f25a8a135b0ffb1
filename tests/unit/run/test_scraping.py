"""The metrics of all workers, from the worker that answers a scrape, and the counts that the manager keeps."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from prometheus_client.core import CollectorRegistry, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import TestCase

from perimeter.errors import Unavailable
from perimeter.metrics.counted import counted
from perimeter.metrics.counts import Metrics
from perimeter.metrics.sources import NotRunning, ScrapeSources
from perimeter.run.counting import EVERY, Counting
from perimeter.workers.channel import Channel, Handler
from perimeter.workers.page import SharedPage
from perimeter.workers.place import Place
from perimeter.workers.shares import Shares
from tests.unit.doubles.audit_records import make_record
from tests.unit.doubles.exchange_rig import FakeOffload
from tests.unit.doubles.figures import Figures, read
from tests.unit.metrics.test_samples import NOTHING
from tests.unit.workers.channels import connected


class Runtime:
    """What counting needs of the runtime."""

    def __init__(self, clock: Clock) -> None:
        self.reactor = clock
        self.metrics = Metrics()
        self.offload = FakeOffload()
        self.sources: ScrapeSources | None = NOTHING
        self.metrics.in_force = lambda: self.sources


class Worker:
    """A worker with its part of the metrics, and its channel."""

    def __init__(self, number: int, page: SharedPage, shares: Shares, clock: Clock) -> None:
        self.number = number
        self.runtime = Runtime(clock)
        handlers: dict[str, Handler] = {}
        self.channel: Channel
        self.pump: Callable[[], None]
        self.channel, own, self.pump = connected(shares.handlers(self), handlers, clock)
        self.place = Place(number, page, own, handlers)
        self.counting = Counting(self.place, self.runtime)  # type: ignore[arg-type]

    def count(self, number: int) -> None:
        for _ in range(number):
            self.runtime.metrics.requests.record(make_record())


class Given(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self.families = list(families)

    def collect(self) -> list[Metric]:
        return self.families


def shown(families: Iterable[Metric]) -> Figures:
    registry = CollectorRegistry()
    registry.register(Given(families))
    return read(generate_latest(registry))


class ScrapeTests(TestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        page = SharedPage.create()
        self.addCleanup(page.close)
        self.workers: list[Worker] = []
        self.shares = Shares(
            lambda: self.workers,
            lambda: [
                {
                    "slot": one.number, "pid": 70 + one.number, "state": "serving", "connections": 1, "since": 5.0, "restarts": 0,
                    "generation": 1,
                }
                for one in self.workers
            ],
        )  # fmt: skip
        self.workers += [Worker(number, page, self.shares, self.clock) for number in range(2)]

    def pump(self, *workers: Worker) -> None:
        for _ in range(3):
            for worker in workers or self.workers:
                worker.pump()

    def scrape(self, worker: Worker) -> Deferred[Any]:
        gather = worker.runtime.metrics.of_all_workers
        assert gather is not None

        async def asked() -> Any:
            return await gather()

        return Deferred.fromCoroutine(asked())

    def figures(self, worker: Worker) -> Figures:
        scrape = self.scrape(worker)
        self.pump()
        return shown(self.successResultOf(scrape))

    def test_whichever_worker_is_asked(self) -> None:
        one, two = self.workers
        one.count(3)
        two.count(4)
        for worker in self.workers:
            figures = self.figures(worker)
            self.assertEqual(figures.total("perimeter_requests_total"), 7)
            self.assertEqual(figures("perimeter_request_duration_seconds_count", listener="https", route="site"), 7)
            self.assertEqual([figures("perimeter_worker_slow", slot=slot) for slot in "01"], [0, 0])
            self.assertEqual([figures("perimeter_worker_connections", slot=slot) for slot in "01"], [1, 1])
            self.assertTrue(figures("perimeter_worker_cpu_seconds_total", slot="0"))
            self.assertTrue(figures("perimeter_worker_resident_memory_bytes", slot="1"))
            self.assertEqual(figures.total("perimeter_build_info"), 1)
            self.assertEqual(figures("perimeter_audit_healthy"), 1)

    def test_a_worker_that_does_not_answer_is_slow_after_a_second(self) -> None:
        one, two = self.workers
        two.count(4)
        self.assertEqual(self.figures(one).total("perimeter_requests_total"), 4)
        two.count(1)
        scrape = self.scrape(one)
        self.pump(one)
        self.clock.advance(0.99)
        self.pump(one)
        self.assertNoResult(scrape)
        self.clock.advance(0.01)
        self.pump(one)
        figures = shown(self.successResultOf(scrape))
        self.assertEqual([figures("perimeter_worker_slow", slot=slot) for slot in "01"], [0, 1])
        self.assertEqual(figures.total("perimeter_requests_total"), 4)
        self.assertIsNone(figures("perimeter_worker_cpu_seconds_total", slot="1"))

    def test_a_worker_that_stops_has_no_share(self) -> None:
        one, two = self.workers
        two.runtime.sources = None
        self.assertEqual(self.figures(one)("perimeter_worker_slow", slot="1"), 1)
        scrape = self.scrape(two)
        self.failureResultOf(scrape, NotRunning)

    def test_without_the_manager_there_are_no_metrics(self) -> None:
        # The sums of one worker would be less than those before.
        scrape = self.scrape(self.workers[0])
        self.clock.advance(2.0)
        self.failureResultOf(scrape, Unavailable)

    def lose(self, worker: Worker) -> None:
        """The process of ``worker`` has ended."""
        self.workers.remove(worker)
        self.shares.ended(worker)

    def test_the_counts_of_some_seconds_ago_are_kept_when_a_worker_is_killed(self) -> None:
        one, two = self.workers
        two.counting.start()
        two.count(2)
        self.clock.advance(EVERY)
        two.pump()
        two.count(1)
        self.lose(two)
        self.assertEqual(self.figures(one).total("perimeter_requests_total"), 2)

    def test_all_counts_are_kept_at_an_orderly_end(self) -> None:
        one, two = self.workers
        two.counting.start()
        two.count(3)
        stopped = two.counting.stop()
        self.assertNoResult(stopped)
        two.pump()
        self.assertIsNone(self.successResultOf(stopped))
        self.lose(two)
        self.assertEqual(self.figures(one).total("perimeter_requests_total"), 3)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_counts_that_have_not_changed_are_not_sent_again(self) -> None:
        worker = self.workers[0]
        sent: list[Any] = []
        worker.place.channel.tell = lambda name, **told: sent.append((name, told))  # type: ignore[method-assign]
        worker.counting.start()
        worker.count(1)
        self.clock.advance(EVERY - 0.1)
        self.assertEqual(sent, [])
        self.clock.pump([0.1, EVERY, EVERY])
        self.assertEqual(sent, [("counted", {"counts": counted(worker.runtime.metrics)})])
        worker.count(1)
        self.clock.advance(EVERY)
        self.assertEqual(len(sent), 2)

    def test_the_stop_does_not_wait_for_a_manager_that_does_not_answer(self) -> None:
        with capturedLogs() as logs:
            stopped = self.workers[0].counting.stop()
            self.assertNoResult(stopped)
            self.clock.advance(1.0)
            self.assertIsNone(self.successResultOf(stopped))
        self.assertIn("last counts", logs[-1]["log_format"])
