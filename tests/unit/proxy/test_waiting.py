"""The queue in front of full servers: who waits, for how long, and who is turned away."""

from __future__ import annotations

from math import inf

from twisted.internet.task import Clock
from twisted.trial import unittest

from perimeter.errors import UpstreamBusy
from perimeter.net.deadlines import Deadlines
from perimeter.proxy.counts import UpstreamCounts
from perimeter.proxy.waiting import RequestQueue


class Request:
    bounded = True
    deadline = inf

    def __init__(self, client: str, queue: RequestQueue) -> None:
        self.client = client
        self.queue = queue
        self.admitted = False
        self.refusal: UpstreamBusy | None = None

    def admit(self) -> None:
        self.admitted = True

    def turn_away(self, refusal: UpstreamBusy) -> None:
        self.refusal = refusal

    def deadline_expired(self) -> None:
        self.queue.expire(self)


class QueueTests(unittest.TestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.deadlines = Deadlines(self.clock)
        self.outcomes: list[str] = []
        self.queue = RequestQueue(3, 5.0, "app", self.deadlines, self.clock.seconds, self.outcomes.append)

    def wait(self, client: str) -> Request:
        request = Request(client, self.queue)
        self.queue.add(request)
        return request

    def test_clients_take_turns(self) -> None:
        for client in ("a", "a", "b"):
            self.wait(client)
        served = []
        while self.queue:
            waiter = self.queue.next()
            assert isinstance(waiter, Request)
            served.append(waiter.client)
        self.assertEqual((served, self.outcomes), (["a", "b", "a"], ["waited"] * 3))
        self.assertRaises(StopIteration, self.queue.next)
        self.assertEqual(len(self.deadlines), 0)

    def test_the_deadline(self) -> None:
        request = self.wait("a")
        self.assertEqual(request.deadline, 1005.0)
        self.clock.pump([0.25] * 19)
        self.assertIsNone(request.refusal)
        self.clock.pump([0.25] * 2)
        assert request.refusal is not None
        self.assertEqual(request.refusal.detail, "upstream app: no server had room within queue_timeout (5 s)")
        self.assertGreaterEqual(request.refusal.retry_after or 0, 8)
        self.assertEqual((len(self.queue), len(self.deadlines), self.outcomes), (0, 0, ["timeout"]))

    def test_a_full_queue(self) -> None:
        waiting = [self.wait("a") for _ in range(3)]
        one_more = self.wait("a")
        assert one_more.refusal is not None
        self.assertEqual(one_more.refusal.detail, "upstream app: 3 requests wait already")
        other = self.wait("b")
        self.assertIsNone(other.refusal)
        self.assertEqual([request.refusal is None for request in waiting], [True, True, False])
        self.assertIsNone(self.wait("c").refusal)
        self.assertEqual([request.refusal is None for request in waiting], [True, False, False])
        self.assertIsNotNone(self.wait("d").refusal, "no client has more requests than this one would have")
        self.assertEqual((len(self.queue), len(self.deadlines)), (3, 3))
        self.assertEqual(self.outcomes, ["full"] * 4)

    def test_a_request_that_leaves(self) -> None:
        request = self.wait("a")
        self.queue.remove(request)
        self.assertEqual((len(self.queue), len(self.deadlines), self.outcomes), (0, 0, []))


class CountsTests(unittest.TestCase):
    def test_a_server_that_is_gone_is_forgotten(self) -> None:
        counts = UpstreamCounts()
        for place in ("one", "two"):
            counts.answers["app", place, "good"] += 1
            counts.changes["app", place, "down"] += 1
            counts.checks["app", place, "passed"] += 1
        counts.answers["other", "one", "good"] += 1
        counts.lookups["app", "host", "failed"] += 1
        counts.forget("app", "one")
        self.assertEqual(set(counts.answers), {("app", "two", "good"), ("other", "one", "good")})
        self.assertEqual((set(counts.changes), set(counts.checks)), ({("app", "two", "down")}, {("app", "two", "passed")}))
        self.assertEqual(len(counts.lookups), 1)
