"""Forwarding: connecting, which requests are sent twice, bodies and back-pressure in both directions, tunnels, all early ends."""

from __future__ import annotations

import errno
from typing import Any

from twisted.internet.error import ConnectError, ConnectionRefusedError, DNSLookupError, TimeoutError
from twisted.trial import unittest

from perimeter.config.site.server import ServerSettings
from perimeter.net.connect import HandshakeFailed
from perimeter.net.tls import TLSEnded
from perimeter.proxy.connection import UpstreamConnection
from perimeter.proxy.forwarding import _authority
from perimeter.proxy.headers import HeaderRules
from tests.unit.doubles.http_rig import Client
from tests.unit.doubles.http_upstream import OK, Gateway, Peer


def lines_of(request: bytes) -> list[bytes]:
    return request.partition(b"\r\n\r\n")[0].split(b"\r\n")


class ConnectTests(unittest.TestCase):
    def test_request_arrives(self) -> None:
        gateway = Gateway(prefix=b"/v1", rewrite=b"/app")
        gateway.identity = b"X-Auth-Username: alice\r\n"
        client, peer = gateway.begun("GET", "/v1/x?y", "Accept: */*", "Authorization: Bearer secret", "X-Auth-Roles: admin")
        request = peer.request()
        self.assertEqual(lines_of(request)[0], b"GET /app/x?y HTTP/1.1")
        self.assertIn(b"\r\nX-Auth-Username: alice\r\n", request)
        for leak in (b"secret", b"admin"):
            self.assertNotIn(leak, request)
        self.assertEqual(len(peer.transport.writes), 1)
        peer.reply(b"HTTP/1.1 302 Found\r\nLocation: http://one:8080/app/z\r\nContent-Length: 0\r\n\r\n")
        self.assertEqual(client.response().get(b"location"), b"/v1/z")
        self.assertEqual((client.records[0].route, client.records[0].upstream), ("a-route", "backend"))

    def test_attack_56_credentials_that_hold_for_a_connection(self) -> None:
        """The next request on it may be another client's."""
        for line, kept in (
            ("Authorization: NTLM x", 0),
            ("Authorization: negotiate x", 0),
            ("Authorization: Odd x", 0),
            ("Authorization: Basic x", 1),
            ("Authorization: bearer x", 1),
            ("X: y", 1),
        ):
            gateway = Gateway(rules=HeaderRules(pass_authorization=True), passes_authorization=True)
            client, peer = gateway.begun("GET", "/", line)
            self.assertIn(line.encode(), peer.request())
            peer.reply(OK)
            self.assertEqual((client.response().status, gateway.idle), (200, kept), line)
            gateway = Gateway(app_authorization=True)
            client, peer = gateway.begun("GET", "/", line)
            peer.reply(OK)
            self.assertEqual((client.response().status, gateway.idle), (200, kept), line)
        gateway = Gateway()
        _, peer = gateway.begun("GET", "/", "Authorization: NTLM x")
        self.assertNotIn(b"NTLM", peer.request())
        peer.reply(OK)
        self.assertEqual(gateway.idle, 1)

    def mapped(self, location: str, *lines: str, relayed: tuple[str, ...] = (), **route: Any) -> str:
        """What the client of a route gets for a Location of the service."""
        gateway = Gateway(**{"prefix": b"/app", "rewrite": b"", **route})
        gateway.relayed = relayed
        client, peer = gateway.begun("GET", "/app/x", *lines)
        reply = f"HTTP/1.1 302 Found\r\nLocation: {location}\r\nSet-Cookie: a=b; Path={location}\r\nContent-Length: 0\r\n\r\n"
        peer.reply(reply.encode())
        response = client.response()
        found = (response.get(b"location") or b"").decode()
        if location.startswith("/"):
            self.assertEqual(response.get(b"set-cookie"), f"a=b; Path={found}".encode())
        return found

    def test_locations_of_a_service_that_heeds_x_forwarded_prefix(self) -> None:
        """The prefix is added where the service has not done so itself."""
        proxy = ("192.0.2.7",)
        outer = "X-Forwarded-Prefix: /outer"
        for location, expected in (("/z", "/app/z"), ("/app/z", "/app/z"), ("/app", "/app"), ("/apple", "/app/apple")):
            self.assertEqual(self.mapped(location), expected)
            self.assertEqual(self.mapped(location, outer), expected)
            self.assertEqual(self.mapped(location, relayed=proxy), expected)
        for location, expected in (
            ("/outer/app/z", "/outer/app/z"),
            ("/outer/app", "/outer/app"),
            ("/outer/apple", "/app/outer/apple"),
            ("/app/z", "/app/app/z"),
            ("/z", "/app/z"),
        ):
            self.assertEqual(self.mapped(location, outer, relayed=proxy), expected)
        self.assertEqual(self.mapped("/inner/z", rewrite=b"/inner"), "/app/z")
        self.assertEqual(self.mapped("/app/z", rewrite=b"/inner"), "/app/z")
        self.assertEqual(self.mapped("/z", outer, relayed=proxy, rewrite=None), "/z")

    def test_locations_of_a_service_that_heeds_x_forwarded_host(self) -> None:
        lines = ("X-Forwarded-Host: Public.test",)
        self.assertEqual(self.mapped("http://public.test/z", *lines, relayed=("192.0.2.7",)), "/app/z")
        self.assertEqual(self.mapped("http://public.test/z", *lines), "http://public.test/z")
        self.assertEqual(self.mapped("http://other.test/z", *lines, relayed=("192.0.2.7",)), "http://other.test/z")
        self.assertEqual(self.mapped("http:///z", relayed=("192.0.2.7",)), "http:///z")

    def test_refused(self) -> None:
        for error in (ConnectionRefusedError(), DNSLookupError(), HandshakeFailed("expired")):
            gateway = Gateway()
            client = gateway.client()
            client.get()
            gateway.attempts[0].fail(error)
            self.assertEqual(client.response().status, 502)
            self.assertEqual([record.reason for record in client.records], ["upstream_unreachable"])

    def test_the_cause_is_the_detail(self) -> None:
        for error, status, words in (
            (ConnectionRefusedError(), 502, "cannot connect to one:8080: nothing listens there"),
            (DNSLookupError(), 502, "its name cannot be resolved"),
            (HandshakeFailed("certificate verify failed", 18), 502, "its certificate is self-signed: set ca_certificate"),
            (TimeoutError(), 504, "no answer within 10 s: a firewall may drop the packets"),
        ):
            gateway = Gateway()
            client = gateway.client()
            client.get()
            gateway.attempts[0].fail(error)
            self.assertEqual(client.response().status, status)
            self.assertTrue(client.records[0].detail.startswith("upstream backend: "), client.records[0].detail)
            self.assertIn(words, client.records[0].detail)

    def test_a_service_with_tls_on_its_port(self) -> None:
        client, peer = Gateway().begun()
        peer.reply(b"\x15\x03\x01\x00\x02\x02\x46")
        self.assertEqual(client.response().status, 502)
        self.assertEqual(client.records[0].detail, "upstream backend: it speaks TLS on this port: set https:// in servers")

    def test_timed_out(self) -> None:
        gateway = Gateway(settings={"connect_timeout": 7.0})
        client = gateway.client()
        client.get()
        self.assertEqual(gateway.attempts[0].timeout, 7.0)
        gateway.attempts[0].fail(TimeoutError())
        self.assertEqual(client.response().status, 504)
        self.assertFalse(client.closed)

    def test_the_next_server_is_tried(self) -> None:
        for method in ("GET", "POST"):
            gateway = Gateway("one", "two", "three")
            client = gateway.client()
            client.request(method, "/", "Content-Length: 2", body=b"hi")
            gateway.attempts[0].fail(ConnectionRefusedError())
            gateway.attempts[1].fail(TimeoutError())
            peer = gateway.attempts[2].accept()
            self.assertTrue(peer.request().endswith(b"\r\n\r\nhi"))
            peer.reply(OK)
            self.assertEqual(client.response().body, b"ok")
            self.assertEqual(len({attempt.server for attempt in gateway.attempts}), 3)

    def test_all_servers_are_down(self) -> None:
        gateway = Gateway("one", "two")
        client = gateway.client()
        client.get()
        gateway.attempts[0].fail(ConnectionRefusedError())
        self.assertEqual(client.transport.written, b"")
        gateway.attempts[1].fail(ConnectionRefusedError())
        self.assertEqual(client.response().status, 502)
        self.assertEqual(len(gateway.attempts), 2)

    def test_server_that_failed_is_tried_last(self) -> None:
        gateway = Gateway("one", "two")
        first = gateway.client()
        first.get()
        down = gateway.attempts[0].server
        gateway.attempts[0].fail(ConnectionRefusedError())
        gateway.attempts[1].accept().reply(OK.replace(b"200 OK", b"200 OK\r\nConnection: close"))
        for _ in range(3):
            gateway.client().get()
            self.assertNotEqual(gateway.attempts[-1].server, down)

    def test_server_that_is_back_is_tried_in_turn(self) -> None:
        gateway = Gateway("one", "two", settings={"keepalive": 0})
        gateway.client().get()
        down = gateway.attempts[0].server
        gateway.attempts[0].fail(ConnectionRefusedError())
        gateway.attempts[1].fail(ConnectionRefusedError())
        gateway.client().get()
        while gateway.attempts[-1].server != down:
            gateway.attempts[-1].fail(ConnectionRefusedError())
        gateway.attempts[-1].accept().reply(OK)
        for _ in range(3):
            gateway.client().get()
            self.assertEqual(gateway.attempts[-1].server, down)

    def test_attack_41_a_bug_while_forwarding(self) -> None:
        gateway = Gateway()
        client = gateway.client()
        client.get()
        begin = UpstreamConnection.begin

        def broken(connection: UpstreamConnection, *args: Any, **kwargs: Any) -> None:
            begin(connection, *args, **kwargs)
            raise RuntimeError("a bug")

        self.patch(UpstreamConnection, "begin", broken)
        peer = gateway.attempts[0].accept()
        self.assertEqual(client.response().status, 500)  # a bug in the gateway is not a failure of the service
        self.assertTrue(peer.dropped)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_client_gone_while_connecting(self) -> None:
        gateway = Gateway("one", "two")
        client = gateway.client()
        client.get()
        client.transport.lose()
        self.assertTrue(gateway.attempts[0].cancelled)
        self.assertEqual(len(gateway.attempts), 1)
        self.assertEqual([(record.status, record.reason) for record in client.records], [(499, "client_gone")])
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_client_gone_while_the_answer_is_awaited(self) -> None:
        gateway = Gateway()
        client, peer = gateway.begun()
        client.transport.lose()
        self.assertTrue(peer.dropped)
        self.assertEqual(gateway.idle, 0)

    def test_a_service_on_a_unix_socket(self) -> None:
        gateway = Gateway("/run/app.sock")
        self.assertEqual((gateway.target.authorities, gateway.target.fallback_host), ((b"localhost",), b"localhost"))
        client = gateway.client()
        client.send(b"GET / HTTP/1.0\r\n\r\n")
        peer = gateway.attempts[0].accept()
        self.assertIn(b"\r\nHost: localhost\r\n", peer.request())
        peer.reply(b"HTTP/1.1 302 Found\r\nLocation: http://localhost/x\r\nContent-Length: 0\r\n\r\n")
        self.assertEqual(client.response().get(b"location"), b"/x")
        client, another = gateway.client(), gateway.client()
        client.get()
        another.get()
        gateway.attempts[-1].fail(ConnectError(errno.EACCES))
        self.assertEqual(another.response().status, 502)
        self.assertTrue(
            another.records[-1].detail.startswith("upstream backend: cannot connect to /run/app.sock: permission denied")
        )

    def test_a_service_that_ends_tls_says_why(self) -> None:
        gateway = Gateway()
        client, peer = gateway.begun("POST", "/", "Content-Length: 0")
        peer.transport.lose(TLSEnded("tlsv13 alert certificate required"))
        self.assertEqual(client.response().status, 502)
        self.assertEqual(
            client.records[0].detail,
            "upstream backend: it wants a client certificate of a CA that it trusts: set client_certificate to one "
            "(tlsv13 alert certificate required)",
        )

    def test_authorities(self) -> None:
        for scheme, host, port, authority in (
            ("http", "One", 80, b"one"),
            ("https", "one", 443, b"one"),
            ("https", "one", 80, b"one:80"),
            ("http", "::1", 8080, b"[::1]:8080"),
            ("sample", "", 0, b""),
            ("http", "a" * 63, 8080, b"a" * 63 + b":8080"),
        ):
            self.assertEqual(_authority(ServerSettings(scheme, host, port)), authority)


