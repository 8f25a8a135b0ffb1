"""`perimeter doctor` and a real Redis: one that is as it should be, one that anybody may use, one that is not there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from perimeter.cluster.configuration import configuration_hash
from perimeter.cluster.nodes import Node
from perimeter.cluster.registry import Registry
from perimeter.cluster.sealing import PURPOSE, Sealing
from perimeter.config.site.redis_url import parse_redis_url
from perimeter.doctor import redis
from perimeter.doctor.finding import Finding
from perimeter.redis.client import RedisClient
from perimeter.secrets_key import SecretsKey, cluster_keys
from tests.integration.ldapkit import shared
from tests.integration.ports import free_port
from tests.integration.redispeer import RedisPeer, SentinelPeer
from tests.unit.doctor.examined import SITE, ExaminedCase

SECRET = "0123456789abcdef0123456789abcdef"
RULES = (
    "on >secret resetkeys ~perimeter:* -@all +hello +auth +ping +role +info +time +client|setname +mget +zrange +set +get +zadd "
    "+zremrangebyscore +zremrangebyrank"
)
DAMAGED = ("appendonly no", "maxmemory-policy allkeys-lru", "protected-mode no")


class RedisFindingTests(ExaminedCase):
    def setUp(self) -> None:
        super().setUp()
        cls = RedisFindingTests
        if "good" not in cls.__dict__:
            users = {"gateway": RULES, "admin": "on >secret ~* +@all"}
            cls.good = shared(lambda directory: RedisPeer(directory / "good", users=users))
            cls.bad = shared(lambda directory: RedisPeer(directory / "bad", *DAMAGED, password=""))
        self.good: RedisPeer = cls.good
        self.bad: RedisPeer = cls.bad
        self.file("cluster.secret", SECRET + "\n")

    def config(self, url: str) -> Any:
        options = f"state = redis\nredis_url = {url}\ncluster_secret = cluster.secret\nnode = gw-1\nredis_timeout = 500ms\n"
        return self.subject(SITE.replace("state_dir = state\n", f"state_dir = state\n{options}")).config

    async def see(self, url: str) -> list[Finding]:
        return await redis.see(self.config(url), reactor)

    async def test_no_redis(self) -> None:
        self.assertEqual(await redis.see(self.subject().config, reactor), [])

    async def test_as_it_should_be(self) -> None:
        self.assertEqual(self.said(await self.see(self.good.url("gateway", "secret"))), [])

    async def test_a_user_who_may_do_more(self) -> None:
        found = await self.see(self.good.url("admin", "secret"))
        self.assertEqual(self.said(found), [("redis-user", "soon", f"127.0.0.1:{self.good.port}")])

    async def test_attack_196_a_redis_that_answers_everybody_is_reported(self) -> None:
        """Everybody who reaches it can delete revocations: MACs do not protect from that."""
        place = f"127.0.0.1:{self.bad.port}"
        self.assertEqual(
            self.said(await self.see(f"redis://127.0.0.1:{self.bad.port}")),
            [
                ("redis-user", "soon", "[perimeter]"),
                ("redis-evicts", "soon", place),
                ("redis-volatile", "soon", place),
                ("redis-open", "open", "[perimeter]"),
            ],
        )

    async def test_sentinels_that_are_gone_or_answer_everybody(self) -> None:
        sentinel = SentinelPeer(Path(self.mktemp()).resolve(), self.good)
        self.addCleanup(sentinel.close)
        gone = free_port()
        found = await self.see(f"redis+sentinel://gateway:secret@127.0.0.1:{sentinel.port},127.0.0.1:{gone}/perimeter")
        place = f"127.0.0.1:{self.good.port}"
        self.assertEqual(
            self.said(found),
            [
                ("redis-replicas", "advice", "[perimeter]"),
                ("redis-replicas", "soon", place),
                ("redis-replicas", "soon", place),
                ("redis-open", "open", f"Sentinel 127.0.0.1:{sentinel.port}"),
                ("redis-down", "soon", f"Sentinel 127.0.0.1:{gone}"),
            ],
        )

    async def test_a_wrong_password(self) -> None:
        (found,) = await self.see(self.good.url("gateway", "wonderland"))
        self.assertEqual(self.said([found]), [("redis-down", "fails", "[perimeter]")])
        self.assertIn("it refuses the user or the password of redis_url", found.message)
        self.assertNotIn("wonderland", found.message)

    async def test_redis_is_not_there(self) -> None:
        (found,) = await self.see(f"redis://gw:secret@127.0.0.1:{free_port()}")
        self.assertEqual(self.said([found]), [("redis-down", "fails", "[perimeter]")])

    async def test_nodes_that_differ(self) -> None:
        config = self.config(self.good.url("gateway", "secret"))
        own = configuration_hash(config.sections)
        url = parse_redis_url(self.good.url("admin", "secret"))
        client = RedisClient(reactor, url)
        client.start()
        self.addCleanup(client.stop)
        self.addCleanup(self.good.ask, "FLUSHALL")
        now = float((await client.call("TIME"))[0])
        sealing = Sealing(*SecretsKey(*cluster_keys(SECRET)).derive_all(PURPOSE))
        registry = Registry(client, sealing)
        same = Node("gw-0", "f00d", "1.0", own, "10.0.0.1", now - 100, 0.5, 0.0, now)
        await registry.write(same)
        await registry.write(attrs.evolve(same, name="gw-1", configuration="000000000000"))
        await registry.write(attrs.evolve(same, name="gw-2", written=now - 60))
        await registry.write(attrs.evolve(same, name="gw-3", clock=2.5))
        await Registry(client, Sealing(b"x" * 32)).write(attrs.evolve(same, name="gw-4"))
        found = await redis.see(config, reactor)
        self.flushLoggedErrors()
        self.assertEqual(
            self.said(found),
            [
                ("node-differs", "soon", "node gw-1"),
                ("node-unreadable", "soon", "node gw-4"),
                ("node-silent", "soon", "node gw-2"),
                ("clock-differs", "fails", "node gw-3"),
                ("node-differs", "soon", "node gw-1"),
            ],
        )
        self.assertIn("another configuration (000000000000) than the file has", found[0].message)

    def test_a_redis_that_hangs_ends_the_look_in_time(self) -> Deferred[None]:
        self.good.freeze()
        self.addCleanup(self.good.thaw)
        asked = Deferred.fromCoroutine(self.see(self.good.url("gateway", "secret")))
        return asked.addCallback(lambda found: self.assertEqual(self.said(found), [("redis-down", "fails", "[perimeter]")]))
