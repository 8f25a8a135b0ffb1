"""The manager asks the workers for their shares, keeps their counts, and adds them up."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from perimeter.workers.channel import Channel
from perimeter.workers.shares import Shares
from tests.unit.workers.channels import connected


class Worker:
    """A worker and its channel, seen from both sides."""

    def __init__(self, number: int, shares: Shares, clock: Clock) -> None:
        self.number = number
        self.count = 0
        self.silent = False
        self.refuses = False
        self.channel: Channel
        self.own: Channel
        self.pump: Callable[[], None]
        self.channel, self.own, self.pump = connected(shares.handlers(self), {"share": self.share}, clock)

    def counts(self) -> Mapping[str, Any]:
        return {"x": [[[], [self.count]]]}

    def share(self, _: Mapping[str, Any]) -> Any:
        if self.refuses:
            raise ValueError("stops")
        return Deferred() if self.silent else {"counts": self.counts(), "gauges": {"g": self.number}}


class SharesTests(TestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.workers: list[Worker] = []
        self.shares = Shares(lambda: self.workers, lambda: [{"slot": one.number} for one in self.workers], self.clock.seconds)
        self.workers += [Worker(number, self.shares, self.clock) for number in range(3)]

    def pump(self) -> None:
        for _ in range(3):
            for worker in self.workers:
                worker.pump()

    def ask(self, worker: Worker) -> Deferred[Any]:
        asked = worker.own.ask("shares", 2.0, question="share", counts=worker.counts(), timeout=1.0)
        self.pump()
        return asked

    def sum(self, answer: Mapping[str, Any]) -> int:
        return int(answer["counts"]["x"][0][1][0])

    def test_the_shares_of_the_others_and_the_sum_of_all(self) -> None:
        for number, worker in enumerate(self.workers):
            worker.count = 10**number
        answer = self.successResultOf(self.ask(self.workers[1]))
        self.assertEqual(self.sum(answer), 111)
        self.assertEqual(answer["shares"], [{"slot": slot, "value": {"gauges": {"g": slot}}} for slot in (0, 2)])
        self.assertEqual(answer["workers"], [{"slot": 0}, {"slot": 1}, {"slot": 2}])

    def test_the_gateway_is_up_since_the_manager_is(self) -> None:
        self.clock.advance(7)
        self.assertEqual(self.successResultOf(self.ask(self.workers[0]))["uptime"], 7)
        self.shares.since = -3
        self.assertEqual(self.successResultOf(self.ask(self.workers[0]))["uptime"], 10)

    def test_a_worker_that_does_not_answer_is_shown_without_a_share_and_with_its_last_counts(self) -> None:
        one, two, three = self.workers
        three.count = 5
        self.assertEqual(self.sum(self.successResultOf(self.ask(one))), 5)
        three.silent, three.count, two.count = True, 7, 1
        asked = self.ask(one)
        self.clock.advance(0.99)
        self.pump()
        self.assertNoResult(asked)
        self.clock.advance(0.01)
        self.pump()
        answer = self.successResultOf(asked)
        self.assertEqual(answer["shares"], [{"slot": 1, "value": {"gauges": {"g": 1}}}, {"slot": 2, "value": None}])
        self.assertEqual(self.sum(answer), 6)

    def test_a_worker_that_stops_has_no_share(self) -> None:
        self.workers[1].refuses = True
        answer = self.successResultOf(self.ask(self.workers[0]))
        self.assertEqual(answer["shares"][0], {"slot": 1, "value": None})

    def test_what_a_scrape_has_shown_is_kept_when_its_worker_is_killed(self) -> None:
        one, two, three = self.workers
        one.count, two.count, three.count = 1, 10, 100
        self.assertEqual(self.sum(self.successResultOf(self.ask(one))), 111)
        for gone in (one, three):  # the one that asked, and one that was asked
            self.workers.remove(gone)
            self.shares.ended(gone)
        self.assertEqual(self.sum(self.successResultOf(self.ask(two))), 111)
        self.workers.append(Worker(0, self.shares, self.clock))
        self.workers[1].count = 1000
        self.assertEqual(self.sum(self.successResultOf(self.ask(two))), 1111)

    def test_a_worker_that_ends_during_the_question_is_not_counted_twice(self) -> None:
        one, two, three = self.workers
        two.count, three.silent = 10, True
        asked = self.ask(one)
        self.shares.ended(two)  # it has answered
        self.clock.advance(1)
        self.pump()
        self.assertEqual(self.sum(self.successResultOf(asked)), 10)

    def test_counts_that_a_worker_has_sent_by_itself(self) -> None:
        worker = self.workers.pop()
        worker.count = 3
        worker.own.tell("counted", counts=worker.counts())
        worker.count = 4
        asked = worker.own.ask("counted", 1.0, counts=worker.counts())
        worker.pump()
        self.assertIsNone(self.successResultOf(asked))
        self.shares.ended(worker)
        self.assertEqual(self.sum(self.successResultOf(self.ask(self.workers[0]))), 4)