class LoopTests(unittest.TestCase):
    """A service that is the gateway itself."""

    def test_attack_60_each_gateway_is_counted(self) -> None:
        for sent, forwarded in (
            ((), b"1"),
            (("X-Perimeter-Hops: 1",), b"2"),
            (("X-Perimeter-Hops: 4",), b"5"),
            (("X-Perimeter-Hops: 3", "x-perimeter-hops: 1"), b"4"),
            (("X-Perimeter-Hops: -9", "X_Perimeter_Hops: 4", "X-Perimeter-Hops: 5 6"), b"1"),
            (("Connection: X-Perimeter-Hops", "X-Perimeter-Hops: 2"), b"3"),
        ):
            _, peer = Gateway().begun("GET", "/", *sent)
            hops = [line for line in lines_of(peer.request()) if b"erimeter" in line]
            self.assertEqual(hops, [b"X-Perimeter-Hops: " + forwarded], sent)

    def test_attack_60_a_request_that_goes_round_is_refused(self) -> None:
        for hops in ("5", "6", "999"):
            gateway = Gateway()
            client = gateway.client()
            client.get("/", f"X-Perimeter-Hops: {hops}")
            self.assertEqual((client.response().status, gateway.attempts), (508, []))
            self.assertEqual([(record.status, record.reason) for record in client.records], [(508, "loop")])
            self.assertFalse(client.closed)


