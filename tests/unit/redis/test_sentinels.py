"""Which primary the Sentinels name, and when it is left."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from perimeter.config.site.redis_url import RedisUrl
from perimeter.errors import StateUnavailable
from perimeter.redis.link import Found
from perimeter.redis.sentinels import Named, Sentinels, read_named
from tests.unit.doubles.redis_server import MemoryDialler, Server, primary, sentinel, settle
from tests.unit.doubles.redis_server import hello as says

URL = RedisUrl((("s1", 26379), ("s2", 26379), ("s3", 26379)), primary="site", username="gateway", password="secret")


class SentinelsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.servers: dict[str, Server | None] = {"10.0.0.1:6379": primary("r1"), "10.0.0.2:6379": primary("r2")}
        self.dialler = MemoryDialler(self.clock, self.servers)
        self.name(*(sentinel() for _ in range(3)))
        self.sentinels = Sentinels(URL, self.dialler)
        self.lost: list[str] = []

    def name(self, *sentinels: Server | None) -> None:
        """These Sentinels answer from now on."""
        for number, server in enumerate(sentinels, 1):
            known = self.servers.get(f"s{number}:26379")
            if isinstance(known, Server) and isinstance(server, Server):
                known.replies = server.replies
            else:
                self.servers[f"s{number}:26379"] = server

    def connect(self) -> Deferred[Found]:
        found = self.sentinels.connect(self.lost.append)
        settle(self.clock)
        return found

    def found(self) -> Found:
        return self.successResultOf(self.connect())

    def fails(self, result: Deferred[Any], words: str) -> None:
        self.assertIn(words, self.failureResultOf(result, StateUnavailable).value.detail)

    def look(self, found: Found) -> Deferred[float]:
        result = self.sentinels.look(found)
        settle(self.clock)
        return result

    def test_primary(self) -> None:
        found = self.found()
        self.assertEqual(
            ("10.0.0.1:6379", "r1", "7.2.4", 0), (found.place, found.greeting.run_id, found.greeting.version, found.epoch)
        )
        server = self.servers["10.0.0.1:6379"]
        assert server is not None
        self.assertEqual([b"HELLO", b"INFO", b"ROLE", b"TIME"], server.words())
        self.assertEqual([b"HELLO", b"3", b"AUTH", b"gateway", b"secret", b"SETNAME", b"perimeter"], server.commands[0])
        first = self.servers["s1:26379"]
        assert first is not None
        self.assertEqual([[b"HELLO", b"3", b"SETNAME", b"perimeter"], [b"SENTINEL", b"MASTER", b"site"]], first.commands)

    def test_connections_to_sentinels_are_kept(self) -> None:
        self.found()
        self.found()
        first = self.servers["s1:26379"]
        assert first is not None
        self.assertEqual([b"HELLO", b"SENTINEL", b"SENTINEL"], first.words())

    def test_newest_configuration_is_believed(self) -> None:
        """Whatever the order of the answers."""
        for place in range(3):
            names = [sentinel(epoch=3) for _ in range(3)]
            names[place] = sentinel("10.0.0.2", epoch=4)
            self.setUp()
            self.name(*names)
            if place == 2:  # a majority has answered before the third does
                names[0].replies["SENTINEL"] = None
                self.name(*names)
            found = self.found()
            self.assertEqual(("10.0.0.2:6379", 4), (found.place, found.epoch))

    def test_majority_is_enough(self) -> None:
        """A Sentinel that does not answer holds nothing up; the refusals of others do not count as answers."""
        self.name(None, sentinel(), sentinel())
        self.assertEqual("r1", self.found().greeting.run_id)
        self.setUp()
        self.name(None, sentinel(), sentinel())
        del self.servers["s2:26379"]
        waiting = self.connect()
        self.assertNoResult(waiting)
        self.clock.advance(2.0)
        settle(self.clock)
        self.assertEqual("r1", self.successResultOf(waiting).greeting.run_id)

    def test_no_sentinel(self) -> None:
        for number in (1, 2, 3):
            del self.servers[f"s{number}:26379"]
        self.fails(self.connect(), "no Sentinel answers; s1:26379: refused")

    def test_sentinel_does_not_know_the_name(self) -> None:
        self.name(*(Server(HELLO=says(b"sentinel"), SENTINEL=b"-ERR No such master with that name\r\n") for _ in range(3)))
        self.fails(self.connect(), "s1:26379: the Sentinel knows no primary called site")

    def test_sentinel_that_demands_a_password(self) -> None:
        """The user and the password are sent only to a Sentinel that says that it needs them."""

        def hello(command: list[bytes]) -> bytes:
            return says(b"sentinel") if b"secret" in command else b"-NOAUTH HELLO must be called\r\n"

        for number in (1, 2, 3):
            server = self.servers[f"s{number}:26379"]
            assert server is not None
            server.replies["HELLO"] = hello
        self.assertEqual("r1", self.found().greeting.run_id)
        for credentials in ({}, {"password": "secret"}, {"username": "secret"}):
            self.setUp()
            self.sentinels = Sentinels(RedisUrl(URL.servers, primary="site", **credentials), self.dialler)
            for number in (1, 2, 3):
                server = self.servers[f"s{number}:26379"]
                assert server is not None
                server.replies["HELLO"] = hello
            if credentials:
                self.assertEqual("r1", self.found().greeting.run_id)
            else:
                self.fails(self.connect(), "it demands a user and a password")

    def test_server_in_the_place_of_a_sentinel(self) -> None:
        """It is said what is wrong in redis_url, and nothing is left open."""
        wrong = [primary() for _ in range(3)]
        for number, server in enumerate(wrong, 1):
            self.servers[f"s{number}:26379"] = server
        self.fails(self.connect(), "s1:26379: it is a server and no Sentinel: write redis://")
        self.assertEqual([[], [], []], [server.connections for server in wrong])

    def test_sentinel_that_refuses(self) -> None:
        """Another error than that of a missing password is not answered with one."""
        for number in (1, 2, 3):
            server = self.servers[f"s{number}:26379"]
            assert server is not None
            server.replies["HELLO"] = b"-DENIED x\r\n"
        self.fails(self.connect(), "protected mode")
        self.name(*(Server(HELLO=says(b"sentinel"), SENTINEL=b"-IDONTKNOW x\r\n") for _ in range(3)))
        self.fails(self.connect(), "the error IDONTKNOW")
        first = self.servers["s1:26379"]
        assert first is not None
        self.assertNotIn(b"AUTH", [word for command in first.commands for word in command])

    def test_what_is_no_primary(self) -> None:
        """A replica, and a server that says nothing of itself, are left at once."""
        for server, words in (
            (primary(role=b"slave"), "10.0.0.1:6379: the server is not the primary"),
            (primary(run_id=""), "does not say its run_id"),
            (Server(HELLO=b"-WRONGPASS x\r\n"), "refuses the user or the password"),
            (Server(HELLO=b"-NOPROTO x\r\n"), "Redis 7 or newer"),
            (Server(HELLO=b"HTTP/1.1 400\r\n"), "no reply of Redis"),
        ):
            self.setUp()
            self.servers["10.0.0.1:6379"] = server
            self.fails(self.connect(), words)
            self.assertEqual([], server.connections)

    def test_look(self) -> None:
        found = self.found()
        offset = self.successResultOf(self.look(found))
        self.assertLess(offset, 0)

    def test_primary_is_left_for_another_one(self) -> None:
        """As soon as one Sentinel has a newer configuration, although the old primary still answers, or is frozen."""
        for frozen in (False, True):
            self.setUp()
            found = self.found()
            self.name(sentinel(epoch=0), sentinel("10.0.0.2", epoch=1), sentinel(epoch=0))
            if frozen:
                server = self.servers["10.0.0.1:6379"]
                assert server is not None
                server.replies.update(ROLE=None, TIME=None)
            self.fails(self.look(found), "the Sentinels name another primary, 10.0.0.2:6379")

    def test_attack_174_sentinel_that_was_cut_off_with_an_old_primary(self) -> None:
        """It goes on naming the old one. No client connects to that, and clients that are there leave."""
        self.name(sentinel(epoch=0), sentinel("10.0.0.2", epoch=1), sentinel("10.0.0.2", epoch=1))
        found = self.found()
        self.assertEqual("r2", found.greeting.run_id)
        self.name(sentinel(epoch=0), sentinel(epoch=0), sentinel(epoch=0))
        self.successResultOf(self.look(found))

    def test_primary_is_left_during_its_failover(self) -> None:
        """Also if it was found in the middle of the failover, at the Sentinel that carries it out."""
        self.name(*(sentinel(epoch=1, flags="master,failover_in_progress") for _ in range(3)))
        found = self.found()
        self.assertEqual("10.0.0.1:6379", found.place)
        self.name(
            sentinel(epoch=1, flags="master,failover_in_progress"), sentinel("10.0.0.2", epoch=1), sentinel("10.0.0.2", epoch=1)
        )
        self.fails(self.look(found), "the Sentinels name another primary, 10.0.0.2:6379")
        self.assertEqual("r2", self.found().greeting.run_id)

    def test_same_primary_in_a_newer_configuration(self) -> None:
        found = self.found()
        self.name(*(sentinel(epoch=7) for _ in range(3)))
        self.successResultOf(self.look(found))

    def test_sentinels_that_are_away_change_nothing(self) -> None:
        found = self.found()
        for number in (1, 2, 3):
            server = self.servers.pop(f"s{number}:26379")
            assert server is not None
            for connection in [*server.connections]:
                connection.connectionLost()
        self.successResultOf(self.look(found))

    def test_primary_that_became_a_replica(self) -> None:
        found = self.found()
        server = self.servers["10.0.0.1:6379"]
        assert server is not None
        server.replies["ROLE"] = b"*2\r\n+slave\r\n+x\r\n"
        self.fails(self.look(found), "the server is not the primary")

    def test_stop(self) -> None:
        """Nothing is left, also of what is under way."""
        self.found()
        self.servers["s1:26379"].replies["SENTINEL"] = None  # type: ignore[union-attr]
        self.sentinels.look(self.found()).addErrback(lambda failure: None)
        self.sentinels.stop()
        for number in (1, 2, 3):
            self.assertEqual([], self.servers[f"s{number}:26379"].connections)  # type: ignore[union-attr]


class NamedTests(SynchronousTestCase):
    def test_addresses(self) -> None:
        for host in ("10.0.0.1", "redis-1.example.com", "fd00::1"):
            reply = {b"ip": host.encode(), b"port": b"6380", b"config-epoch": b"12", b"flags": b"master"}
            self.assertEqual(Named(host, 6380, 12), read_named(reply))

    def test_failover_in_progress(self) -> None:
        """The Sentinel that carries it out has the new epoch already, and the old address still."""
        reply = {b"ip": b"10.0.0.1", b"port": b"6380", b"config-epoch": b"12"}
        for flags, epoch in (
            (b"master", 12),
            (b"s_down,o_down,master", 12),
            (b"master,failover_in_progress", 11),
            (b"s_down,o_down,master,failover_in_progress,force_failover", 11),
        ):
            self.assertEqual(epoch, read_named({**reply, b"flags": flags}).epoch)

    def test_attack_174_what_is_no_address(self) -> None:
        """What a Sentinel says is an address and a port, or nothing."""
        good = {b"ip": b"10.0.0.1", b"port": b"6379", b"config-epoch": b"1", b"flags": b"master"}
        for change in (
            {b"ip": b"/run/other.sock"},
            {b"ip": b""},
            {b"ip": b"a b"},
            {b"ip": b"\xff"},
            {b"ip": b"user@host"},
            {b"ip": None},
            {b"ip": b"10.0.0.1:22"},
            {b"port": b"0"},
            {b"port": b"65536"},
            {b"port": b"x"},
            {b"config-epoch": b""},
            {b"flags": None},
        ):
            with self.subTest(change=change), self.assertRaises(StateUnavailable):
                read_named({**good, **change})
        for reply in (None, [], b"", {}):
            self.assertRaises(StateUnavailable, read_named, reply)
