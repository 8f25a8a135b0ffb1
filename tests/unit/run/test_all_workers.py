"""What the operator asks, answered for all workers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from perimeter.metrics.figures import totals
from perimeter.run import all_workers as module
from perimeter.run.all_workers import all_problems, all_status, known_reload, merged_problems, merged_status
from perimeter.run.problems import Problem
from perimeter.web.endpoints.operator.gateway import Reload
from perimeter.workers.gathered import Gathered, WorkerNow
from perimeter.workers.page import SharedPage
from perimeter.workers.place import Place
from tests.unit.doubles.workers import FakeFleet
from tests.unit.workers.channels import connected

AUDIT = Problem(0, "audit", "access.log", "it cannot be written")
DOWN = Problem(1, "authenticator", "corp", "it failed, and is not asked for 7 s")
OLD = Problem(2, "certificate", "https", "it ends in 3 days")


class MergedProblemsTests(TestCase):
    def test_what_only_others_know_is_shown_with_their_slots(self) -> None:
        found = merged_problems([OLD], {1: [DOWN], 2: [AUDIT, DOWN], 5: [DOWN]})
        self.assertEqual(
            [(one.severity, one.message) for one in found],
            [
                (0, "it cannot be written (worker 2)"),
                (1, "it failed, and is not asked for 7 s (workers 1, 2, 5)"),
                (2, "it ends in 3 days"),
            ],
        )

    def test_what_this_worker_knows_is_not_repeated(self) -> None:
        other = Problem(1, "authenticator", "corp", "it failed, and is not asked for 3 s")
        self.assertEqual(merged_problems([DOWN], {1: [other]}), [DOWN])
        self.assertEqual(len(merged_problems([DOWN], {1: [Problem(1, "authenticator", "other", "it failed")]})), 2)
        self.assertEqual(len(merged_problems([DOWN], {1: [Problem(1, "upstream", "corp", "it failed")]})), 2)


def status(**changes: Any) -> dict[str, Any]:
    usual: dict[str, Any] = {
        "version": "1", "uptime": 5, "sessions": 2, "last_reload": None, "listeners": [], "authenticators": [], "waiting": [],
    }  # fmt: skip
    return {**usual, **changes}


def listener(name: str, connections: int) -> dict[str, Any]:
    return {"name": name, "port": 443, "connections": connections}


def authenticator(name: str, down: bool, next_try: int) -> dict[str, Any]:
    return {"name": name, "type": "ldap", "realm": "corp", "down": down, "next_try": next_try}


def waiting(value: str, wrong: int, seconds: int) -> dict[str, Any]:
    return {"kind": "name", "value": value, "realm": "corp", "wrong_passwords": wrong, "seconds": seconds}


class MergedStatusTests(TestCase):
    def merge(self, own: dict[str, Any], *others: dict[str, Any]) -> dict[str, Any]:
        shares = {number: {"status": one} for number, one in enumerate(others, 1)}
        worker = WorkerNow(0, 71, "serving", 5, 1000.0, 0, 1, slow=True)
        return merged_status(own, Gathered(shares, [worker], {"figures.refusals": []}, 9.9))

    def test_connections_are_added_and_states_are_the_worst(self) -> None:
        found = self.merge(
            status(
                uptime=5, listeners=[listener("http", 1), listener("https", 2)], authenticators=[authenticator("a", False, 0)],
                waiting=[waiting("alice", 3, 10)],
            ),
            status(
                sessions=3, listeners=[listener("https", 40)], authenticators=[authenticator("a", True, 7)],
                waiting=[waiting("bob", 1, 0), waiting("alice", 5, 8)],
            ),
        )  # fmt: skip
        self.assertEqual(found["listeners"], [listener("http", 1), listener("https", 42)])
        self.assertEqual(found["authenticators"], [authenticator("a", True, 7)])
        self.assertEqual(found["waiting"], [waiting("alice", 5, 10), waiting("bob", 1, 0)])
        self.assertEqual((found["uptime"], found["sessions"], found["version"]), (9, 3, "1"))
        self.assertEqual((found["workers"][0]["pid"], found["workers"][0]["slow"]), (71, True))
        self.assertNotIn("requests", found)

    def test_requests_over_limits_are_those_of_all_workers(self) -> None:
        counts = {"figures.limited": [[["app", "rate 5/s per user"], [7]]]}
        row = {"route": "app", "limit": "rate 5/s per user", "refused": 7}
        own = status(limited=[{**row, "refused": 2}])
        self.assertEqual(merged_status(own, Gathered({}, [], counts, 9.9))["limited"], [row])

    def test_servers_have_the_worst_state_and_the_connections_of_all(self) -> None:
        def upstream(waiting: int, *servers: tuple[str, str, int]) -> dict[str, Any]:
            rows = [
                {"url": url, "state": state, "fault": f"is {state}", "active": count, "busy": 10 * count, "idle": 100 * count}
                for url, state, count in servers
            ]
            return {"name": "app", "balance": "round-robin", "waiting": waiting, "servers": rows}

        found = self.merge(
            status(upstreams=[upstream(1, ("a", "up", 1), ("b", "down", 1))]),
            status(upstreams=[upstream(2, ("a", "ejected", 2), ("b", "starting", 2), ("c", "up", 3))]),
        )
        self.assertEqual(found["upstreams"], [upstream(3, ("a", "ejected", 3), ("b", "down", 3), ("c", "up", 3))])

    def test_the_last_reload_is_the_latest_one_of_any_worker(self) -> None:
        first, second = {"at": "2026-01-01T00:00:00Z", "refused": ""}, {"at": "2026-01-02T00:00:00Z", "refused": "a fault"}
        self.assertIsNone(self.merge(status(), status())["last_reload"])
        self.assertEqual(self.merge(status(), status(last_reload=first))["last_reload"], first)
        self.assertEqual(self.merge(status(last_reload=second), status(last_reload=first))["last_reload"], second)


class AskedTests(TestCase):
    def setUp(self) -> None:
        self.fleet = FakeFleet(2)
        self.addCleanup(self.fleet.page.close)
        self.one, self.two = self.fleet.workers
        self.two.place.handlers["noticed"] = lambda _: {
            "problems": [{"severity": 1, "subject": "audit", "name": "a", "message": "m"}]
        }
        self.two.place.handlers["status"] = lambda _: {
            "status": status(listeners=[listener("http", 4)]),
            "counts": totals(self.two.runtime.metrics).counts(),
        }
        self.patch(module, "problems", self.problems)

    async def problems(self, _: Any) -> list[Problem]:
        return [OLD]

    def ask_problems(self, place: Any) -> Deferred[list[Problem]]:
        examination: Any = SimpleNamespace(runtime=SimpleNamespace(place=place))
        return self.fleet.ask(all_problems(examination))

    def test_problems_of_a_single_process(self) -> None:
        self.assertEqual(self.successResultOf(self.ask_problems(None)), [OLD])

    def test_problems_of_all(self) -> None:
        found = self.successResultOf(self.ask_problems(self.one.place))
        self.assertEqual([one.message for one in found], ["m (worker 1)", OLD.message])

    def test_a_worker_that_does_not_answer_is_a_problem(self) -> None:
        with self.fleet.stopped(self.two):
            asked = self.ask_problems(self.one.place)
            self.fleet.clock.advance(1.0)
            self.fleet.pump()
        slow, _ = self.successResultOf(asked)
        self.assertEqual((slow.severity, slow.subject, slow.name, slow.message), (1, "worker", "1", "process 71 does not answer"))

    def test_a_worker_that_is_started_again_is_a_problem(self) -> None:
        for state, restarts, problem in (
            ("starting", 2, True),
            ("empty", 1, True),
            ("starting", 0, False),
            ("draining", 1, False),
        ):
            self.fleet.states[1] = {"state": state, "restarts": restarts}
            found = self.successResultOf(self.ask_problems(self.one.place))
            messages = [one.message for one in found if one.subject == "worker"]
            expected = [f"it has ended and is started again (restart {restarts})"] if problem else []
            self.assertEqual(messages, expected, state)

    def test_a_manager_that_does_not_answer_is_a_problem(self) -> None:
        with self.fleet.stopped(self.one):
            asked = self.ask_problems(self.one.place)
            self.fleet.clock.advance(2.0)
        manager, _ = self.successResultOf(asked)
        self.assertEqual((manager.subject, manager.name), ("worker", "manager"))

    def test_status_with_the_requests_of_all(self) -> None:
        self.one.count(3)
        self.two.count(4)
        own = status(listeners=[listener("http", 1)], requests={}, sent=0)
        found = self.successResultOf(self.fleet.ask(all_status(self.one.place, own, totals(self.one.runtime.metrics))))
        self.assertEqual((found["requests"]["2xx"], found["listeners"]), (7, [listener("http", 5)]))

    def test_status_of_this_worker_alone_if_the_manager_does_not_answer(self) -> None:
        own = status(uptime=77)
        with self.fleet.stopped(self.one):
            asked = self.fleet.ask(all_status(self.one.place, own, totals(self.one.runtime.metrics)))
            self.fleet.clock.advance(2.0)
        self.assertEqual(self.successResultOf(asked), own)


class KnownReloadTests(TestCase):
    def setUp(self) -> None:
        page = SharedPage.create()
        self.addCleanup(page.close)
        self.clock = Clock()
        self.replies: list[dict[str, Any]] = []
        _, own, self.pump = connected({"gather": lambda _: self.replies}, {}, self.clock)
        self.place = Place(0, page, own, {})

    def known(self) -> Deferred[Reload]:
        known = Deferred.fromCoroutine(known_reload(self.place))
        self.pump()
        return known

    def test_the_latest_one(self) -> None:
        self.replies = [
            {"slot": 1, "value": [5.0, ""]}, {"slot": 2, "value": [7.0, "a fault"]}, {"slot": 3, "late": True},
            {"slot": 4, "refused": "it stops"},
        ]  # fmt: skip
        self.assertEqual(self.successResultOf(self.known()), Reload(7.0, "a fault"))

    def test_no_other_worker(self) -> None:
        self.assertEqual(self.successResultOf(self.known()), Reload())

    def test_a_manager_that_does_not_answer(self) -> None:
        known = Deferred.fromCoroutine(known_reload(self.place))
        self.clock.advance(2.0)
        self.assertEqual(self.successResultOf(known), Reload())
