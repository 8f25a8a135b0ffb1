"""The figures of all workers, for the operator's page."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.trial.unittest import TestCase

from perimeter.errors import Unavailable
from perimeter.metrics.figures import now_of
from perimeter.metrics.samples import Sampler
from perimeter.metrics.sources import NotRunning
from perimeter.run.all_figures import SOON, AllFigures
from tests.unit.doubles.workers import FakeFleet
from tests.unit.metrics.test_samples import NOTHING, There


class FiguresCase(TestCase):
    def setUp(self) -> None:
        self.fleet = FakeFleet(2)
        self.addCleanup(self.fleet.page.close)
        self.one, self.two = self.fleet.workers
        self.all = {worker: AllFigures(worker.place, worker.runtime) for worker in self.fleet.workers}
        for number, worker in enumerate(self.fleet.workers):
            connections = {"https": There(range(10**number))}
            worker.runtime.sources = attrs.evolve(NOTHING, connections=connections)


class AllFiguresTests(FiguresCase):
    def test_whichever_worker_is_asked(self) -> None:
        self.one.count(3)
        self.two.count(4, status=404, reason="no_route")
        for worker in self.fleet.workers:
            found = self.successResultOf(self.fleet.ask(self.all[worker].all()))
            self.assertEqual(found.totals.requests, [0, 0, 3, 0, 4, 0])
            self.assertEqual(found.totals.refusals, {"no_route": 4})
            self.assertEqual((found.now.connections, found.now.in_flight), ({"https": 11}, 14))
            self.assertEqual([one.slow for one in found.workers], [False, False])

    def test_a_slow_worker_has_its_last_totals(self) -> None:
        self.two.count(4)
        self.successResultOf(self.fleet.ask(self.all[self.one].all()))
        with self.fleet.stopped(self.two):
            asked = self.fleet.ask(self.all[self.one].all())
            self.assertNoResult(asked)
            self.fleet.clock.advance(1.0)
            self.fleet.pump()
        found = self.successResultOf(asked)
        self.assertEqual((found.totals.requests[2], found.now.connections), (4, {"https": 1}))
        self.assertEqual([one.slow for one in found.workers], [False, True])

    def test_a_worker_that_finishes_its_requests_is_not_slow(self) -> None:
        self.fleet.states[1] = {"state": "draining"}
        with self.fleet.stopped(self.two):
            asked = self.fleet.ask(self.all[self.one].all())
            self.fleet.clock.advance(1.0)
            self.fleet.pump()
        self.assertEqual([one.slow for one in self.successResultOf(asked).workers], [False, False])

    def test_members_that_a_newer_program_has(self) -> None:
        answer = self.two.place.handlers["figures"]

        def newer(asked: Any) -> Any:
            now = answer(asked)["now"]
            rows = [{"name": "users", "realm": "local", "down": True, "next_try": 1, "later": 1}]
            return {"counts": {}, "now": {**now, "authenticators": rows, "later": 1}, "later": 1}

        self.two.place.handlers["figures"] = newer
        self.fleet.states[1] = {"later": 1}
        found = self.successResultOf(self.fleet.ask(self.all[self.one].all()))
        self.assertEqual((found.now.connections, [one.pid for one in found.workers]), ({"https": 11}, [70, 71]))

    def test_attempts_of_all(self) -> None:
        for number, worker in enumerate(self.fleet.workers):
            worker.runtime.metrics.auth.attempts["users", "realmfile", "local", "success"] += 10**number
        attempts = self.successResultOf(self.fleet.ask(self.all[self.two].attempts()))
        self.assertEqual(attempts, {("users", "realmfile", "local", "success"): 11})

    def test_while_a_worker_stops(self) -> None:
        self.two.runtime.sources = None
        self.failureResultOf(self.fleet.ask(self.all[self.two].all()), NotRunning)
        found = self.successResultOf(self.fleet.ask(self.all[self.one].all()))
        self.assertEqual(found.now.connections, {"https": 1})

    def test_without_the_manager(self) -> None:
        with self.fleet.stopped(self.one):
            asked = self.fleet.ask(self.all[self.one].all())
            self.fleet.clock.advance(2.0)
            self.failureResultOf(asked, Unavailable)


class SampleTests(FiguresCase):
    def setUp(self) -> None:
        super().setUp()
        self.sampler = Sampler(self.one.runtime.metrics, self.fleet.clock, self.all[self.one].sample)
        self.addCleanup(self.sampler.stop)

    def second(self) -> None:
        """The question goes out at the end of the second, and is answered at once."""
        self.fleet.clock.advance(1.0)
        self.fleet.pump()

    def test_samples_are_those_of_all_workers(self) -> None:
        self.one.count(100)
        self.two.count(100)
        self.assertEqual(self.sampler.look(), ())
        self.fleet.pump()
        self.one.count(1)
        self.two.count(2)
        self.second()
        self.second()
        first, second = self.sampler.samples
        self.assertEqual((sum(first.requests), first.connections, first.seconds), (3, 11, 1.0))
        self.assertEqual((sum(second.requests), second.time), (0, 1002.0))

    def test_a_worker_that_does_not_turn_delays_a_sample_by_half_a_second(self) -> None:
        self.sampler.look()
        self.fleet.pump()
        with self.fleet.stopped(self.two):
            self.two.count(5)
            self.one.count(1)
            self.second()
            self.assertEqual(self.sampler.samples, ())
            self.fleet.clock.advance(SOON)
            self.fleet.pump()
            (found,) = self.sampler.samples
            self.assertEqual((sum(found.requests), found.connections, found.seconds), (1, 1, 1.5))
        self.fleet.pump()
        self.fleet.clock.advance(0.5)
        self.fleet.pump()
        self.assertEqual(sum(self.sampler.samples[-1].requests), 5)

    def test_requests_of_a_killed_worker_are_not_taken_back(self) -> None:
        self.two.count(7)
        self.sampler.look()
        self.fleet.pump()
        self.fleet.kill(self.two)
        self.one.count(1)
        self.second()
        self.assertEqual([sum(one.requests) for one in self.sampler.samples], [1])

    def test_a_sample_that_cannot_be_made_is_part_of_the_next_one(self) -> None:
        self.sampler.look()
        self.fleet.pump()
        self.one.count(1)
        with self.fleet.stopped(self.one):
            self.fleet.clock.pump([1.0, 1.5])
        self.assertEqual(self.sampler.samples, ())
        self.fleet.pump()
        self.fleet.clock.advance(0.5)
        self.fleet.pump()
        (found,) = self.sampler.samples
        self.assertEqual((sum(found.requests), found.seconds), (1, 3.0))

    def test_a_fault_does_not_end_the_samples(self) -> None:
        faults = [ValueError("a bug")]

        async def gather() -> object:
            if faults:
                raise faults.pop()
            return await self.all[self.one].sample()

        sampler = Sampler(self.one.runtime.metrics, self.fleet.clock, gather)  # type: ignore[arg-type]
        self.addCleanup(sampler.stop)
        sampler.look()
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.second()
        self.second()
        self.assertEqual(len(sampler.samples), 1)

    def test_figures_of_another_program_do_not_end_the_samples(self) -> None:
        """During an upgrade, a worker may have more buckets than this one."""
        self.sampler.look()
        self.fleet.pump()
        self.two.place.handlers["figures"] = lambda _: {
            "counts": {"figures.requests": [[[], [0] * 30]]},
            "now": now_of(self.two.runtime.sources, 0).members(),
        }
        self.second()
        self.second()
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.assertEqual(len(self.sampler.samples), 1)

    def test_a_stop_during_a_question(self) -> None:
        self.sampler.look()
        self.sampler.stop()
        self.sampler.look()
        self.fleet.pump()
        self.second()
        self.assertEqual(len(self.sampler.samples), 1)
        self.sampler.stop()
        self.fleet.pump()
        self.fleet.clock.advance(5)
        self.assertEqual((self.sampler.samples, self.fleet.clock.getDelayedCalls()), ((), []))
