"""Tests of writes that wait for a replica."""

from __future__ import annotations

from typing import Any, cast

from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from perimeter.cluster.confirmed import MOST_WAITING, ConfirmedWrites
from perimeter.errors import Overloaded, StateUnavailable
from perimeter.redis.client import RedisClient
from perimeter.redis.link import Link


class LinkDouble:
    """Notes the calls of ``WAIT``; ``waits`` are their replies."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.waits: list[Deferred[int]] = []

    def call(self, *arguments: Any, patience: float = 0.0) -> Deferred[int]:
        self.calls.append((*arguments, patience))
        self.waits.append(Deferred())
        return self.waits[-1]


class ClientDouble:
    """Gives one link."""

    def __init__(self) -> None:
        self.link = LinkDouble()
        self.readers = 0

    def reader(self) -> Link:
        self.readers += 1
        return cast(Link, self.link)


class ConfirmedWritesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.client = ClientDouble()
        self.writes = self.made(replicas=True)

    def made(self, *, replicas: bool) -> ConfirmedWrites:
        return ConfirmedWrites(cast(RedisClient, self.client), replicas=replicas)

    def test_a_write_is_answered_when_a_replica_has_it(self) -> None:
        done = self.writes.write(lambda link: succeed(7), needed=True)
        self.assertNoResult(done)
        self.assertEqual(self.client.link.calls, [("WAIT", 1, 100, 0.1)])
        self.client.link.waits[0].callback(1)
        self.assertEqual(self.successResultOf(done), 7)

    def test_without_replicas_none_is_waited_for(self) -> None:
        self.assertEqual(self.successResultOf(self.made(replicas=False).write(lambda link: succeed(7), needed=True)), 7)
        self.assertEqual(self.client.link.calls, [])

    def test_no_replica_in_time(self) -> None:
        """Only a write fails that needs one."""
        first: Deferred[int] = Deferred()
        self.writes.write(lambda link: first, needed=False)
        needed = self.writes.write(lambda link: succeed(1), needed=True)
        other = self.writes.write(lambda link: succeed(2), needed=False)
        first.callback(0)
        self.client.link.waits[0].callback(1)
        self.client.link.waits[1].callback(0)
        self.failureResultOf(needed, StateUnavailable)
        self.assertEqual(self.successResultOf(other), 2)

    def test_a_lost_connection_while_waiting(self) -> None:
        done = self.writes.write(lambda link: succeed(1), needed=True)
        self.client.link.waits[0].errback(StateUnavailable("Redis: connection lost"))
        self.failureResultOf(done, StateUnavailable)
        other = self.writes.write(lambda link: succeed(2), needed=False)
        self.client.link.waits[1].errback(StateUnavailable("Redis: connection lost"))
        self.assertEqual(self.successResultOf(other), 2)

    def test_each_write_fails_for_itself(self) -> None:
        first: Deferred[int] = Deferred()
        self.writes.write(lambda link: first, needed=True).addErrback(lambda _: None)
        bad = self.writes.write(lambda link: fail(StateUnavailable("no")), needed=True)
        good = self.writes.write(lambda link: succeed(3), needed=True)
        first.errback(StateUnavailable("nothing was written, so nothing is waited for"))
        self.assertEqual(len(self.client.link.calls), 1)
        self.client.link.waits[0].callback(2)
        self.failureResultOf(bad, StateUnavailable)
        self.assertEqual(self.successResultOf(good), 3)

    def test_writes_that_come_meanwhile_share_a_wait_on_one_connection(self) -> None:
        done = [self.writes.write(lambda link: succeed(0), needed=True) for _ in range(5)]
        self.client.link.waits[0].callback(1)
        self.client.link.waits[1].callback(1)
        for one in done:
            self.assertEqual(self.successResultOf(one), 0)
        self.assertEqual((len(self.client.link.calls), self.client.readers), (2, 1))

    def test_too_many(self) -> None:
        done = [self.writes.write(lambda link: succeed(0), needed=True) for _ in range(MOST_WAITING + 2)]
        self.failureResultOf(done[-1], Overloaded)
        self.assertNoResult(done[-2])
