"""Requests to several servers: where they go, how they wait, and when they are sent again."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import fail
from twisted.internet.error import ConnectError, ConnectionRefusedError
from twisted.logger import capturedLogs, formatEvent
from twisted.trial import unittest

from perimeter.config.site.balancing import Balance, HashOf, Method
from perimeter.gate.decision import Admitted
from perimeter.model import Principal
from perimeter.proxy.health import ServerState
from perimeter.proxy.pool import ServerView
from perimeter.proxy.retries import RESERVE
from tests.unit.doubles.http_rig import Client
from tests.unit.doubles.http_upstream import OK, Gateway, Peer

UNAVAILABLE = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy"
BAD_GATEWAY = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 100000\r\n\r\nstart"
LATER = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 7\r\nContent-Length: 4\r\n\r\nbusy"
UPGRADE = ("Connection: upgrade", "Upgrade: websocket")
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"


class BalancedCase(unittest.TestCase):
    def setUp(self) -> None:
        self.peers: list[Peer] = []
        self.accepted = 0

    def gateway(self, *servers: str, **settings: Any) -> Gateway:
        self.site = Gateway(*servers, settings=settings, upgrades=frozenset((b"websocket",)))
        return self.site

    def accept(self) -> list[Peer]:
        """Accept the new connections. Returns those to the upstream that have a request now."""
        for attempt in self.site.attempts[self.accepted :]:
            self.peers.append(attempt.accept())
        self.accepted = len(self.site.attempts)
        return [peer for peer in self.peers if peer.request()]

    def send(self, *lines: str, method: str = "GET", body: bytes = b"", peer: str = "192.0.2.7") -> tuple[Client, str]:
        """A request, and the host of the server that has it, "" if none has."""
        client = Client(self.site, peer=peer)
        client.request(method, "/", *lines, body=body)
        busy = self.accept()
        self.assertLess(len(busy), 2)
        self.last = busy[0] if busy else None
        return client, busy[0].server.host if busy else ""

    def active(self) -> list[int]:
        return [server.active for server in self.site.pool.servers]

    def reasons(self, client: Client) -> list[str]:
        return [record.reason for record in client.records]

    def reply(self, data: bytes = OK) -> None:
        assert self.last is not None
        self.last.reply(data)


class ActiveTests(BalancedCase):
    """A server counts its requests, whatever their end."""

    def test_whole_and_streamed_responses(self) -> None:
        self.gateway("one", "two")
        for reply in (OK, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"):
            client, _ = self.send()
            self.assertEqual(sum(self.active()), 1)
            self.reply(reply)
            self.assertEqual(self.active(), [0, 0])
            self.assertEqual(client.response().body, b"ok")

    def test_a_client_that_leaves(self) -> None:
        self.gateway("one", "two")
        client, _ = self.send()
        client.transport.lose()
        self.assertEqual(self.active(), [0, 0])

    def test_a_client_that_leaves_before_the_connection_is_made(self) -> None:
        self.gateway("one", "two")
        client = self.site.client()
        client.get()
        self.assertEqual(sum(self.active()), 1)
        client.transport.lose()
        self.assertTrue(self.site.attempts[0].cancelled)
        self.assertEqual(self.active(), [0, 0])

    def test_responses_that_end_early(self) -> None:
        begun = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab"
        for data, wait in ((b"", 0), (begun, 0), (begun, 61), (b"", 61), (b"no HTTP\r\n\r\n", 0)):
            self.gateway("one", "two", retries=0)
            self.peers, self.accepted = [], 0
            client, _ = self.send()
            assert self.last is not None
            if data:
                self.reply(data)
            if wait:
                client.wait(wait)
            else:
                self.last.transport.lose()
            self.assertEqual(self.active(), [0, 0], (data, wait))
            self.assertEqual(self.site.pool.choice.counts.answers["backend", self.server_of(self.last), "bad"], 1, (data, wait))

    def server_of(self, peer: Peer) -> str:
        return f"http://{peer.server.host}:8080"

    def test_tunnels(self) -> None:
        for ending in ("client", "service", "abort"):
            self.gateway("one", "two")
            self.peers, self.accepted = [], 0
            client, _ = self.send(*UPGRADE)
            self.reply(SWITCH)
            self.assertEqual(sum(self.active()), 1)
            if ending == "client":
                client.transport.lose()
            else:
                assert self.last is not None
                self.last.transport.lose(*(() if ending == "service" else (ConnectError(),)))
            self.assertEqual(self.active(), [0, 0], ending)
            self.assertEqual(self.site.pool.choice.counts.answers.total(), 1, "the tunnel was opened, and that was good")


class ViewTests(BalancedCase):
    def test_what_operators_see(self) -> None:
        self.gateway("one*3", "two backup")
        self.send()
        self.send()
        self.reply()
        self.site.pool.choice.unreachable(self.site.pool.servers[1], "refused")
        self.assertEqual(
            self.site.pool.view(),
            (
                ServerView("http://one:8080", ServerState.UP, "", 3, False, active=1, busy=1, idle=1),
                ServerView("http://two:8080", ServerState.RESTING, "refused", 1, True, active=0, busy=0, idle=0),
            ),
        )
        self.assertEqual([one.usable for one in self.site.pool.view()], [True, False])


class LeastConnectionsTests(BalancedCase):
    def test_the_server_with_the_fewest_requests(self) -> None:
        self.gateway("one", "two", balance=Balance(Method.LEAST_CONNECTIONS))
        _, first = self.send()
        slow = self.last
        for _ in range(3):
            _, host = self.send()
            self.assertNotEqual(host, first)
            self.reply()
        self.last = slow
        self.reply()
        self.assertEqual({self.send()[1], self.send()[1]}, {"one", "two"})


class HashTests(BalancedCase):
    def test_by_address(self) -> None:
        self.gateway("one", "two", "three", balance=Balance(Method.HASH, HashOf.ADDRESS))
        found: dict[str, set[str]] = {}
        for at in range(60):
            address = f"192.0.2.{at % 20}"
            _, host = self.send(peer=address)
            self.reply()
            found.setdefault(address, set()).add(host)
        self.assertEqual({len(hosts) for hosts in found.values()}, {1})
        self.assertEqual(set.union(*found.values()), {"one", "two", "three"})

    def test_by_header_and_without_it_by_address(self) -> None:
        self.gateway("one", "two", "three", balance=Balance(Method.HASH, HashOf.HEADER, b"x-session"))
        for lines in (("X-Session: a",), ("x-session: b",), ()):
            hosts = set()
            for at in range(5):
                _, host = self.send(*lines, peer=f"192.0.2.{at if lines else 0}")
                self.reply()
                hosts.add(host)
            self.assertEqual(len(hosts), 1, lines)

    def test_by_user(self) -> None:
        site = self.gateway("one", "two", "three", balance=Balance(Method.HASH, HashOf.USER))
        user = ""

        def dispatch(exchange: Any) -> None:
            principal = Principal(user, "realm") if user else None
            exchange.decision = Admitted(site.route, principal, b"/", b"", exchange.connection.address)
            site.target.handle(exchange)

        site.dispatch = dispatch  # type: ignore[method-assign]
        found: dict[str, set[str]] = {}
        for at in range(60):
            user = f"user{at % 20}" if at % 20 else ""
            _, host = self.send(peer=f"192.0.2.{at}" if user else "192.0.2.1")
            self.reply()
            found.setdefault(user, set()).add(host)
        self.assertEqual({len(hosts) for hosts in found.values()}, {1})
        self.assertEqual(set.union(*found.values()), {"one", "two", "three"})


class ConnectTests(BalancedCase):
    def test_the_next_server_is_tried_and_the_first_one_rests(self) -> None:
        self.gateway("one", "two")
        client = self.site.client()
        client.request("POST", "/", "Content-Length: 1", body=b"x")
        self.site.attempts[0].fail(ConnectionRefusedError())
        self.assertEqual([attempt.server.host for attempt in self.site.attempts], ["one", "two"])
        self.assertEqual([str(server.health.state()) for server in self.site.pool.servers], ["resting", "up"])
        self.assertEqual(self.active(), [0, 1])
        peer = self.site.attempts[1].accept()
        peer.reply(OK)
        self.assertEqual(client.response().body, b"ok")
        self.assertEqual(self.site.pool.choice.counts.changes, {("backend", "http://one:8080", "resting"): 1})

    def test_after_a_rest_one_request_tries_the_server(self) -> None:
        self.gateway("one", "two")
        self.site.pool.choice.unreachable(self.site.pool.servers[0], "refused")
        self.site.reactor.advance(10)
        clients = [self.site.client() for _ in range(5)]
        for client in clients:
            client.get()
        self.assertEqual(sorted(attempt.server.host for attempt in self.site.attempts), ["one", *["two"] * 4])

    def test_the_last_failure_is_the_answer(self) -> None:
        self.gateway("one", "two")
        client = self.site.client()
        client.get()
        for at in range(2):
            self.site.attempts[at].fail(ConnectionRefusedError())
        self.assertEqual((client.response().status, self.reasons(client)), (502, ["upstream_unreachable"]))
        self.assertEqual(self.active(), [0, 0])

    def test_a_backup_is_used_only_then(self) -> None:
        self.gateway("one", "two backup")
        for _ in range(3):
            self.assertEqual(self.send()[1], "one")
            self.reply()
        assert self.last is not None
        self.last.transport.lose()
        client = self.site.client()
        client.get()
        self.site.attempts[-1].fail(ConnectionRefusedError())
        self.accepted = len(self.site.attempts) - 1
        self.assertEqual([peer.server.host for peer in self.accept()], ["two"])

    def test_without_a_server_that_passes_its_checks(self) -> None:
        self.gateway("one", "two", health_fall=1)
        for server in self.site.pool.servers:
            self.site.pool.choice.checked(server, "it answered 500")
        client, host = self.send()
        self.assertEqual((host, client.response().status, self.reasons(client)), ("", 503, ["upstream_down"]))
        self.assertIn(b"retry-after", dict(client.response().fields))


class QueueTests(BalancedCase):
    def limited(self, **settings: Any) -> None:
        self.gateway("one", "two", **{"max_requests": 1, "queue": 3, "queue_timeout": 5.0, **settings})
        self.held = []
        for _ in range(2):
            self.send()
            self.held.append(self.last)

    def test_requests_wait_until_a_server_has_room(self) -> None:
        self.limited()
        client, host = self.send()
        self.assertEqual((host, self.active(), len(self.site.pool.choice.queue)), ("", [1, 1], 1))
        self.last = self.held[1]
        self.reply()
        (peer,) = self.accept()
        self.assertEqual((peer.server.host, self.active()), (self.held[1].server.host, [1, 1]))
        peer.reply(OK)
        self.assertEqual(client.response().body, b"ok")
        self.assertEqual(self.site.pool.choice.counts.queue, {("backend", "waited"): 1})

    def test_a_request_with_a_body_waits_as_well(self) -> None:
        self.limited()
        self.send("Content-Length: 3", method="POST", body=b"abc")
        self.last = self.held[0]
        self.reply()
        for attempt in self.site.attempts[self.accepted :]:
            self.peers.append(attempt.accept())
        requests = [data for peer in self.peers if (data := peer.request())]
        self.assertEqual([data[-3:] for data in requests], [b"abc"])

    def test_none_waits_longer_than_the_deadline(self) -> None:
        self.limited()
        client, _ = self.send()
        client.wait(4.9)
        self.assertFalse(client.transport.written)
        client.wait(0.5)
        self.assertEqual((client.response().status, self.reasons(client)), (503, ["upstream_busy"]))
        self.assertEqual(len(self.site.pool.choice.queue), 0)
        self.assertEqual(self.site.pool.choice.counts.queue, {("backend", "timeout"): 1})
        self.last = self.held[0]
        self.reply()
        self.assertEqual(self.accept(), [], "it is not sent any more")

    def test_the_queue_is_bounded(self) -> None:
        self.limited()
        for _ in range(3):
            self.assertFalse(self.send()[0].transport.written)
        client, _ = self.send()
        self.assertEqual((client.response().status, self.reasons(client)), (503, ["upstream_busy"]))
        self.assertEqual(len(self.site.pool.choice.queue), 3)

    def test_without_a_queue_none_waits(self) -> None:
        self.limited(queue=0)
        client, _ = self.send()
        self.assertEqual(client.response().status, 503)

    def test_a_client_that_leaves_waits_no_more(self) -> None:
        self.limited()
        client, _ = self.send()
        client.transport.lose()
        self.assertEqual(len(self.site.pool.choice.queue), 0)
        self.last = self.held[0]
        self.reply()
        self.assertEqual((self.accept(), self.active()), ([], [0, 1]))

    def test_attack_98_a_client_that_fills_the_queue_keeps_no_other_out(self) -> None:
        self.limited()
        many = [self.send(peer="192.0.2.1")[0] for _ in range(3)]
        other, _ = self.send(peer="192.0.2.2")
        self.assertEqual([bool(one.transport.written) for one in many], [False, False, True])
        self.assertEqual(many[2].response().status, 503)
        served = []
        for _ in range(3):
            self.last = next(peer for peer in self.held if peer is not None)
            self.held = [peer for peer in self.held if peer is not self.last]
            self.reply()
            self.held += self.accept()
            served.append([len(one.records) for one in (*many[:2], other)])
        # the other client is the second that is served, although it came last
        for peer in self.held:
            peer.reply(OK)
        self.assertEqual([one.response().status for one in (*many[:2], other)], [200, 200, 200])

    def test_all_that_wait_are_refused_when_no_server_passes_its_checks(self) -> None:
        self.limited(health_fall=1)
        client, _ = self.send()
        for server in self.site.pool.servers:
            self.site.pool.choice.checked(server, "no answer")
        self.assertEqual(self.reasons(client), ["upstream_down"])

    def test_one_server_may_have_a_limit_as_well(self) -> None:
        self.gateway("one", max_requests=1)
        self.assertEqual(self.send()[1], "one")
        self.assertEqual(self.send()[1], "")


class RetryTests(BalancedCase):
    def retried(self, reply: bytes, *lines: str, method: str = "GET", **settings: Any) -> tuple[Client, str]:
        """A request whose first server answers ``reply``, or closes if that is empty; and the second server, "" for none."""
        self.peers, self.accepted = [], 0
        self.gateway("one", "two", **{"retries": 1, **settings})
        client, first = self.send(*lines, method=method)
        self.assertEqual(first, "one")
        if reply:
            self.reply(reply)
        else:
            assert self.last is not None
            self.last.transport.lose()
        busy = self.accept()
        self.last = busy[0] if busy else None
        return client, busy[0].server.host if busy else ""

    def test_what_is_sent_again(self) -> None:
        for reply in (UNAVAILABLE, BAD_GATEWAY, b"no HTTP\r\n\r\n", b""):
            client, second = self.retried(reply)
            self.assertEqual((second, client.transport.written, self.active()), ("two", b"", [0, 1]), reply)
            self.reply()
            self.assertEqual((client.response().status, client.response().body), (200, b"ok"))
            self.assertEqual(len(client.records), 1)
            self.assertEqual(self.active(), [0, 0])
            self.assertEqual(self.site.pool.choice.counts.retries, {("backend", "sent"): 1})

    def test_a_response_to_head_without_body(self) -> None:
        client, second = self.retried(b"HTTP/1.1 503 Busy\r\nContent-Length: 7\r\n\r\n", method="HEAD")
        self.assertEqual(second, "two")
        self.reply(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n")
        self.assertTrue(client.transport.written.startswith(b"HTTP/1.1 200 OK\r\n"))
        self.assertEqual(self.active(), [0, 0])

    def test_what_is_not_sent_again(self) -> None:
        for reply, status in ((LATER, 503), (UNAVAILABLE.replace(b"503", b"500"), 500)):
            client, second = self.retried(reply)
            self.assertEqual((second, client.response().status), ("", status))
        client, second = self.retried(UNAVAILABLE, method="POST")
        self.assertEqual((second, client.response().status), ("", 503))
        client, second = self.retried(UNAVAILABLE, retries=0)
        self.assertEqual((second, client.response().body), ("", b"busy"))

    def test_a_request_with_a_body_is_not_sent_again(self) -> None:
        self.gateway("one", "two", retries=1)
        client, _ = self.send("Content-Length: 1", method="PUT", body=b"x")
        self.reply(UNAVAILABLE)
        self.assertEqual((self.accept(), client.response().status), ([], 503))

    def test_a_response_that_has_begun_is_not_sent_again(self) -> None:
        client, second = self.retried(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab")
        self.assertEqual(second, "")
        assert self.peers
        self.peers[0].transport.lose()
        self.assertEqual(self.accept(), [])
        self.assertEqual(self.reasons(client), ["upstream_aborted"])

    def test_a_client_that_leaves_while_it_is_sent_again(self) -> None:
        """The connection of the first answer is idle already, and stays."""
        self.gateway("one", "two", retries=1)
        client, _ = self.send()
        first = self.last
        assert first is not None
        first.reply(UNAVAILABLE)
        self.assertEqual((self.site.attempts[-1].server.host, self.site.idle), ("two", 1))
        client.transport.lose()
        self.assertTrue(self.site.attempts[-1].cancelled)
        self.assertEqual((first.dropped, first.ended, self.site.idle, self.active()), (False, False, 1, [0, 0]))

    def test_a_timeout_is_sent_again(self) -> None:
        self.gateway("one", "two", retries=1, read_timeout=5.0)
        client, _ = self.send()
        client.wait(6)
        (peer,) = self.accept()
        self.assertEqual(peer.server.host, "two")
        peer.reply(OK)
        self.assertEqual(client.response().status, 200)

    def test_no_more_often_than_the_option_says(self) -> None:
        self.gateway("one", "two", "three", "four", retries=2)
        client, _ = self.send()
        for _ in range(2):
            self.reply(UNAVAILABLE)
            (self.last,) = self.accept()
        self.reply(UNAVAILABLE)
        self.assertEqual((self.accept(), client.response().status), ([], 503))

    def test_without_another_server_the_answer_is_passed_on(self) -> None:
        self.gateway("one", retries=3)
        client, _ = self.send()
        self.reply(UNAVAILABLE)
        self.assertEqual((client.response().status, client.response().body), (503, b"busy"))
        self.assertEqual(self.site.pool.choice.counts.retries.total(), 0)

    def test_attack_97_retries_stay_within_the_budget(self) -> None:
        self.gateway("one", "two", retries=1, retry_budget=0.1)
        requests = 100
        for _ in range(requests):
            client, _ = self.send()
            self.reply(UNAVAILABLE)
            for peer in self.accept():
                peer.reply(UNAVAILABLE)
            self.assertEqual(client.response().status, 503)
        counts = self.site.pool.choice.counts
        self.assertEqual(counts.retries["backend", "sent"], int(RESERVE + 0.1 * requests) - 1)
        self.assertEqual(counts.retries.total(), requests)
        self.assertEqual(counts.answers.total(), requests + counts.retries["backend", "sent"])


class EjectionTests(BalancedCase):
    def test_a_server_with_bad_answers_is_left_out_for_some_time(self) -> None:
        self.gateway("one", "two", eject_after=2, eject_time=30.0)
        bad = []
        for _ in range(8):
            client, host = self.send()
            self.reply(UNAVAILABLE if host == "one" else OK)
            bad.append(client.response().status)
        self.assertEqual(bad.count(503), 2)
        self.assertEqual(self.states(), [ServerState.EJECTED, ServerState.UP])
        self.site.reactor.advance(30)
        self.site.pool.choice.look()
        self.assertEqual(self.states(), [ServerState.UP, ServerState.UP])
        self.assertEqual({self.send()[1], self.send()[1]}, {"one", "two"})

    def test_an_ejection_is_counted(self) -> None:
        self.gateway("one", "two", eject_after=1)
        self.send()
        self.reply(UNAVAILABLE)
        self.assertEqual(self.site.pool.choice.counts.changes, {("backend", "http://one:8080", "ejected"): 1})
        self.assertEqual([one.fault for one in self.site.pool.view()], ["it answered 503", ""])

    def test_the_last_server_stays(self) -> None:
        self.gateway("one", "two", eject_after=1, eject_floor=0.5)
        for _ in range(6):
            self.send()
            self.reply(UNAVAILABLE)
        self.assertEqual(sorted(self.states()), [ServerState.EJECTED, ServerState.UP])

    def states(self) -> list[ServerState]:
        return [server.health.state() for server in self.site.pool.servers]


class ReloadTests(BalancedCase):
    """What the pool of the next configuration counts of requests that began before."""

    def test_requests_under_way_count_for_the_limit(self) -> None:
        before = self.gateway("one", max_requests=1)
        client, _ = self.send()
        peer = self.last
        after = self.gateway("one", max_requests=1)
        after.pool.adopt(before.pool)
        self.accepted = 0
        later, host = self.send()
        self.assertEqual((host, self.active(), len(after.pool.choice.queue)), ("", [1], 1))
        assert peer is not None
        peer.reply(OK)
        self.assertEqual(client.response().body, b"ok")
        self.assertEqual([one.server.host for one in self.accept()], ["one"])
        self.assertEqual(([server.active for server in before.pool.servers], self.active()), ([0], [1]))
        self.peers[-1].reply(OK)
        self.assertEqual((later.response().body, self.active()), (b"ok", [0]))


class FairTests(BalancedCase):
    """``fair = yes``."""

    def fair(self, places: int, **settings: Any) -> Gateway:
        return self.gateway("one", max_requests=places, fair=True, queue_timeout=5.0, **settings)

    def begin(self, *peers: str) -> list[str]:
        """Requests of these clients. Returns those that began at once."""
        return [peer for peer in peers if self.send_more(peer)]

    def send_more(self, peer: str) -> bool:
        before = len(self.busy())
        Client(self.site, peer=peer).request("GET", "/")
        return len(self.busy()) > before

    def busy(self) -> list[Peer]:
        for attempt in self.site.attempts[self.accepted :]:
            self.peers.append(attempt.accept())
        self.accepted = len(self.site.attempts)
        self.under_way = [*getattr(self, "under_way", []), *(peer for peer in self.peers if peer.request())]
        return self.under_way

    def test_attack_138_one_client_gets_half_of_the_places_and_others_the_rest(self) -> None:
        self.fair(4)
        self.assertEqual(self.begin("192.0.2.1", "192.0.2.1", "192.0.2.1", "192.0.2.1"), ["192.0.2.1"] * 2)
        self.assertEqual((self.active(), len(self.site.pool.choice.queue)), ([2], 2))
        self.assertEqual(self.begin("192.0.2.2"), ["192.0.2.2"])
        self.assertEqual(self.begin("192.0.2.2", "192.0.2.3"), ["192.0.2.3"])
        self.assertEqual(self.begin("192.0.2.4"), [])
        self.assertEqual((self.active(), len(self.site.pool.choice.queue)), ([4], 4))

    def test_a_waiting_request_begins_when_its_client_has_its_share_again(self) -> None:
        self.fair(4)
        self.begin("192.0.2.1", "192.0.2.1", "192.0.2.1")
        first = self.under_way[0]
        first.reply(OK)
        self.assertEqual((self.active(), len(self.site.pool.choice.queue)), ([2], 0))
        self.busy()[-1].reply(OK)
        self.under_way[1].reply(OK)
        self.assertEqual((self.active(), self.site.pool.choice.shares._held), ([0], {}))  # type: ignore[union-attr]

    def test_those_that_wait_for_their_share_delay_no_other(self) -> None:
        self.fair(2)
        self.begin("192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.2.3")
        self.assertEqual((self.active(), len(self.site.pool.choice.queue)), ([2], 2))
        self.under_way[1].reply(OK)  # that of the second client
        self.assertEqual(len(self.busy()), 3, "the third client is served before the first client's second request")
        self.assertEqual((self.active(), len(self.site.pool.choice.queue)), ([2], 1))

    def test_a_place_stays_free_if_all_that_wait_have_their_share(self) -> None:
        self.fair(4)
        self.begin("192.0.2.1", "192.0.2.1", "192.0.2.1", "192.0.2.2")
        self.assertEqual((self.active(), len(self.site.pool.choice.queue)), ([3], 1))
        self.under_way[2].reply(OK)
        self.assertEqual((self.active(), len(self.site.pool.choice.queue)), ([2], 1))
        self.under_way[0].reply(OK)
        self.assertEqual((self.active(), len(self.site.pool.choice.queue)), ([2], 0))

    def test_all_that_wait_are_refused_when_no_server_is_left(self) -> None:
        self.fair(4, health_fall=1)
        self.begin(*["192.0.2.1"] * 4)
        self.site.pool.choice.checked(self.site.pool.servers[0], "no answer")
        self.assertEqual(len(self.site.pool.choice.queue), 0)
        self.assertEqual([record.reason for record in self.site.audit.records], ["upstream_down"] * 2)

    def test_a_reload_keeps_the_shares(self) -> None:
        before = self.fair(4)
        self.begin("192.0.2.1", "192.0.2.1")
        peers = self.under_way
        after = self.fair(4)
        after.pool.adopt(before.pool)
        self.accepted = 0
        self.assertEqual(self.begin("192.0.2.1", "192.0.2.2"), ["192.0.2.2"])
        peers[0].reply(OK)
        peers[1].reply(OK)
        self.assertEqual((self.active(), len(after.pool.choice.queue)), ([2], 0))

    def test_without_it_a_client_may_have_all_places(self) -> None:
        self.gateway("one", max_requests=4)
        self.assertEqual(len(self.begin(*["192.0.2.1"] * 5)), 4)


class ReportTests(BalancedCase):
    """One line in the log for each change of a server's state."""

    def test_a_line_for_each_change(self) -> None:
        self.gateway("one", "two", health_fall=1, health_rise=1, slow_start=5.0)
        choice, (one, two) = self.site.pool.choice, self.site.pool.servers
        with capturedLogs() as events:
            for _ in range(3):
                choice.unreachable(one, "refused")
                choice.checked(two, "it answered 500")
            choice.reached(one)
            choice.checked(two, "")
            for _ in range(10):
                self.site.reactor.advance(1)
                choice.look()
        self.assertEqual(
            [(event["log_level"].name, formatEvent(event)) for event in events],
            [
                ("warn", "upstream backend: server http://one:8080 is resting: refused"),
                ("warn", "upstream backend: server http://two:8080 is down: it answered 500"),
                ("info", "upstream backend: server http://one:8080 is starting"),
                ("info", "upstream backend: server http://two:8080 is starting"),
                ("info", "upstream backend: server http://one:8080 is up"),
                ("info", "upstream backend: server http://two:8080 is up"),
            ],
        )

    def test_a_server_that_is_used_again_takes_what_waits(self) -> None:
        self.gateway("one", "two", max_requests=1, health_fall=1, health_rise=1)
        self.site.pool.choice.checked(self.site.pool.servers[1], "it answered 500")
        self.assertEqual(self.send()[1], "one")
        self.assertEqual(self.send()[1], "")
        self.site.pool.choice.checked(self.site.pool.servers[1], "")
        self.assertEqual([peer.server.host for peer in self.accept()], ["two"])


