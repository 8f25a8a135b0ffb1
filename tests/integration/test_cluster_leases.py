"""Leases and counts of several machines on a real Redis server."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from perimeter.cluster import counts as counts_module
from perimeter.cluster.counts import Decay, SharedCounts
from perimeter.cluster.leases import Clocks, Lease, Leases
from perimeter.config.site.redis_url import parse_redis_url
from perimeter.errors import StateUnavailable
from perimeter.redis.client import RedisClient
from tests.integration.ldapkit import shared
from tests.integration.redispeer import RedisPeer

USERS = {"gateway": "on >secret ~perimeter:* +@all"}
KEY = b"k" * 32


class EngineCase(TestCase):
    """One server for all tests of the class. Each has to leave it running."""

    def setUp(self) -> None:
        cls = type(self)
        if "server" not in cls.__dict__:
            cls.server = shared(lambda directory: RedisPeer(directory / "redis", users=USERS))
        self.server: RedisPeer = cls.server
        self.redis = self.client()

    def client(self) -> RedisClient:
        client = RedisClient(reactor, parse_redis_url(self.server.url("gateway", "secret")), timeout=1.0)
        self.addCleanup(client.stop)
        client.start()
        return client

    def all_of(self, *work: Any) -> Deferred[list[Any]]:
        return gatherResults([Deferred.fromCoroutine(one) for one in work], consumeErrors=True)


class LeaseTests(EngineCase):
    def setUp(self) -> None:
        super().setUp()
        self.pause = 0.0
        self.one, self.two = (Leases(redis, Clocks(reactor, self.monotonic)) for redis in (self.redis, self.client()))

    def monotonic(self) -> float:
        return reactor.seconds() + self.pause

    async def take(self, leases: Leases, name: str, life: float = 10.0) -> Lease:
        lease = await leases.take(name, life)
        assert lease is not None
        self.addCleanup(lease.release)
        return lease

    async def test_attack_192_of_many_machines_at_once_one_has_the_lease(self) -> None:
        found = await self.all_of(*[leases.take("race") for leases in (self.one, self.two) * 20])
        held = [lease for lease in found if lease is not None]
        self.assertEqual(len(held), 1)
        self.assertTrue(held[0].held)
        held[0].release()
        self.assertFalse(held[0].held)
        await self.redis.call("PING")  # after the release, on the same connection
        again = await self.take(self.one, "race")
        self.assertGreater(again.fence, held[0].fence)

    async def test_names_are_apart_and_fences_are_not(self) -> None:
        first, second = await self.take(self.one, "a"), await self.take(self.two, "b")
        self.assertGreater(second.fence, first.fence)

    async def test_fences_grow_also_if_a_failover_has_lost_the_last_one(self) -> None:
        first = await self.take(self.one, "failover")
        self.server.ask("DEL", "perimeter:fence", "perimeter:lease:failover")
        second = await self.take(self.two, "failover")
        self.assertGreater(second.fence, first.fence)

    async def test_the_holder_keeps_it_for_longer_than_its_life(self) -> None:
        lease = await self.take(self.one, "slow", 0.3)
        await deferLater(reactor, 0.8)
        self.assertTrue(lease.held)
        self.assertIsNone(await self.two.take("slow"))

    async def test_attack_192_a_paused_process_knows_that_it_lost_its_lease(self) -> None:
        lease = await self.take(self.one, "paused", 0.3)
        lease._renewing.stop()  # the process does nothing
        self.assertTrue(lease.held)
        self.pause = 0.28
        self.assertFalse(lease.held, "before the engine gives it to another one")
        await deferLater(reactor, 0.35)
        other = await self.take(self.two, "paused")
        self.assertGreater(other.fence, lease.fence)
        lease.release()
        await self.redis.call("PING")
        self.assertIsNone(await self.one.take("paused"), "it releases its own lease, and not that of another machine")

    async def test_a_lease_that_was_lost_is_not_renewed(self) -> None:
        lease = await self.take(self.one, "lost", 0.3)
        self.server.ask("SET", "perimeter:lease:lost", "another")
        await deferLater(reactor, 0.15)
        self.assertFalse(lease.held)
        self.assertEqual(self.server.ask("GET", "perimeter:lease:lost"), b"another")

    async def test_without_an_engine_no_one_gets_it(self) -> None:
        self.server.freeze()
        try:
            await self.one.take("away")
        except StateUnavailable:
            pass
        else:
            self.fail("a lease without an engine")
        finally:
            self.server.thaw()


class CountTests(EngineCase):
    def setUp(self) -> None:
        super().setUp()
        self.server.ask("FLUSHALL")
        self.one, self.two = (SharedCounts(redis, KEY, 1800.0) for redis in (self.redis, self.client()))

    async def test_failures_of_all_machines_add_up(self) -> None:
        found = await self.all_of(*[counts.add(b"john") for counts in (self.one, self.two) * 10])
        self.assertEqual(sorted(count.failures for count in found), list(range(1, 21)))
        (john, mary) = await self.two.find([b"john", b"mary"])
        self.assertEqual((john.failures, john.dropped), (20, None))
        self.assertLess(john.age, 1.0)
        self.assertEqual((mary.failures, mary.age, mary.dropped), (0, 0.0, None))
        self.assertTrue(1_700_000 < int(self.server.ask("PTTL", self.one._written("attempts", b"john"))) <= 1_800_000)

    async def test_a_guess_counts_once(self) -> None:
        self.assertEqual((await self.one.add(b"address", once=b"guess")).failures, 1)
        self.assertEqual((await self.two.add(b"address", once=b"guess")).failures, 1)
        self.assertEqual((await self.two.add(b"address", once=b"other")).failures, 2)
        self.assertEqual((await self.two.add(b"another address", once=b"guess")).failures, 1)

    async def test_a_count_goes_down_below_its_limit(self) -> None:
        for _ in range(5):
            await self.one.add(b"address")
        self.older(1000)
        self.assertEqual((await self.two.add(b"address", Decay(5, 2.0))).failures, 6, "at the limit")
        self.older(1000)
        self.assertEqual((await self.two.add(b"address", Decay(7, 2.0))).failures, 5, "two of six are gone")
        self.older(100_000)
        self.assertEqual((await self.two.add(b"address", Decay(7, 2.0))).failures, 1, "never below nothing")

    def older(self, milliseconds: int) -> None:
        self.server.ask("HINCRBY", self.one._written("attempts", b"address"), "last", str(-milliseconds))

    async def test_what_is_dropped_is_dropped_on_all_machines(self) -> None:
        await self.one.add(b"john")
        await self.two.drop([b"john", b"mary"])
        await deferLater(reactor, 0.02)
        for count in await self.one.find([b"john", b"mary"]):
            self.assertEqual(count.failures, 0)
            assert count.dropped is not None
            self.assertTrue(0.01 < count.dropped < 1.0)
        after = await self.one.add(b"john")
        self.assertEqual(after.failures, 1)
        self.assertIsNotNone(after.dropped, "the mark stays")

    async def test_attack_190_made_up_names_do_not_fill_the_engine(self) -> None:
        self.patch(counts_module, "MOST_BEGUN", 3)
        for number in range(6):
            self.assertEqual((await self.one.add(b"%d" % number)).failures, 1)
        self.assertEqual((await self.one.add(b"1")).failures, 2, "one that was begun goes on")
        self.assertEqual((await self.one.add(b"5")).failures, 1)
        self.assertEqual(self.server.ask("DBSIZE"), 4)
        self.assertTrue(0 < int(self.server.ask("PTTL", "perimeter:attempts-begun")) <= 60_000)

    async def test_the_engine_sees_no_names(self) -> None:
        await self.one.add(b"name\0corp\0john", once=b"guess")
        for key in self.server.ask("KEYS", "*"):
            self.assertNotIn(b"john", key)
        self.assertEqual((await SharedCounts(self.redis, b"x" * 32, 60.0).find([b"name\0corp\0john"]))[0].failures, 0)

    async def test_a_count_that_cannot_be_read_is_not_none_at_all(self) -> None:
        await self.one.add(b"john")
        self.server.ask("HSET", self.one._written("attempts", b"john"), "failures", "many")
        for work in (self.one.find([b"john"]), self.one.add(b"john")):
            try:
                await work
            except StateUnavailable:
                continue
            self.fail("it was read")
