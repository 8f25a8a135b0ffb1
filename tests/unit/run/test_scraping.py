"""The metrics of all workers, from the worker that answers a scrape, and the counts that the manager keeps."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import TestCase

from perimeter.errors import Unavailable
from perimeter.metrics.counted import counted
from perimeter.metrics.sources import NotRunning
from perimeter.offload import Offload
from perimeter.run.counting import EVERY, Counting
from tests.unit.doubles.figures import Figures
from tests.unit.doubles.workers import FakeFleet, FakeWorker
from tests.unit.metrics.test_shares import shown


class ScrapeTests(TestCase):
    def setUp(self) -> None:
        self.fleet = FakeFleet(2)
        self.addCleanup(self.fleet.page.close)
        self.one, self.two = self.fleet.workers
        self.counting = {worker: Counting(worker.place, worker.runtime) for worker in self.fleet.workers}

    def scrape(self, worker: FakeWorker) -> Deferred[Any]:
        return self.fleet.ask(worker.runtime.metrics.of_all_workers())

    def figures(self, worker: FakeWorker) -> Figures:
        return shown(self.successResultOf(self.scrape(worker)))

    def test_whichever_worker_is_asked(self) -> None:
        self.one.count(3)
        self.two.count(4)
        for worker in self.fleet.workers:
            figures = self.figures(worker)
            self.assertEqual(figures.total("perimeter_requests_total"), 7)
            self.assertEqual(figures("perimeter_request_duration_seconds_count", listener="https", route="site"), 7)
            self.assertEqual([figures("perimeter_worker_slow", slot=slot) for slot in "01"], [0, 0])
            self.assertEqual([figures("perimeter_worker_connections", slot=slot) for slot in "01"], [1, 1])
            self.assertTrue(figures("perimeter_worker_cpu_seconds_total", slot="0"))
            self.assertTrue(figures("perimeter_worker_resident_memory_bytes", slot="1"))
            self.assertEqual(figures.total("perimeter_build_info"), 1)
            self.assertEqual(figures("perimeter_audit_healthy"), 1)

    def test_attack_91_a_worker_that_does_not_turn_delays_a_scrape_by_a_second_and_hides_nothing(self) -> None:
        self.two.count(4)
        self.assertEqual(self.figures(self.one).total("perimeter_requests_total"), 4)
        self.two.count(1)
        with self.fleet.stopped(self.two):
            scrape = self.scrape(self.one)
            self.fleet.clock.advance(0.99)
            self.fleet.pump()
            self.assertNoResult(scrape)
            self.fleet.clock.advance(0.01)
            self.fleet.pump()
        figures = shown(self.successResultOf(scrape))
        self.assertEqual([figures("perimeter_worker_slow", slot=slot) for slot in "01"], [0, 1])
        self.assertEqual(figures.total("perimeter_requests_total"), 4)
        self.assertIsNone(figures("perimeter_worker_cpu_seconds_total", slot="1"))

    def test_a_worker_that_stops_has_no_share(self) -> None:
        self.two.runtime.sources = None
        self.assertEqual(self.figures(self.one)("perimeter_worker_slow", slot="1"), 1)
        self.failureResultOf(self.scrape(self.two), NotRunning)

    def test_a_worker_without_threads_has_no_share_and_no_error_in_its_log(self) -> None:
        self.two.runtime.offload = Offload(self.fleet.clock)  # it was not started, or was stopped
        with capturedLogs() as logs:
            self.assertEqual(self.figures(self.one)("perimeter_worker_slow", slot="1"), 1)
        self.assertEqual([event for event in logs if event["log_level"] >= LogLevel.error], [])
        self.failureResultOf(self.scrape(self.two), Unavailable)

    def test_without_the_manager_there_are_no_metrics(self) -> None:
        # The sums of one worker would be less than those before.
        with self.fleet.stopped(self.one):
            scrape = self.scrape(self.one)
            self.fleet.clock.advance(2.0)
            self.failureResultOf(scrape, Unavailable)

    def test_the_counts_of_some_seconds_ago_are_kept_when_a_worker_is_killed(self) -> None:
        self.counting[self.two].start()
        self.two.count(2)
        self.fleet.clock.advance(EVERY)
        self.fleet.pump()
        self.two.count(1)
        self.fleet.kill(self.two)
        self.assertEqual(self.figures(self.one).total("perimeter_requests_total"), 2)

    def test_all_counts_are_kept_at_an_orderly_end(self) -> None:
        self.counting[self.two].start()
        self.two.count(3)
        stopped = self.counting[self.two].stop()
        self.assertNoResult(stopped)
        self.fleet.pump()
        self.assertIsNone(self.successResultOf(stopped))
        self.fleet.kill(self.two)
        self.assertEqual(self.figures(self.one).total("perimeter_requests_total"), 3)
        self.assertEqual(self.fleet.clock.getDelayedCalls(), [])

    def test_counts_that_have_not_changed_are_not_sent_again(self) -> None:
        sent: list[Any] = []
        self.one.place.channel.tell = lambda name, **told: sent.append((name, told))  # type: ignore[method-assign]
        self.counting[self.one].start()
        self.one.count(1)
        self.fleet.clock.advance(EVERY - 0.1)
        self.assertEqual(sent, [])
        self.fleet.clock.pump([0.1, EVERY, EVERY])
        self.assertEqual(sent, [("counted", {"counts": counted(self.one.runtime.metrics)})])
        self.one.count(1)
        self.fleet.clock.advance(EVERY)
        self.assertEqual(len(sent), 2)

    def test_the_stop_does_not_wait_for_a_manager_that_does_not_answer(self) -> None:
        with capturedLogs() as logs:
            stopped = self.counting[self.one].stop()
            self.assertNoResult(stopped)
            self.fleet.clock.advance(1.0)
            self.assertIsNone(self.successResultOf(stopped))
        self.assertIn("last counts", logs[-1]["log_format"])
