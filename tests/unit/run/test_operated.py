"""The running gateway as the operator's page sees it: one examination for all who look."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from perimeter.metrics.counts import Metrics
from perimeter.metrics.figures import own_figures
from perimeter.metrics.sources import NotRunning
from perimeter.run import operated as module
from perimeter.run.all_figures import AllFigures
from perimeter.run.operated import KNOWN_FOR, OperatedGateway
from perimeter.run.problems import Problem
from perimeter.web.endpoints.operator.gateway import Reload
from tests.unit.doubles.workers import FakeFleet
from tests.unit.metrics.test_samples import NOTHING

PROBLEM = Problem(1, "upstream", "app", "gone")


class TroublesTests(TestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.waiting: list[Deferred[list[Problem]]] = []
        self.patch(module, "all_problems", self.examine)
        self.worker = worker = SimpleNamespace(
            assembly="in force",
            last_reload=Reload(5.0, "why"),
            uptime=lambda: 3.0,
            listeners=lambda: ["https"],
            examination=lambda: SimpleNamespace(identities={"https": ()}),
        )
        self.metrics = Metrics()
        runtime: Any = SimpleNamespace(metrics=self.metrics, reactor=self.clock, offload="threads", place=None)
        self.gateway = OperatedGateway(worker, runtime)  # type: ignore[arg-type]

    async def examine(self, _: Any) -> list[Problem]:
        answer: Deferred[list[Problem]] = Deferred()
        self.waiting.append(answer)
        return await answer

    def test_the_parts_are_those_of_the_worker(self) -> None:
        gateway: Any = self.gateway
        self.assertEqual(
            (gateway.assembly, gateway.last_reload, gateway.offload, gateway.listeners(), gateway.identities()),
            ("in force", Reload(5.0, "why"), "threads", ["https"], {"https": ()}),
        )
        self.assertEqual(gateway.seconds(), 1000.0)

    def test_a_state_of_one_machine_has_no_nodes(self) -> None:
        self.worker.assembly = SimpleNamespace(state=SimpleNamespace(engine=None))
        self.assertEqual(self.successResultOf(Deferred.fromCoroutine(self.gateway.shared())), {})

    def test_figures_of_a_single_process(self) -> None:
        self.failureResultOf(Deferred.fromCoroutine(self.gateway.figures()), NotRunning)
        self.metrics.in_force = lambda: NOTHING
        self.metrics.auth.attempts["users", "ldap", "corp", "error"] += 2
        found = self.successResultOf(Deferred.fromCoroutine(self.gateway.figures()))
        self.assertEqual((found, found.uptime), (own_figures(self.metrics, 1000.0, 3.0), 3.0))
        self.assertEqual(
            self.successResultOf(Deferred.fromCoroutine(self.gateway.attempts())), {("users", "ldap", "corp", "error"): 2}
        )

    def test_all_who_ask_share_one_examination(self) -> None:
        one, two = self.gateway.troubles(), self.gateway.troubles()
        self.assertEqual(len(self.waiting), 1)
        self.assertNoResult(one)
        self.waiting[0].callback([PROBLEM])
        self.assertEqual((self.successResultOf(one), self.successResultOf(two)), ([PROBLEM], [PROBLEM]))

    def test_it_is_good_for_some_seconds(self) -> None:
        first = self.gateway.troubles()
        self.waiting[0].callback([PROBLEM])
        self.clock.advance(KNOWN_FOR - 0.1)
        self.assertEqual(self.successResultOf(self.gateway.troubles()), [PROBLEM])
        self.assertEqual(len(self.waiting), 1)
        self.clock.advance(0.1)
        again = self.gateway.troubles()
        self.assertEqual(len(self.waiting), 2)
        self.waiting[1].callback([])
        self.assertEqual((self.successResultOf(first), self.successResultOf(again)), ([PROBLEM], []))

    def test_a_reload_ends_what_is_known(self) -> None:
        one = self.gateway.troubles()
        self.worker.last_reload = Reload(1000.0, "a fault")
        self.waiting[0].callback([])
        self.assertEqual(self.successResultOf(one), [])
        again = self.gateway.troubles()
        self.assertNoResult(again)
        self.waiting[1].callback([PROBLEM])
        self.assertEqual(self.successResultOf(again), [PROBLEM])
        self.assertEqual(self.successResultOf(self.gateway.troubles()), [PROBLEM])

    def test_one_who_leaves_takes_nothing_from_the_others(self) -> None:
        one, two = self.gateway.troubles(), self.gateway.troubles()
        one.addErrback(lambda _: None)
        one.cancel()
        self.waiting[0].callback([PROBLEM])
        self.assertEqual(self.successResultOf(two), [PROBLEM])

    def test_a_failure_is_not_kept(self) -> None:
        one = self.gateway.troubles()
        self.waiting[0].errback(ValueError("the gateway stops"))
        self.failureResultOf(one, ValueError)
        again = self.gateway.troubles()
        self.waiting[1].callback([])
        self.assertEqual(self.successResultOf(again), [])


class WorkersTests(TestCase):
    def setUp(self) -> None:
        self.fleet = FakeFleet(2)
        self.addCleanup(self.fleet.page.close)
        worker: Any = SimpleNamespace(last_reload=Reload(), listeners=list, uptime=lambda: 3.0)
        self.one, self.two = self.fleet.workers
        self.gateway = OperatedGateway(worker, self.one.runtime)
        AllFigures(self.two.place, self.two.runtime)
        self.one.count(1)
        self.two.count(2)
        self.two.runtime.metrics.auth.attempts["users", "ldap", "corp", "error"] += 2

    def test_figures_of_all(self) -> None:
        found = self.successResultOf(self.fleet.ask(self.gateway.figures()))
        self.assertEqual((found.totals.requests[2], found.uptime, len(found.workers)), (3, 0.0, 2))
        attempts = self.successResultOf(self.fleet.ask(self.gateway.attempts()))
        self.assertEqual(attempts, {("users", "ldap", "corp", "error"): 2})

    def test_figures_of_this_worker_alone_if_the_manager_does_not_answer(self) -> None:
        with self.fleet.stopped(self.one):
            figures, attempts = self.fleet.ask(self.gateway.figures()), self.fleet.ask(self.gateway.attempts())
            self.fleet.clock.advance(2.0)
        found = self.successResultOf(figures)
        self.assertEqual((found.totals.requests[2], found.uptime, found.workers), (1, 3.0, ()))
        self.assertEqual(self.successResultOf(attempts), {})
