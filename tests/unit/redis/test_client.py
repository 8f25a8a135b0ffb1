"""The client as a whole, over servers in memory."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from perimeter.config.site.redis_url import parse_redis_url
from perimeter.errors import StateUnavailable
from perimeter.redis import client as client_module
from perimeter.redis.client import RedisClient
from perimeter.redis.script import Script
from tests.unit.doubles.redis_server import MemoryDialler, Server, primary, sentinel, settle


class ClientTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.servers: dict[str, Server | None] = {"h:6379": primary("r1"), "10.0.0.2:6379": primary("r2")}
        self.patch(client_module, "Dialler", lambda clock, tls, timeout: MemoryDialler(clock, self.servers, timeout))

    def client(self, url: str = "redis://gw:pw@h") -> RedisClient:
        made = RedisClient(self.clock, parse_redis_url(url))  # type: ignore[arg-type]
        made.start()
        settle(self.clock)
        return made

    def server(self, place: str = "h:6379") -> Server:
        found = self.servers[place]
        assert found is not None
        return found

    def test_single_server(self) -> None:
        client = self.client()
        self.assertEqual(
            ("r1", "h:6379", "7.2.4", "", "10.0.0.1"),
            (client.run_id, client.primary, client.version, client.problem, client.local),
        )
        self.assertLess(client.offset, 0.0)
        call = client.call("GET", "a")
        settle(self.clock)
        self.assertEqual(b"x", self.successResultOf(call))

    def test_script(self) -> None:
        self.server().replies["EVALSHA"] = b":5\r\n"
        call = self.client().run(Script("return 5"), ["k"], [1])
        settle(self.clock)
        self.assertEqual(5, self.successResultOf(call))

    def test_change_of_the_primary(self) -> None:
        """Another start of a server is another run."""
        client = self.client()
        self.server().connections[0].connectionLost()
        self.assertEqual(("", ""), (client.run_id, client.primary))
        self.clock.advance(0.1)
        settle(self.clock)
        self.assertEqual("r1", client.run_id)
        self.servers["h:6379"] = primary("r3")
        lost = client._link._found
        assert lost is not None
        lost.connection.drop("gone")
        self.clock.advance(0.2)
        settle(self.clock)
        self.assertEqual("r3", client.run_id)

    def test_single_server_that_became_a_replica(self) -> None:
        """It is left, and taken again when it is a primary."""
        client = self.client()
        role = self.server().replies["ROLE"]
        self.server().replies["ROLE"] = b"*1\r\n+slave\r\n"
        self.clock.advance(1.3)
        settle(self.clock)
        self.assertEqual("Redis: the server is not the primary", client.problem)
        self.server().replies["ROLE"] = role
        self.clock.advance(1.3)
        settle(self.clock)
        self.assertEqual("", client.problem)

    def test_sentinels(self) -> None:
        self.servers.update({"s:26379": sentinel("10.0.0.2")})
        client = self.client("redis+sentinel://s/site")
        self.assertEqual(("r2", "10.0.0.2:6379"), (client.run_id, client.primary))
        self.successResultOf(client.stop())
        self.assertEqual([], self.server("s:26379").connections)
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_readers(self) -> None:
        """Each has a connection of its own; the end of the client is the end of all."""
        client = self.client()
        one, two = client.reader(), client.reader()
        settle(self.clock)
        self.assertEqual(3, len(self.server().connections))
        self.assertEqual(("r1", "r1"), (one.run_id, two.run_id))
        one.stop()
        self.assertEqual(2, len(self.server().connections))
        client.reader()
        self.assertEqual(2, len(client._readers))
        settle(self.clock)
        self.successResultOf(client.stop())
        self.assertEqual([], self.server().connections)
        self.assertEqual([], self.clock.getDelayedCalls())
        self.failureResultOf(client.call("GET", "a"), StateUnavailable)

    def test_nothing_is_done_before_the_start(self) -> None:
        client = RedisClient(self.clock, parse_redis_url("redis://h"))  # type: ignore[arg-type]
        self.failureResultOf(client.call("GET", "a"), StateUnavailable)
        self.assertEqual([], self.server().commands)
        self.successResultOf(client.stop())