class FaultTests(BalancedCase):
    def test_a_request_that_has_tried_the_only_server_with_room_waits_for_another(self) -> None:
        """It is not offered to that server again and again."""
        self.gateway("one", "two", max_requests=1)
        client = self.site.client()
        client.request("GET", "/")
        other = self.site.client()
        other.request("GET", "/")
        busy = self.site.attempts[1].accept()
        self.site.attempts[0].fail(ConnectionRefusedError())
        self.assertEqual((self.active(), len(self.site.pool.choice.queue)), ([0, 1], 1))
        turns = []
        following = self.site.pool.choice.queue.next

        def counted(*arguments: Any) -> Any:
            turns.append(1)
            self.assertLess(len(turns), 50)
            return following(*arguments)

        self.patch(self.site.pool.choice.queue, "next", counted)
        self.site.pool.choice.reached(self.site.pool.servers[0])
        self.assertEqual(len(self.site.pool.choice.queue), 1)
        busy.reply(OK)
        self.assertEqual((self.active(), len(self.site.pool.choice.queue)), ([0, 1], 0))

    def test_a_request_that_was_offered_a_server_in_vain_does_not_wait_longer(self) -> None:
        self.gateway("one", "two", max_requests=1, queue_timeout=5.0)
        client = self.site.client()
        client.request("GET", "/")
        self.site.client().request("GET", "/")
        self.site.attempts[1].accept()
        client.wait(3)
        self.site.attempts[0].fail(ConnectionRefusedError())
        client.wait(3)
        self.site.pool.choice.reached(self.site.pool.servers[0])
        self.assertEqual(len(self.site.pool.choice.queue), 1)
        client.wait(1.5)
        self.assertFalse(client.records)
        client.wait(1)
        self.assertEqual(self.reasons(client), ["upstream_busy"])

    def test_a_bug_with_a_request_that_waited_spoils_no_other(self) -> None:
        self.gateway("one", max_requests=1)
        client, _ = self.send()
        held = self.last
        waiting, _ = self.send()
        self.patch(self.site.pool, "connect", lambda server: 1 / 0)
        self.patch(self.site.pool, "take", lambda server, repeatable: 1 / 0)
        assert held is not None
        held.reply(OK)
        self.assertEqual(client.response().body, b"ok")
        self.assertEqual(waiting.response().status, 500)
        self.assertEqual((len(self.flushLoggedErrors(ZeroDivisionError)), self.active()), (1, [0]))

    def test_many_that_wait_and_end_at_once(self) -> None:
        """No recursion: each of them ends within the begin of the one before."""
        self.gateway("one", max_requests=1, queue=5000)
        _, _ = self.send()
        held = self.last
        waiting = [self.send()[0] for _ in range(2000)]

        def refuse(*arguments: Any) -> Any:
            return fail(ConnectionRefusedError())

        self.patch(self.site.pool, "_dial", refuse)
        self.patch(self.site.pool, "take", lambda server, repeatable: None)
        assert held is not None
        held.reply(OK)
        self.assertEqual({client.response().status for client in waiting}, {502})
        self.assertEqual(self.active(), [0])
