"""The first calls of a connection: who the gateway is, whether the server is the primary, and its clock."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from perimeter.config.site.redis_url import RedisUrl
from perimeter.errors import StateUnavailable
from perimeter.redis import greeting
from perimeter.redis.greeting import Greeting, greet, hello, look
from tests.unit.doubles.redis_server import MemoryDialler, Server, primary, settle
from tests.unit.doubles.redis_server import hello as says

HOST = (("h", 6379),)


class GreetingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.now = 1000.5
        self.patch(greeting.time, "time", lambda: self.now)

    def greet(self, server: Server, url: RedisUrl = RedisUrl(HOST)) -> Deferred[Greeting]:  # noqa: B008, because it is frozen
        dialler = MemoryDialler(self.clock, {"h:6379": server})
        connection = self.successResultOf(dialler.dial("h", 6379, lambda reason: None))
        result = greet(connection, url)
        settle(self.clock)
        return result

    def fails(self, result: Deferred[Any], words: str) -> None:
        self.assertIn(words, self.failureResultOf(result, StateUnavailable).value.detail)

    def test_hello(self) -> None:
        for url, credentials in (
            (RedisUrl(HOST), ()),
            (RedisUrl(HOST, password="pw"), ("AUTH", "default", "pw")),
            (RedisUrl(HOST, username="gw", password="pw"), ("AUTH", "gw", "pw")),
            (RedisUrl(HOST, username="gw"), ("AUTH", "gw", "")),
        ):
            self.assertEqual(("HELLO", 3, *credentials, "SETNAME", "perimeter"), hello(url))

    def test_greeting(self) -> None:
        server = primary("abc", version="7.0.15")
        self.assertEqual(Greeting("abc", "7.0.15", 0.0), self.successResultOf(self.greet(server)))
        self.assertEqual([b"HELLO", b"INFO", b"ROLE", b"TIME"], server.words())

    def test_database(self) -> None:
        server = primary()
        self.successResultOf(self.greet(server, RedisUrl(HOST, database=3)))
        self.assertEqual([b"SELECT", b"3"], server.commands[1])

    def test_valkey(self) -> None:
        server = primary()
        info = b"server_name:valkey\r\nredis_version:7.2.4\r\nvalkey_version:8.0.1\r\nrun_id:v\r\n"
        server.replies["INFO"] = b"$%d\r\n%b\r\n" % (len(info), info)
        self.assertEqual("8.0.1", self.successResultOf(self.greet(server)).version)

    def test_what_is_refused(self) -> None:
        """Each call of the greeting has to succeed."""
        for changes, words in (
            ({"HELLO": b"-WRONGPASS x\r\n"}, "refuses the user or the password"),
            ({"HELLO": b"-NOAUTH x\r\n"}, "demands a user and a password"),
            ({"HELLO": says(b"sentinel"), "TIME": b"-ERR x\r\n"}, "it is a Sentinel: write redis+sentinel://"),
            ({"HELLO": says(b"cluster")}, "Redis Cluster, which is not supported"),
            ({"HELLO": says(b"other")}, "does not say what it is"),
            ({"HELLO": b"%1\r\n+mode\r\n:1\r\n"}, "does not say what it is"),
            ({"HELLO": b"+OK\r\n"}, "does not say what it is"),
            ({"HELLO": b"-ERR unknown command\r\n"}, "the error ERR"),
            ({"SELECT": b"-ERR DB index is out of range\r\n"}, "the error ERR"),
            ({"INFO": b"-NOPERM x\r\n"}, "rules (ACL)"),
            ({"INFO": b"$3\r\nabc\r\n"}, "does not say its run_id"),
            ({"INFO": b":1\r\n"}, "does not say its run_id"),
            ({"ROLE": b"-NOPERM x\r\n"}, "rules (ACL)"),
            ({"ROLE": b"*1\r\n+slave\r\n"}, "not the primary"),
            ({"ROLE": b"*0\r\n"}, "not the primary"),
            ({"ROLE": b"+master\r\n"}, "not the primary"),
            ({"TIME": b"-NOPERM x\r\n"}, "does not say its time"),
            ({"TIME": b"*1\r\n+5\r\n"}, "does not say its time"),
            ({"TIME": b"*2\r\n+a\r\n+b\r\n"}, "does not say its time"),
            ({"TIME": b":5\r\n"}, "does not say its time"),
        ):
            with self.subTest(changes=changes):
                server = primary()
                server.replies.update(changes)
                self.fails(self.greet(server, RedisUrl(HOST, database=1)), words)
                self.assertEqual([], self.flushLoggedErrors())

    def look(self, began: float, ended: float) -> float:
        """The offset that is found if the look takes this time by this machine's clock; the server says 1000.5."""
        server = primary()
        connection = self.successResultOf(MemoryDialler(self.clock, {"h:6379": server}).dial("h", 6379, lambda reason: None))
        self.now = began
        result = look(connection)
        self.now = ended
        settle(self.clock)
        return self.successResultOf(result)

    def test_clocks(self) -> None:
        """A difference counts only as far as the time of the look does not explain it."""
        for began, ended, offset in (
            (1000.0, 1001.0, 0.0),
            (1000.5, 1000.5, 0.0),
            (990.0, 990.5, 10.0),
            (1003.0, 1004.0, -2.5),
            (1000.75, 1002.0, -0.25),
            (999.0, 1000.25, 0.25),
        ):
            self.assertEqual(offset, self.look(began, ended), (began, ended))
