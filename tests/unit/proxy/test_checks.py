"""Health checks: what is sent, what counts as passed, and that no answer can hold them up."""

from __future__ import annotations

from typing import Any

from twisted.internet.error import ConnectionRefusedError
from twisted.trial import unittest

from perimeter.config.site.balancing import HealthCheck
from perimeter.proxy.checks import HealthChecks
from perimeter.proxy.health import ServerState
from perimeter.proxy.upkeep import UpstreamUpkeep
from tests.unit.doubles.http_upstream import OK, Attempt, Gateway

CHECK = HealthCheck("GET", "/health?full=1", 200, 399, 5.0, 2.0)


class Workers:
    """The other workers."""

    def __init__(self, leads: bool) -> None:
        self.leads = leads
        self.told: list[tuple[str, str, str]] = []

    def tell(self, upstream: str, server: str, fault: str) -> None:
        self.told.append((upstream, server, fault))


class ChecksCase(unittest.TestCase):
    def check(self, *hosts: str, check: HealthCheck = CHECK, others: Workers | None = None, **settings: Any) -> None:
        self.gateway = Gateway(*hosts, settings={"health": check, "health_fall": 2, "health_rise": 2, **settings})
        self.gateway.reactor.advance(1000)
        self.pool = self.gateway.pool
        self.checks = HealthChecks(self.pool, check, self.gateway.reactor, others)
        self.checks.start()
        self.addCleanup(self.checks.stop)

    @property
    def attempt(self) -> Attempt:
        return self.gateway.attempts[-1]

    def states(self) -> list[ServerState]:
        return [server.health.state() for server in self.pool.servers]

    def round(self, reply: bytes) -> None:
        """The answer to the check that is under way, and the time until the next one."""
        self.attempt.accept().reply(reply)
        self.gateway.reactor.advance(5)


