"""Names of servers that the gateway looks up: how often, what stays in use after a failure, and how servers come and go."""

from __future__ import annotations

from collections import Counter

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial import unittest

from perimeter.config.site.lookup import Resolve
from perimeter.net.addresses import Answer, LookupFailed
from perimeter.proxy.health import ServerState
from perimeter.proxy.lookups import NameLookup
from perimeter.proxy.upkeep import UpstreamUpkeep
from tests.unit.doubles.http_upstream import OK, Gateway


class ManualNames:
    """Answers when the test says so."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Deferred[Answer]]] = []

    async def look_up(self, name: str) -> Answer:
        answer: Deferred[Answer] = Deferred()
        self.asked.append((name, answer))
        return await answer

    def answer(self, *addresses: str, ttl: float = 60.0, missing: int = 0, refused: tuple[str, ...] = ()) -> None:
        self.asked[-1][1].callback(Answer(addresses, ttl, refused, missing))

    def fail(self, error: Exception) -> None:
        self.asked[-1][1].errback(error)


class Housing:
    name = "app"

    def __init__(self) -> None:
        self.renewed: list[tuple[str, ...]] = []

    def renew(self, host: str, addresses: tuple[str, ...]) -> None:
        assert host == "db.example"
        self.renewed.append(addresses)


class NameLookupTests(unittest.TestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.names = ManualNames()
        self.pool = Housing()
        self.counts: Counter[str] = Counter()

        def count(result: str) -> None:
            self.counts[result] += 1

        self.lookup = NameLookup(self.pool, "db.example", self.names, 5.0, 300.0, self.clock, count)  # type: ignore[arg-type]
        self.lookup.start()

    def next_after(self) -> float:
        """Seconds until the next question."""
        asked = len(self.names.asked)
        seconds = 0.0
        while len(self.names.asked) == asked:
            self.clock.advance(0.5)
            seconds += 0.5
            self.assertLess(seconds, 10_000)
        return seconds

    def test_the_time_of_the_answer_has_a_floor_and_a_cap(self) -> None:
        for ttl, wait in ((60.0, 60.0), (0.0, 5.0), (5.0, 5.0), (4.0, 5.0), (300.0, 300.0), (86400.0, 300.0)):
            self.names.answer("10.0.0.1", ttl=ttl)
            self.assertEqual(self.next_after(), wait, ttl)

    def test_a_change_is_passed_on_and_nothing_else(self) -> None:
        for addresses in (("10.0.0.1",), ("10.0.0.1",), ("10.0.0.1", "10.0.0.2"), ("10.0.0.2",)):
            self.names.answer(*addresses)
            self.next_after()
        self.assertEqual(self.pool.renewed, [("10.0.0.1",), ("10.0.0.1", "10.0.0.2"), ("10.0.0.2",)])
        self.assertEqual(self.counts, {"answered": 4})

    def test_the_last_addresses_stay_in_use_after_a_failure(self) -> None:
        self.names.answer("10.0.0.1")
        self.next_after()
        for _ in range(3):
            self.names.fail(LookupFailed("the DNS server has failed"))
            self.assertEqual(self.next_after(), 5.0)
        self.assertEqual((self.lookup.addresses, self.lookup.fault), (("10.0.0.1",), "the DNS server has failed"))
        self.assertEqual(self.pool.renewed, [("10.0.0.1",)])
        self.assertEqual(self.counts, {"answered": 1, "failed": 3})
        self.names.answer("10.0.0.1")
        self.assertEqual(self.lookup.fault, "")

    def test_an_unexpected_exception_ends_nothing(self) -> None:
        self.names.fail(ValueError("a bug"))
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.assertEqual((self.lookup.fault, self.next_after()), ("ValueError", 5.0))

    def test_addresses_of_the_ip_version_that_got_no_answer_stay(self) -> None:
        self.names.answer("10.0.0.1", "2001:db8::1")
        self.next_after()
        self.names.answer("10.0.0.2", missing=6)
        self.assertEqual(self.lookup.addresses, ("10.0.0.2", "2001:db8::1"))
        self.next_after()
        self.names.answer("2001:db8::2", missing=4)
        self.assertEqual(self.lookup.addresses, ("2001:db8::2", "10.0.0.2"))
        self.next_after()
        self.names.answer("10.0.0.3")
        self.assertEqual(self.lookup.addresses, ("10.0.0.3",))

    def test_addresses_that_are_refused_are_named_once(self) -> None:
        with capturedLogs() as events:
            for refused in (("169.254.169.254 (link-local)",), ("169.254.169.254 (link-local)",), ()):
                self.names.answer("10.0.0.1", refused=refused)
                self.next_after()
        texts = [formatEvent(event) for event in events]
        warned = [text for text in texts if "are not used" in text]
        self.assertEqual(warned, ["upstream app: addresses of db.example are not used: 169.254.169.254 (link-local)"])

    def test_what_the_log_says(self) -> None:
        with capturedLogs() as events:
            for fault in ("a", "a", "b"):
                self.names.fail(LookupFailed(fault))
                self.next_after()
            self.names.answer("10.0.0.1")
            self.next_after()
            self.names.fail(LookupFailed("c"))
        self.assertEqual(
            [formatEvent(event) for event in events],
            [
                "upstream app: db.example cannot be looked up: a; the resolver of the system is used",
                "upstream app: db.example cannot be looked up: b; the resolver of the system is used",
                "upstream app: db.example has the addresses 10.0.0.1",
                "upstream app: db.example cannot be looked up: c; its last addresses stay in use: 10.0.0.1",
            ],
        )

    def test_stop(self) -> None:
        self.lookup.stop()
        self.names.answer("10.0.0.1")
        self.assertEqual((self.pool.renewed, self.clock.getDelayedCalls()), ([], []))

    def test_stop_between_two_questions(self) -> None:
        self.names.answer("10.0.0.1")
        self.lookup.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])


class ServersTests(unittest.TestCase):
    """Each address is a server."""

    def setUp(self) -> None:
        self.gateway = Gateway("db.example", settings={"resolve": Resolve.DNS, "slow_start": 10.0})
        self.names = ManualNames()
        self.upkeep = UpstreamUpkeep(self.gateway.pool, self.gateway.reactor, self.names)
        self.upkeep.start()
        self.addCleanup(self.upkeep.stop)

    def places(self) -> list[str]:
        return [server.place for server in self.gateway.pool.servers]

    def states(self) -> list[ServerState]:
        return [one.state for one in self.gateway.pool.view()]

    def test_before_the_first_answer_the_system_is_asked(self) -> None:
        self.assertEqual(self.places(), ["http://db.example:8080"])
        self.gateway.client().get()
        self.assertEqual((self.gateway.attempts[-1].server.host, self.gateway.attempts[-1].address), ("db.example", ""))

    def test_all_addresses_are_used(self) -> None:
        self.names.answer("10.0.0.1", "10.0.0.2", "2001:db8::1")
        for _ in range(6):
            self.gateway.client().get()
        self.assertEqual(Counter(one.address for one in self.gateway.attempts), {"10.0.0.1": 2, "10.0.0.2": 2, "2001:db8::1": 2})
        self.assertEqual({one.server.host for one in self.gateway.attempts}, {"db.example"}, "the name is verified")
        self.assertEqual(self.states(), [ServerState.UP] * 3)

    def test_an_address_that_comes_later_starts_slowly(self) -> None:
        self.names.answer("10.0.0.1")
        self.gateway.reactor.advance(60)
        first = self.gateway.pool.servers[0]
        self.names.answer("10.0.0.1", "10.0.0.2")
        self.assertIs(self.gateway.pool.servers[0], first)
        self.assertEqual(self.states(), [ServerState.UP, ServerState.STARTING])

    def test_a_server_whose_address_is_gone_finishes_its_requests(self) -> None:
        self.names.answer("10.0.0.1", ttl=30.0)
        client, other = self.gateway.client(), self.gateway.client()
        client.get()
        other.get()
        peers = [attempt.accept() for attempt in self.gateway.attempts]
        peers[1].reply(OK)
        self.assertEqual(self.gateway.idle, 1)
        self.gateway.reactor.advance(30)
        self.names.answer("10.0.0.2")
        self.assertEqual((self.gateway.idle, peers[1].ended, peers[0].ended), (0, True, False))
        self.gateway.reactor.advance(0)
        self.assertEqual(len(self.gateway.pool.connections), 1)
        peers[0].reply(OK)
        self.assertEqual(client.response().body, b"ok")
        self.assertEqual((peers[0].ended, self.gateway.idle), (True, 0))
        self.gateway.client().get()
        self.assertEqual(self.gateway.attempts[-1].address, "10.0.0.2")

    def test_counts_of_servers_that_are_gone_are_forgotten(self) -> None:
        counts = self.gateway.pool.choice.counts
        self.names.answer("10.0.0.1")
        self.gateway.pool.choice.answered(self.gateway.pool.servers[0], "it answered 503")
        self.assertEqual(len(counts.answers), 1)
        self.gateway.reactor.advance(60)
        self.names.answer("10.0.0.2")
        self.assertEqual(len(counts.answers), 0)

    def test_other_servers_stay_as_they_are(self) -> None:
        self.gateway = Gateway("10.0.0.9", "db.example", "other.example", settings={"resolve": Resolve.DNS})
        pool = self.gateway.pool
        fixed = pool.servers[0]
        pool.renew("db.example", ("10.0.0.1", "10.0.0.2"))
        self.assertEqual(
            self.places(),
            [
                "http://10.0.0.9:8080",
                "http://db.example:8080 (10.0.0.1)",
                "http://db.example:8080 (10.0.0.2)",
                "http://other.example:8080",
            ],
        )
        self.assertIs(pool.servers[0], fixed)

    def test_a_reload_keeps_addresses_and_health(self) -> None:
        self.names.answer("10.0.0.1", "10.0.0.2")
        self.gateway.pool.choice.unreachable(self.gateway.pool.servers[1], "refused")
        after = Gateway("db.example", settings={"resolve": Resolve.DNS})
        upkeep = UpstreamUpkeep(after.pool, after.reactor, ManualNames())
        upkeep.adopt(self.upkeep)
        now, before = ([(one.url, one.state) for one in pool.view()] for pool in (after.pool, self.gateway.pool))
        self.assertEqual(now, before)
        self.assertEqual(after.pool.servers[1].health.rules, after.pool.rules)