class RetryTests(unittest.TestCase):
    def pooled(self) -> tuple[Gateway, Peer]:
        """A gateway with one idle connection that is known to be reliable."""
        gateway = Gateway()
        client, peer = gateway.begun()
        peer.reply(OK)
        client.get()
        peer.reply(OK)
        peer.request()
        self.assertEqual((gateway.idle, len(gateway.attempts)), (1, 1))
        return gateway, peer

    def test_get_is_sent_again_once(self) -> None:
        for method in ("GET", "HEAD", "OPTIONS", "PUT", "DELETE"):
            gateway, peer = self.pooled()
            client = gateway.client()
            client.request(method, "/again")
            sent = peer.request()
            self.assertIn(b"/again", sent)
            peer.transport.lose()
            self.assertEqual(client.transport.written, b"")
            fresh = gateway.attempts[-1].accept()
            self.assertEqual(fresh.request(), sent)
            fresh.transport.lose()
            self.assertEqual(client.response(method.encode()).status, 502)
            self.assertEqual(len(gateway.attempts), 2)
            self.assertEqual(len(client.records), 3)  # two of them by `pooled`

    def test_reset_counts_as_closed(self) -> None:
        gateway, peer = self.pooled()
        client = gateway.client()
        client.get()
        peer.transport.reset()
        gateway.attempts[-1].accept().reply(OK)
        self.assertEqual(client.response().status, 200)

    def test_post_is_never_sent_again(self) -> None:
        gateway, peer = self.pooled()
        for method, lines, body in (("POST", (), b""), ("PATCH", (), b""), ("POST", ("Content-Length: 2",), b"hi")):
            client = gateway.client()
            client.request(method, "/", *lines, body=body)
            self.assertTrue(peer.request())
            peer.transport.lose()
            self.assertEqual(client.response().status, 502, method)
            self.assertEqual(len(gateway.attempts), 1)
            gateway, peer = self.pooled()

    def test_a_body_is_never_sent_again(self) -> None:
        for lines, body in ((("Content-Length: 2",), b"hi"), (("Transfer-Encoding: chunked",), b"2\r\nhi\r\n0\r\n\r\n")):
            gateway, peer = self.pooled()
            client = gateway.client()
            client.request("PUT", "/", *lines, body=body)
            peer.transport.lose()
            self.assertEqual(client.response().status, 502)
            self.assertEqual(len(gateway.attempts), 1)

    def test_not_after_the_first_byte_of_an_answer(self) -> None:
        gateway, peer = self.pooled()
        client = gateway.client()
        client.get()
        peer.reply(b"H")
        peer.transport.lose()
        self.assertEqual(client.response().status, 502)
        self.assertEqual(len(gateway.attempts), 1)

    def test_not_after_a_timeout(self) -> None:
        gateway, _ = self.pooled()
        client = gateway.client()
        client.get()
        client.wait(61)
        self.assertEqual(client.response().status, 504)
        self.assertEqual(len(gateway.attempts), 1)

    def kept_beside_a_dead_server(self) -> tuple[Gateway, Peer]:
        """Two servers: one has a kept connection, and the next request tries the other one first."""
        gateway = Gateway("one", "two")
        client = gateway.client()
        client.get()
        peer = gateway.attempts[0].accept()
        peer.reply(OK)
        peer.request()
        return gateway, peer

    def test_on_the_kept_connection_of_the_next_server(self) -> None:
        gateway, peer = self.kept_beside_a_dead_server()
        client = gateway.client()
        client.get()
        gateway.attempts[1].fail(ConnectionRefusedError())
        self.assertTrue(peer.request())
        peer.transport.lose()
        gateway.attempts[2].accept().reply(OK)
        self.assertEqual(client.response().status, 200)

    def test_the_next_server_is_as_careful(self) -> None:
        """Neither a body nor a method that must not be repeated goes out on a connection that has not proved itself."""
        for method, lines, body in (("PUT", ("Content-Length: 2",), b"hi"), ("POST", (), b"")):
            gateway, peer = self.kept_beside_a_dead_server()
            gateway.client().request(method, "/", *lines, body=body)
            gateway.attempts[1].fail(ConnectionRefusedError())
            self.assertEqual((peer.request(), len(gateway.attempts)), (b"", 3))

    def test_not_on_a_fresh_connection(self) -> None:
        gateway = Gateway()
        client, peer = gateway.begun()
        peer.transport.lose()
        self.assertEqual(client.response().status, 502)
        self.assertEqual(len(gateway.attempts), 1)

    def test_not_for_a_client_that_left(self) -> None:
        gateway, peer = self.pooled()
        client = gateway.client()
        client.get()
        client.transport.lose()
        client.wait(1)
        self.assertTrue(peer.transport.lost)
        self.assertEqual(len(gateway.attempts), 1)