class OneCheckTests(ChecksCase):
    def test_the_request(self) -> None:
        self.check("one")
        peer = self.attempt.accept()
        self.assertEqual(
            peer.request(),
            b"GET /health?full=1 HTTP/1.1\r\nHost: one:8080\r\nUser-Agent: perimeter-health\r\nAccept: */*\r\n"
            b"Connection: close\r\n\r\n",
        )
        peer.reply(OK)
        self.assertTrue(peer.dropped or peer.ended)
        self.assertEqual((self.pool.connections, self.gateway.idle), ([], 0))

    def fault(self, reply: bytes, check: HealthCheck = CHECK, end: bool = False) -> str:
        self.check("one", check=check, health_fall=1)
        peer = self.attempt.accept()
        if reply:
            peer.reply(reply)
        if end:
            peer.transport.lose()
        return self.pool.servers[0].health.fault if self.states() == [ServerState.DOWN] else ""

    def test_what_passes(self) -> None:
        for status in (200, 204, 301, 399):
            self.assertEqual(self.fault(b"HTTP/1.1 %d X\r\n\r\n" % status), "")
        self.assertEqual(self.fault(b"HTTP/1.1 103 Early Hints\r\n\r\n" + OK), "")
        head = HealthCheck("HEAD", "/", 200, 200, 5.0, 5.0)
        self.assertEqual(self.fault(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", head), "")
        self.assertEqual(self.fault(b"HTTP/1.1 599 X\r\n\r\n", HealthCheck("GET", "/", 599, 599, 5.0, 5.0)), "")

    def test_what_fails(self) -> None:
        self.assertEqual(self.fault(b"HTTP/1.1 400 X\r\n\r\n"), "it answered 400 to GET /health?full=1")
        self.assertEqual(
            self.fault(b"HTTP/1.1 201 X\r\n\r\n", HealthCheck("GET", "/", 202, 399, 5.0, 5.0)), "it answered 201 to GET /"
        )
        self.assertIn("a malformed answer to GET", self.fault(b"SSH-2.0-OpenSSH\r\n\r\n"))
        self.assertIn("closed the connection before it answered", self.fault(b"", end=True))
        self.assertIn("closed the connection before it answered", self.fault(b"HTTP/1.1 200", end=True))

    def test_a_server_that_cannot_be_connected_to(self) -> None:
        self.check("one", health_fall=1)
        self.attempt.fail(ConnectionRefusedError())
        self.assertEqual(self.states(), [ServerState.DOWN])
        self.assertIn("nothing listens there", self.pool.servers[0].health.fault)

    def test_attack_99_a_huge_slow_or_endless_answer_to_a_check(self) -> None:
        for part in (b"", b"H", b"HTTP/1.1 200 OK\r\nX: y\r\n"):
            self.check("one", health_fall=1)
            peer = self.attempt.accept()
            for _ in range(8):  # a byte now and then does not help
                peer.reply(part[:1] if part else b"") if len(part) < 2 else None
                self.gateway.reactor.advance(0.25)
            self.assertTrue(peer.dropped, part)
            self.assertEqual(self.states(), [ServerState.DOWN])
        self.check("one")
        peer = self.attempt.accept()
        peer.reply(b"HTTP/1.1 200 OK\r\nContent-Length: 999999999999\r\n\r\n" + bytes(100_000))
        self.assertTrue(peer.dropped, "the body is not read")
        self.check("one", health_fall=1)
        peer = self.attempt.accept()
        peer.reply(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000)
        self.assertTrue(peer.dropped, "nor a head without end")
        self.assertEqual(self.states(), [ServerState.DOWN])


class RoundTests(ChecksCase):
    def test_down_and_up_again(self) -> None:
        self.check("one")
        for reply, state in (
            (b"HTTP/1.1 500 X\r\n\r\n", ServerState.UP),
            (b"HTTP/1.1 500 X\r\n\r\n", ServerState.DOWN),
            (OK, ServerState.DOWN),
            (OK, ServerState.UP),
        ):
            self.round(reply)
            self.assertEqual(self.states(), [state])
        counts = self.pool.choice.counts
        name = ("backend", "http://one:8080")
        self.assertEqual(counts.checks, {(*name, "failed"): 2, (*name, "passed"): 2})
        self.assertEqual(counts.changes, {(*name, "down"): 1, (*name, "up"): 1})

    def test_each_server_at_each_interval(self) -> None:
        self.check("one", "two")
        self.assertEqual([one.server.host for one in self.gateway.attempts], ["one", "two"])
        for attempt in list(self.gateway.attempts):
            attempt.accept().reply(OK)
        self.gateway.reactor.advance(4.9)
        self.assertEqual(len(self.gateway.attempts), 2)
        self.gateway.reactor.advance(0.1)
        self.assertEqual(len(self.gateway.attempts), 4)

    def test_one_check_of_a_server_at_a_time(self) -> None:
        self.check("one", check=HealthCheck("GET", "/", 200, 399, 1.0, 1.0))
        for _ in range(50):
            self.gateway.reactor.advance(0.125)
            self.assertEqual(sum(not one.result.called and not one.cancelled for one in self.gateway.attempts), 1)
        self.assertEqual(len(self.gateway.attempts), 7)

    def test_stop(self) -> None:
        self.check("one")
        self.checks.stop()
        self.assertTrue(self.attempt.cancelled)
        self.gateway.reactor.advance(60)
        self.assertEqual(len(self.gateway.attempts), 1)

    def test_a_check_of_a_server_that_is_gone_counts_for_nothing(self) -> None:
        self.check("one", health_fall=1)
        server = self.pool.servers[0]
        server.gone = True
        self.attempt.fail(ConnectionRefusedError())
        self.assertEqual((server.health.state(), self.pool.choice.counts.checks.total()), (ServerState.UP, 0))

    def test_after_its_end_the_checks_may_be_stopped_again(self) -> None:
        self.check("one")
        self.checks.stop()
        self.checks.stop()

    def test_the_head_must_come_within_read_timeout_as_well(self) -> None:
        self.check("one", health_fall=1, read_timeout=1.0)
        self.attempt.accept()
        self.gateway.reactor.pump([0.25] * 6)
        self.assertEqual(self.states(), [ServerState.DOWN])
        self.assertIn("no answer to GET /health?full=1", self.pool.servers[0].health.fault)

    def test_a_bug_in_a_check_does_not_end_the_checks(self) -> None:
        self.check("one")
        self.patch(self.pool.choice, "checked", lambda server, fault: 1 / 0)
        self.round(OK)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(len(self.gateway.attempts), 2)


class WorkersTests(ChecksCase):
    def test_the_worker_that_leads_tells_the_others(self) -> None:
        others = Workers(True)
        self.check("one", others=others)
        self.round(OK)
        self.round(b"HTTP/1.1 500 X\r\n\r\n")
        self.assertEqual(
            others.told,
            [("backend", "http://one:8080", ""), ("backend", "http://one:8080", "it answered 500 to GET /health?full=1")],
        )

    def test_the_others_send_no_checks(self) -> None:
        self.check("one", "two", others=Workers(False))
        self.gateway.reactor.advance(11)
        self.assertEqual(self.gateway.attempts, [])
        for _ in range(2):
            self.checks.heard("http://two:8080", "it answered 500")
            self.checks.heard("http://unknown:8080", "it answered 500")
        self.assertEqual(self.states(), [ServerState.UP, ServerState.DOWN])

    def test_without_results_all_servers_count_as_up(self) -> None:
        self.check("one", others=Workers(False))
        for _ in range(2):
            self.checks.heard("http://one:8080", "it answered 500")
        self.gateway.reactor.pump([5.0] * 3)
        self.assertEqual(self.states(), [ServerState.DOWN])
        self.gateway.reactor.advance(5)
        self.assertEqual(self.states(), [ServerState.UP])

    def test_another_worker_takes_over(self) -> None:
        others = Workers(False)
        self.check("one", others=others)
        others.leads = True
        self.gateway.reactor.advance(5)
        self.assertEqual(len(self.gateway.attempts), 1)


class UpkeepTests(unittest.TestCase):
    def test_an_upstream_with_one_server_and_no_options_has_none(self) -> None:
        gateway = Gateway("one")
        upkeep = UpstreamUpkeep(gateway.pool, gateway.reactor)
        before = len(gateway.reactor.getDelayedCalls())
        upkeep.start()
        self.assertEqual(len(gateway.reactor.getDelayedCalls()), before)
        upkeep.heard("http://one:8080", "")
        upkeep.stop()

    def test_changes_with_time_are_reported(self) -> None:
        gateway = Gateway("one", "two", settings={"slow_start": 3.0})
        upkeep = UpstreamUpkeep(gateway.pool, gateway.reactor)
        upkeep.start()
        self.addCleanup(upkeep.stop)
        server = gateway.pool.servers[0]
        gateway.pool.choice.unreachable(server, "refused")
        gateway.pool.choice.reached(server)
        self.assertEqual(server.shown, ServerState.STARTING)
        gateway.reactor.advance(2)
        self.assertEqual(server.shown, ServerState.STARTING)
        gateway.reactor.pump([1, 1])
        self.assertEqual((server.shown, server.health.steady), (ServerState.UP, True))

    def test_it_starts_and_stops_the_checks(self) -> None:
        gateway = Gateway("one", settings={"health": CHECK})
        upkeep = UpstreamUpkeep(gateway.pool, gateway.reactor)
        upkeep.start()
        self.assertEqual(len(gateway.attempts), 1)
        for _ in range(3):
            upkeep.heard("http://one:8080", "it answered 500")
        self.assertEqual(gateway.pool.servers[0].health.state(), ServerState.DOWN)
        after = Gateway("one")
        UpstreamUpkeep(after.pool, after.reactor).adopt(upkeep)
        self.assertEqual(after.pool.servers[0].health.state(), ServerState.UP, "there are no checks any more")
        upkeep.stop()
        self.assertTrue(gateway.attempts[0].cancelled)
