"""Idle connections: which request gets which connection, how many are kept, and the share of servers."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectError, ConnectionRefusedError
from twisted.trial import unittest

from perimeter.net.connect import HandshakeFailed
from tests.unit.doubles.http_upstream import OK, Gateway, Peer

LAST = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"


class PoolTests(unittest.TestCase):
    def serve(self, gateway: Gateway, method: str = "GET", reply: bytes = OK, body: bytes = b"") -> None:
        """One request, answered on its connection."""
        lines = [f"Content-Length: {len(body)}"] if body else []
        before = len(gateway.attempts)
        client = gateway.client()
        client.request(method, "/", *lines, body=body)
        if len(gateway.attempts) > before:
            self.peers.append(gateway.attempts[-1].accept())
        busy = [peer for peer in self.peers if peer.request()]
        self.assertEqual(len(busy), 1)
        busy[0].reply(reply)
        self.assertEqual(client.response().body, b"ok")

    def setUp(self) -> None:
        self.peers: list[Peer] = []
        self.gateway = Gateway()

    def connections(self) -> int:
        return len(self.gateway.attempts)

    def probe(self) -> Deferred[str]:
        pool = self.gateway.pool
        return Deferred.fromCoroutine(pool.probe(pool.servers[0], 3.0, self.gateway.reactor))

    def test_a_probe_connects_and_keeps_nothing(self) -> None:
        probed = self.probe()
        peer = self.gateway.attempts[0].accept()
        self.assertEqual(self.successResultOf(probed), "")
        self.assertTrue(peer.ended)
        self.assertEqual(self.gateway.idle, 0)

    def test_a_probe_says_what_is_wrong(self) -> None:
        for error, words in (
            (ConnectionRefusedError(), "nothing listens there"),
            (HandshakeFailed("certificate verify failed", 18), "its certificate is self-signed: set ca_certificate"),
            (HandshakeFailed("wrong version number"), "set http:// in servers"),
            (HandshakeFailed("the certificate is not for a"), "set server_name"),
        ):
            probed = self.probe()
            self.gateway.attempts[-1].fail(error)
            self.assertIn(words, self.successResultOf(probed))

    def test_a_probe_ends_after_its_time(self) -> None:
        probed = self.probe()
        self.gateway.reactor.advance(2.9)
        self.assertNoResult(probed)
        self.gateway.reactor.advance(0.2)
        self.assertIn("no answer within 3 s", self.successResultOf(probed))
        self.assertTrue(self.gateway.attempts[-1].cancelled)

    def test_get_uses_an_idle_connection(self) -> None:
        for _ in range(5):
            self.serve(self.gateway)
        self.assertEqual(self.connections(), 1)

    def test_the_one_used_last_comes_first(self) -> None:
        clients = [self.gateway.client() for _ in range(3)]
        for client in clients:
            client.get()
        peers = [attempt.accept() for attempt in self.gateway.attempts]
        for peer in peers:
            peer.request()
        for peer in (peers[1], peers[2], peers[0]):
            peer.reply(OK)
        clients[0].get()
        self.assertTrue(peers[0].request())

    def test_post_waits_until_a_connection_has_proved_itself(self) -> None:
        self.serve(self.gateway)
        self.serve(self.gateway, "POST")
        self.assertEqual(self.connections(), 2)
        self.serve(self.gateway)
        self.serve(self.gateway)
        self.assertEqual(self.connections(), 2)
        self.serve(self.gateway, "POST")
        self.assertEqual(self.connections(), 2)

    def test_post_takes_a_connection_that_stayed_open_for_a_second(self) -> None:
        self.serve(self.gateway)
        self.gateway.reactor.advance(1.1)
        self.serve(self.gateway, "POST")
        self.assertEqual(self.connections(), 1)

    def kept(self, reply: bytes, option: float = 60.0) -> float:
        """Seconds for which the pool uses a connection whose last response was ``reply``, for requests that are sent once."""
        times = [0.25 * quarter for quarter in range(1, 300)]
        for wait in times:
            self.gateway, self.peers = Gateway(settings={"idle_timeout": option}), []
            self.serve(self.gateway, reply=reply)
            self.serve(self.gateway, reply=reply)
            self.gateway.reactor.advance(wait - 0.01)  # not yet swept: the moment itself counts
            self.serve(self.gateway, "POST")
            if self.connections() > 1:
                return wait - 0.25
        raise AssertionError("it is used for ever")

    def test_for_how_long_an_idle_connection_is_used(self) -> None:
        """A request that may not be repeated must not cross with the end of its connection."""

        def announcing(value: bytes) -> bytes:
            return OK.replace(b"Content", b"Keep-Alive: %b\r\nContent" % value)

        self.assertEqual(self.kept(OK, 1.0), 1.0)
        self.assertEqual(self.kept(OK), 60.0)
        self.assertEqual(self.kept(announcing(b"timeout=5, max=100")), 4.0)
        self.assertEqual(self.kept(announcing(b"timeout=2")), 1.0)
        self.assertEqual(self.kept(announcing(b"timeout=1")), 0.5)
        self.assertEqual(self.kept(announcing(b"timeout=0")), 0.0)
        self.assertEqual(self.kept(announcing(b"timeout=5"), 2.0), 2.0)
        self.assertEqual(self.kept(announcing(b"timeout=90"), 60.0), 60.0)

    def test_idle_connections_are_closed_in_time(self) -> None:
        self.gateway = Gateway(settings={"idle_timeout": 3.0})
        self.serve(self.gateway)
        client = self.gateway.client()
        client.wait(2.9)
        self.assertEqual((self.gateway.idle, self.peers[0].ended), (1, False))
        client.wait(0.4)
        self.assertEqual((self.gateway.idle, self.peers[0].ended, self.peers[0].dropped), (0, True, False))
        client.wait(1)
        self.assertEqual(self.gateway.pool.connections, [])

    def test_a_connection_is_reliable_after_more_than_a_second(self) -> None:
        for seconds, connections in ((1.0, 2), (1.125, 1)):
            self.gateway = Gateway()
            self.gateway.reactor.advance(1000)
            self.peers = []
            self.serve(self.gateway)
            self.gateway.reactor.advance(seconds)
            self.serve(self.gateway, "POST")
            self.assertEqual(self.connections(), connections)

    def test_post_takes_the_reliable_connection_that_was_used_last(self) -> None:
        clients = [self.gateway.client() for _ in range(3)]
        for client in clients:
            client.get()
        peers = [attempt.accept() for attempt in self.gateway.attempts]
        for peer in peers:
            peer.reply(OK)
            peer.request()
        self.gateway.reactor.advance(2)
        peers[2].transport.unread_input = True
        for expected in (1, 0):
            self.gateway.client().request("POST", "/")
            self.assertEqual([bool(peer.request()) for peer in peers], [at == expected for at in range(3)])
            self.assertEqual(self.gateway.idle, expected + 1)
        self.gateway.client().request("POST", "/")
        self.assertEqual((self.connections(), self.gateway.idle), (4, 1))

    def test_a_body_makes_any_method_careful(self) -> None:
        self.serve(self.gateway)
        self.serve(self.gateway, "PUT", body=b"x")
        self.assertEqual(self.connections(), 2)
        self.serve(self.gateway, "PUT")
        self.assertEqual(self.connections(), 2)

    def test_post_looks_whether_the_connection_is_still_open(self) -> None:
        for input_there in (True, False):
            self.gateway = Gateway()
            self.peers = []
            self.serve(self.gateway)
            self.gateway.reactor.advance(2)
            self.peers[0].transport.unread_input = input_there
            self.serve(self.gateway, "POST")
            self.assertEqual(self.connections(), 2 if input_there else 1, input_there)

    def test_ecflow_closes_after_each_reply(self) -> None:
        for method in ("GET", "POST", "GET"):
            self.serve(self.gateway, method, LAST)
        self.assertEqual((self.connections(), self.gateway.idle), (3, 0))

    def test_closed_while_idle(self) -> None:
        self.serve(self.gateway)
        self.peers[0].transport.lose()
        self.assertEqual(self.gateway.idle, 0)
        self.serve(self.gateway)
        self.assertEqual(self.connections(), 2)
        self.assertEqual(len(self.gateway.pool.connections), 1)

    def test_no_more_than_keepalive_are_kept(self) -> None:
        self.gateway = Gateway(settings={"keepalive": 2})
        clients = [self.gateway.client() for _ in range(4)]
        for client in clients:
            client.get()
        peers = [attempt.accept() for attempt in self.gateway.attempts]
        for peer in peers:
            peer.reply(OK)
        self.assertEqual(self.gateway.idle, 2)
        self.assertEqual([peer.ended for peer in peers], [False, False, True, True])

    def test_shut_down(self) -> None:
        self.serve(self.gateway)
        client = self.gateway.client()
        client.get()
        other = self.gateway.client()
        other.get()
        busy = self.gateway.attempts[-1].accept()
        self.peers[0].reply(OK)
        self.gateway.pool.close()
        self.assertEqual(self.gateway.idle, 0)
        self.assertTrue(self.peers[0].ended)
        self.assertFalse(busy.ended)
        busy.reply(OK)
        self.assertTrue(busy.ended)
        self.assertEqual(other.response().body, b"ok")
        self.gateway.reactor.advance(0)
        self.assertEqual(self.gateway.pool.connections, [])


class ShareTests(unittest.TestCase):
    """The share of each server in the requests, with keep-alive connections."""

    def setUp(self) -> None:
        self.peers: list[Peer] = []
        self.accepted = 0

    def accept(self, gateway: Gateway) -> None:
        """Accept the connections that the pool asks for."""
        for attempt in gateway.attempts[self.accepted :]:
            self.peers.append(attempt.accept())
        self.accepted = len(gateway.attempts)

    def share(self, gateway: Gateway, requests: int, method: str = "GET", at_a_time: int = 1) -> dict[str, int]:
        """The number of requests by server, if ``at_a_time`` requests are sent before one is answered."""
        counts = {server.settings.host: 0 for server in gateway.pool.servers}
        for _ in range(requests // at_a_time):
            clients = [gateway.client() for _ in range(at_a_time)]
            for client in clients:
                client.request(method, "/")
                self.accept(gateway)
            busy = [peer for peer in self.peers if peer.request()]
            self.assertEqual(len(busy), at_a_time)
            for peer in busy:
                counts[peer.server.host] += 1
                peer.reply(OK)
            for client in clients:
                self.assertEqual(client.response().body, b"ok")
            gateway.reactor.advance(2)
        return counts

    def test_sequential_requests_are_shared(self) -> None:
        gateway = Gateway("one", "two")
        self.assertEqual(self.share(gateway, 100), {"one": 50, "two": 50})
        self.assertEqual(len(gateway.attempts), 2)

    def test_three_servers(self) -> None:
        self.assertEqual(self.share(Gateway("one", "two", "three"), 99), {"one": 33, "two": 33, "three": 33})

    def test_requests_at_a_time_are_shared_on_kept_connections(self) -> None:
        gateway = Gateway("one", "two")
        self.assertEqual(self.share(gateway, 800, "POST", at_a_time=8), {"one": 400, "two": 400})
        self.assertEqual(len(gateway.attempts), 8)

    def test_a_retry_takes_no_other_servers_turn(self) -> None:
        gateway = Gateway("one", "two")
        self.share(gateway, 2)
        client = gateway.client()
        client.get()
        lost = next(peer for peer in self.peers if peer.request())
        lost.transport.lose()  # the idle connection closes during the request, which is sent again to the same server
        self.assertEqual(gateway.attempts[-1].server.host, lost.server.host)
        self.accept(gateway)
        self.peers[-1].request()
        self.peers[-1].reply(OK)
        self.assertEqual(client.response().body, b"ok")
        other = {"one": "two", "two": "one"}[lost.server.host]
        self.assertEqual(self.share(gateway, 1)[other], 1)
        self.assertEqual(self.share(gateway, 10), {"one": 5, "two": 5})

    def test_a_server_that_cannot_be_reached_leaves_its_share_to_the_others(self) -> None:
        gateway = Gateway("one", "two")
        self.share(gateway, 2)
        gateway.pool.choice.unreachable(gateway.pool.servers[0], "refused")
        # each request takes 2 s, and the failed server is tried last for 10 s
        self.assertEqual(self.share(gateway, 4), {"one": 0, "two": 4})
        gateway.reactor.advance(10)
        self.assertEqual(self.share(gateway, 10), {"one": 5, "two": 5})

    def test_the_next_server_is_used_by_its_kept_connection(self) -> None:
        gateway = Gateway("one", "two")
        self.share(gateway, 1)  # one of the two has an idle connection, the other has none
        client = gateway.client()
        client.get()
        self.assertNotEqual(gateway.attempts[-1].server.host, self.peers[0].server.host)
        gateway.attempts[-1].fail(ConnectError())
        self.assertEqual(len(gateway.attempts), 2)
        self.assertTrue(self.peers[0].request())
        self.peers[0].reply(OK)
        self.assertEqual(client.response().body, b"ok")