class BodyTests(unittest.TestCase):
    def test_length(self) -> None:
        gateway = Gateway()
        client, peer = gateway.begun("POST", "/", "Content-Length: 5", body=b"he")
        self.assertTrue(peer.request().endswith(b"\r\nContent-Length: 5\r\n\r\nhe"))
        client.send(b"llo")
        self.assertEqual(peer.request(), b"llo")
        peer.reply(OK)
        self.assertEqual(client.response().body, b"ok")
        self.assertEqual(gateway.idle, 1)
        self.assertEqual(client.records[0].received, 5)

    def test_chunks_with_trailers(self) -> None:
        gateway = Gateway()
        client, peer = gateway.begun("POST", "/", "Transfer-Encoding: chunked")
        client.send(b"2\r\nhe\r\n")
        client.send(b"3\r\nllo\r\n0\r\nX-Sum: 1\r\nX-Auth-Roles: admin\r\nAuthorization: x\r\n\r\n")
        request = peer.request()
        self.assertTrue(
            request.endswith(b"\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\nx-sum: 1\r\n\r\n"), request
        )

    def test_no_chunks_at_all(self) -> None:
        _, peer = Gateway().begun("POST", "/", "Transfer-Encoding: chunked", body=b"0\r\n\r\n")
        self.assertTrue(peer.request().endswith(b"\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"))

    def test_the_head_leaves_without_waiting_for_the_body(self) -> None:
        _, peer = Gateway().begun("POST", "/", "Content-Length: 5")
        self.assertTrue(peer.request().endswith(b"\r\n\r\n"))

    def test_continue_when_the_upstream_is_there(self) -> None:
        gateway = Gateway()
        client = gateway.client()
        client.request("POST", "/", "Content-Length: 5", "Expect: 100-continue")
        self.assertEqual(client.transport.written, b"")
        peer = gateway.attempts[0].accept()
        self.assertEqual(client.responses()[0].status, 100)
        self.assertNotIn(b"Expect", peer.request())

    def test_no_continue_without_an_upstream(self) -> None:
        gateway = Gateway()
        client = gateway.client()
        client.request("POST", "/", "Content-Length: 5", "Expect: 100-continue")
        gateway.attempts[0].fail(ConnectionRefusedError())
        self.assertEqual([response.status for response in client.responses()], [502])
        self.assertTrue(client.closed)

    def test_malformed_body_never_becomes_a_whole_request(self) -> None:
        for body in (b"2\r\nhe\r\nxx", b"zz\r\n"):
            gateway = Gateway()
            client, peer = gateway.begun("POST", "/", "Transfer-Encoding: chunked")
            client.send(body)
            self.assertEqual(client.response().status, 400)
            self.assertTrue(peer.dropped)
            self.assertNotIn(b"0\r\n\r\n", peer.request())
            self.assertEqual(gateway.idle, 0)

    def test_malformed_body_that_came_with_the_head(self) -> None:
        gateway = Gateway()
        client, peer = gateway.begun("POST", "/", "Transfer-Encoding: chunked", body=b"zz\r\n")
        self.assertEqual(client.response().status, 400)
        self.assertTrue(peer.dropped)
        self.assertEqual(peer.request(), b"")

    def test_client_gone_in_the_middle_of_its_body(self) -> None:
        gateway = Gateway()
        client, peer = gateway.begun("POST", "/", "Content-Length: 5", body=b"he")
        client.transport.lose()
        self.assertTrue(peer.dropped)
        self.assertEqual(gateway.idle, 0)

    def test_early_answer(self) -> None:
        """The upstream has not got the rest of the body, so neither connection can serve another request."""
        gateway = Gateway()
        client, peer = gateway.begun("POST", "/", "Content-Length: 500", body=b"he")
        peer.reply(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
        self.assertEqual((client.response().status, client.response().body), (413, b"no"))
        self.assertEqual(client.response().get(b"connection"), b"close")
        self.assertTrue(client.lingers)
        self.assertTrue(peer.ended)
        self.assertEqual(gateway.idle, 0)
        client.send(b"x" * 498)
        self.assertTrue(client.closed)
        self.assertEqual(len(client.records), 1)

    def test_early_answer_that_takes_its_time(self) -> None:
        gateway = Gateway()
        client, peer = gateway.begun("POST", "/", "Content-Length: 4", body=b"he")
        peer.reply(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
        client.send(b"re")
        self.assertTrue(peer.request().endswith(b"here"))
        peer.reply(b"cd")
        self.assertEqual(client.response().body, b"abcd")
        self.assertEqual(gateway.idle, 1)
        self.assertFalse(client.closed)

    def test_upstream_lost_in_the_middle_of_the_body(self) -> None:
        gateway = Gateway()
        client, peer = gateway.begun("POST", "/", "Content-Length: 500", body=b"he")
        peer.transport.reset()
        self.assertEqual(client.response().status, 502)
        self.assertTrue(client.lingers)
        self.assertEqual(len(gateway.attempts), 1)


class FlowControlTests(unittest.TestCase):
    def test_slow_upstream_stops_the_client(self) -> None:
        gateway = Gateway()
        client, peer = gateway.begun("POST", "/", "Content-Length: 1000000")
        peer.transport.stalled = True
        for _ in range(4):
            client.send(b"x" * 100_000)
        self.assertFalse(client.transport.reading)
        self.assertLess(peer.transport.buffered, 200_000)
        peer.transport.take()
        client.wait(0.25)
        self.assertTrue(client.transport.reading)
        client.send(b"x" * 600_000)
        peer.reply(OK)
        self.assertEqual(client.response().body, b"ok")
        self.assertEqual(len(peer.request().partition(b"\r\n\r\n")[2]), 1_000_000)

    def test_slow_client_stops_the_upstream(self) -> None:
        gateway = Gateway()
        client, peer = gateway.begun()
        client.transport.stalled = True
        peer.reply(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        for _ in range(4):
            peer.reply(b"x" * 100_000)
        self.assertFalse(peer.transport.reading)
        self.assertLess(client.transport.buffered, 200_000)
        client.transport.take()
        client.wait(0.25)
        self.assertTrue(peer.transport.reading)
        peer.reply(b"x" * 600_000)
        self.assertEqual(len(client.response().body), 1_000_000)
        self.assertEqual(gateway.idle, 1)

    def test_a_connection_that_was_paused_before_a_whole_response_reads_again(self) -> None:
        gateway = Gateway(early_hints=True)
        client, peer = gateway.begun()
        client.transport.stalled = True
        hints = b"HTTP/1.1 103 Early Hints\r\nLink: " + b"x" * 40_000 + b"\r\n\r\n"
        peer.reply(hints * 2 + OK)
        self.assertEqual((gateway.idle, peer.transport.reading), (1, True))
        client.transport.take()
        self.assertEqual([response.status for response in client.responses()], [103, 103, 200])

    def test_attack_25_a_service_sets_no_cookie_of_the_gateway_in_any_head(self) -> None:
        own = b"Set-Cookie: __Host-perimeter=" + b"x" * 43 + b"\r\n"
        for head in (
            b"HTTP/1.1 103 Early Hints\r\n" + own + b"Link: x\r\n\r\n" + OK,
            b"HTTP/1.1 200 OK\r\n" + own + b"Content-Length: 0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n" + own + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + own + b"\r\n",
        ):
            client, peer = Gateway(early_hints=True).begun()
            peer.reply(head)
            self.assertEqual(client.responses()[-1].status, 200)
            self.assertNotIn(b"erimeter=", client.transport.written, head)

    def test_after_the_client_has_caught_up_nothing_is_paused(self) -> None:
        gateway = Gateway()
        client, peer = gateway.begun()
        client.transport.stalled = True
        peer.reply(b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + b"x" * 100_000)
        client.transport.take()
        self.assertTrue(peer.transport.reading)
        peer.transport.pauseProducing()
        peer.connection.dataReceived(b"x" * 100_000)
        self.assertFalse(peer.transport.reading)

    def test_what_waits_for_its_turn_waits_for_a_slow_client_too(self) -> None:
        gateway = Gateway()
        client, peer = gateway.begun()
        client.transport.stalled = True
        data = b"x" * 400
        peer.reply(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + (b"190\r\n%b\r\n" % data) * 600 + b"0\r\n\r\n")
        before = client.transport.written
        client.wait(1)
        self.assertEqual(client.transport.written, before)
        self.assertFalse(peer.transport.reading)
        client.transport.take()
        client.wait(1)
        self.assertEqual(client.response().body, data * 600)

    def test_head_and_first_bytes_leave_in_one_write(self) -> None:
        gateway = Gateway()
        client, peer = gateway.begun()
        peer.reply(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhe")
        self.assertEqual(len(client.transport.writes), 1)

    def test_a_paused_connection_reads_again_in_the_pool(self) -> None:
        for reply in (
            b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100_000,
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n186a0\r\n" + b"x" * 100_000 + b"\r\n0\r\n\r\n",
        ):
            gateway = Gateway()
            client, peer = gateway.begun()
            client.transport.stalled = True
            peer.reply(reply)
            self.assertEqual(gateway.idle, 1)
            self.assertTrue(peer.transport.reading)
            # the client's next request waits until the client has read this response
            client.get("/2")
            self.assertNotIn(b"/2", peer.request())
            client.transport.take()
            self.assertIn(b"/2", peer.request())

    def test_attack_22_slow_reader_frees_the_upstream(self) -> None:
        gateway = Gateway()
        client, peer = gateway.begun()
        client.transport.stalled = True
        peer.reply(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 100_000)
        client.wait(61)
        self.assertTrue(client.transport.aborted)
        self.assertTrue(peer.dropped)
        self.assertEqual([record.reason for record in client.records], ["client_too_slow"])


class TunnelTests(unittest.TestCase):
    SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n"

    def asked(self, *lines: str, **route: Any) -> tuple[Gateway, Client, Peer]:
        gateway = Gateway(**route)
        client, peer = gateway.begun("GET", "/", "Connection: Upgrade", "Upgrade: websocket", *lines)
        return gateway, client, peer

    def test_both_ways(self) -> None:
        gateway, client, peer = self.asked()
        self.assertTrue(peer.request().endswith(b"\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"))
        client.send(b"early")
        peer.reply(self.SWITCH + b"hello")
        response = client.response()
        self.assertEqual((response.status, response.body), (101, b"hello"))
        self.assertEqual((response.get(b"connection"), response.get(b"upgrade")), (b"upgrade", b"websocket"))
        self.assertEqual(response.get(b"sec-websocket-accept"), b"x")
        client.send(b" and late")
        self.assertEqual(peer.request(), b"early and late")
        client.wait(1000)
        self.assertFalse(client.transport.lost or peer.transport.lost)
        (opened,) = client.records
        self.assertEqual((opened.status, opened.reason, opened.sent, gateway.idle), (101, "tunnel_opened", 0, 0))

    def test_closed_by_the_upstream(self) -> None:
        _, client, peer = self.asked()
        peer.reply(self.SWITCH + b"bye")
        peer.transport.lose()
        self.assertTrue(client.closed)
        self.assertEqual(
            [(record.status, record.sent, record.reason) for record in client.records],
            [(101, 0, "tunnel_opened"), (101, 3, "")],
        )

    def test_reset_by_the_upstream(self) -> None:
        _, client, peer = self.asked()
        peer.reply(self.SWITCH)
        peer.transport.reset()
        self.assertEqual([record.reason for record in client.records], ["tunnel_opened", "upstream_aborted"])

    def test_closed_by_the_client(self) -> None:
        gateway, client, peer = self.asked()
        peer.reply(self.SWITCH)
        client.send(b"bye")
        client.transport.lose()
        self.assertTrue(peer.ended)
        self.assertFalse(peer.dropped)
        self.assertEqual([(record.status, record.received) for record in client.records], [(101, 0), (101, 3)])
        client.wait(1)
        self.assertEqual(gateway.pool.connections, [])

    def test_closed_by_the_client_while_the_upstream_takes_nothing(self) -> None:
        gateway, client, peer = self.asked()
        peer.reply(self.SWITCH)
        peer.transport.stalled = True
        client.send(b"bye")
        client.transport.lose()
        client.wait(11)
        self.assertTrue(peer.dropped)
        self.assertEqual(gateway.pool.connections, [])

    def test_refused_by_the_upstream(self) -> None:
        gateway, client, peer = self.asked()
        peer.reply(b"HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno")
        self.assertEqual(client.response().status, 403)
        self.assertFalse(client.closed)
        self.assertEqual(gateway.idle, 0)
        self.assertTrue(peer.ended)

    def test_offers_that_are_not_wanted_are_ignored_and_not_passed_on(self) -> None:
        settings = ("Connection: Upgrade, HTTP2-Settings", "HTTP2-Settings: AAMAAABkAAQ")
        for value in ("h2c", "H2C", "HTTP/2.0", "h2", "TLS/1.2", "h2c-14", "foo", "websockets", "", ",", "a b", "x/", "w" * 600):
            client, peer = Gateway().begun("GET", "/", *settings, f"Upgrade: {value}")
            request = peer.request()
            self.assertEqual(request.lower().count(b"upgrade"), 0, value)
            self.assertNotIn(b"Connection", request)
            self.assertNotIn(b"HTTP2-Settings", request)
            peer.reply(OK)
            self.assertEqual((client.response().status, client.closed), (200, False), value)

    def test_attack_57_a_protocol_that_the_route_does_not_list(self) -> None:
        for value in ("foo", "h2c-14", "h2c", "HTTP/2.0"):
            client, peer = Gateway(upgrades=frozenset((b"other",))).begun("GET", "/", "Connection: Upgrade", f"Upgrade: {value}")
            self.assertNotIn(b"pgrade", peer.request())
            peer.reply(self.SWITCH.replace(b"websocket", value.encode()))
            self.assertEqual(client.response().status, 502, value)
            self.assertTrue(peer.dropped)

    def test_of_several_offers_those_that_are_allowed_are_passed_on(self) -> None:
        upgrades = frozenset((b"websocket", b"spdy/3.1", b"tcp"))
        for offer, passed in (
            (("websocket, h2c",), b"websocket"),
            (("h2c,WebSocket",), b"WebSocket"),
            (("h2c", "websocket"), b"websocket"),
            (("SPDY/3.1, foo, , tcp/2",), b"SPDY/3.1, tcp/2"),
            (("spdy/3, SPDY, tcp",), b"tcp"),
            (("websocket/13",), b"websocket/13"),
        ):
            lines = (f"Upgrade: {value}" for value in offer)
            _, peer = Gateway(upgrades=upgrades).begun("GET", "/", "Connection: Upgrade", *lines)
            self.assertTrue(peer.request().endswith(b"\r\nConnection: upgrade\r\nUpgrade: %b\r\n\r\n" % passed), offer)

    def test_a_protocol_that_the_route_lists(self) -> None:
        gateway = Gateway(upgrades=frozenset((b"spdy/3.1",)))
        client, peer = gateway.begun("POST", "/", "Connection: Upgrade", "Upgrade: SPDY/3.1, h2c", "Content-Length: 0")
        peer.reply(self.SWITCH.replace(b"websocket", b"spdy/3.1") + b"hello")
        response = client.response()
        self.assertEqual((response.status, response.get(b"upgrade"), response.body), (101, b"spdy/3.1", b"hello"))

    def test_attack_57_a_tunnel_that_cannot_be_written_down(self) -> None:
        gateway, client, peer = self.asked()
        gateway.audit.failing = True
        peer.reply(self.SWITCH + b"hello")
        self.assertEqual(client.response().status, 503)
        self.assertTrue(peer.ended)
        self.assertEqual([record.reason for record in client.records], ["audit_unavailable"])
        client.wait(1)
        self.assertEqual((len(client.records), gateway.pool.connections), (1, []))

    def test_426_says_which_protocol_is_required(self) -> None:
        """RFC 9110, section 15.5.22: Upgrade MUST be there; Connection names it."""
        for lines, upgrade in (
            (b"Upgrade: foo/2, TLS/1.3\r\nConnection: Upgrade\r\n", b"foo/2, TLS/1.3"),
            (b"Upgrade: a\r\nupgrade: b\r\nConnection: upgrade, close\r\n", b"a, b"),
            (b"Upgrade: a\r\n", b"a"),
            (b"", None),
        ):
            client, peer = Gateway().begun()
            peer.reply(b"HTTP/1.1 426 Upgrade Required\r\n%bContent-Length: 2\r\n\r\nno" % lines)
            response = client.response()
            self.assertEqual((response.status, response.get(b"upgrade"), response.body), (426, upgrade, b"no"))
            self.assertEqual(response.get(b"connection"), None if upgrade is None else b"upgrade")
            self.assertFalse(client.closed)
        client, peer = Gateway().begun()
        peer.reply(b"HTTP/1.1 400 No\r\nUpgrade: a\r\nConnection: upgrade\r\nContent-Length: 2\r\n\r\nno")
        self.assertIsNone(client.response().get(b"upgrade"))

    def test_attack_20_upgrade_that_connection_does_not_name(self) -> None:
        _, peer = Gateway().begun("GET", "/", "Upgrade: h2c", "HTTP2-Settings: x")
        request = peer.request()
        for word in (b"pgrade", b"h2c", b"HTTP2"):
            self.assertNotIn(word, request)

    def test_attack_20_the_upstream_switches_to_something_else(self) -> None:
        for value in (b"h2c", b"websocket, h2c", b"other", b"", b"w" * 600):
            gateway, client, peer = self.asked()
            peer.reply(self.SWITCH.replace(b"Upgrade: websocket", b"Upgrade: " + value))
            self.assertEqual(client.response().status, 502, value)
            self.assertTrue(peer.dropped)
            self.assertEqual(gateway.idle, 0)

    def test_not_where_the_route_forbids_it(self) -> None:
        _, client, peer = self.asked(upgrades=frozenset())
        self.assertNotIn(b"pgrade", peer.request())
        peer.reply(self.SWITCH)
        self.assertEqual(client.response().status, 502)

    def test_not_with_a_body(self) -> None:
        gateway = Gateway()
        _, peer = gateway.begun("POST", "/", "Connection: Upgrade", "Upgrade: websocket", "Content-Length: 2", body=b"hi")
        self.assertNotIn(b"pgrade", peer.request())

    def test_back_pressure_both_ways(self) -> None:
        _, client, peer = self.asked()
        peer.reply(self.SWITCH)
        client.transport.stalled = True
        peer.reply(b"x" * 100_000)
        self.assertFalse(peer.transport.reading)
        client.transport.take()
        self.assertTrue(peer.transport.reading)
        peer.transport.stalled = True
        client.send(b"x" * 100_000)
        self.assertFalse(client.transport.reading)
        peer.transport.take()
        self.assertTrue(client.transport.reading)


class StrictAuditTests(unittest.TestCase):
    def test_response_that_cannot_be_written_down(self) -> None:
        for reply in (
            OK,
            b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
            b"HTTP/1.1 204 No\r\n\r\n",
        ):
            gateway = Gateway()
            client, peer = gateway.begun()
            gateway.audit.failing = True
            peer.reply(reply)
            responses = client.responses()
            self.assertFalse(any(response.whole for response in responses if response.status != 503))
            self.assertTrue(client.transport.aborted or [response.status for response in responses] == [503])
            self.assertEqual(len(client.records), 1)
            client.wait(1)
            self.assertLessEqual(len(gateway.pool.connections), gateway.idle)

    def test_records_are_written_before_the_last_byte(self) -> None:
        for pieces in (
            (OK,),
            (OK[:-1], OK[-1:]),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n", b"0\r\n\r\n"),
        ):
            gateway = Gateway()
            client, peer = gateway.begun()
            for piece in pieces:
                self.assertEqual(client.records, [])
                before = len(client.transport.written)
                peer.reply(piece)
            self.assertEqual(gateway.audit.written_before, [before])
            self.assertTrue(client.response().whole)
