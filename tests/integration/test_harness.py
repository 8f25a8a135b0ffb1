"""Tests of the tools that the other tests use: a wrong tool would make those tests worthless."""

from __future__ import annotations

import json

from tests.integration.harness import GatewayCase
from tests.integration.upstreams import Connection
from tests.integration.wire import Wire


class HarnessTests(GatewayCase):
    def wire(self, port: int) -> Wire:
        wire = Wire(port)
        self.addCleanup(wire.close)
        return wire

    def test_requests_are_recorded_as_they_came(self) -> None:
        upstream = self.upstream()
        wire = self.wire(upstream.port)
        request = b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nT: 1\r\n\r\n"
        wire.dribble(request)
        self.assertEqual(wire.response().body, b"ok")
        received = upstream.next()
        self.assertEqual((received.line, received.body), ("POST /a HTTP/1.1", b"abc"))
        self.assertEqual(received.raw_body, b"3\r\nabc\r\n0\r\nT: 1\r\n\r\n")
        self.assertEqual(wire.get("/b", "X-Y: z").status, 200)
        self.assertEqual(upstream.next().get("x-y"), "z")
        self.assertEqual(upstream.connections, 1)
        self.assertTrue(upstream.raw[0].startswith(request))

    def test_responses_are_taken_apart(self) -> None:
        def script(connection: Connection) -> None:
            connection.request()
            connection.send(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 Not Here\r\nSet-Cookie: a\r\nset-cookie: b\r\n")
            connection.send(b"Transfer-Encoding: chunked\r\n\r\n2;x=y\r\nhi\r\n0\r\nT: 1\r\n\r\n")
            connection.request()
            connection.send(b"HTTP/1.0 200 OK\r\n\r\nuntil the end")

        wire = self.wire(self.upstream(script).port)
        response = wire.get("/")
        self.assertEqual((response.status, response.reason, response.body), (404, "Not Here", b"hi"))
        self.assertEqual((response.interim, response.trailers), ((100,), (("t", "1"),)))
        self.assertEqual(response.get_all("Set-Cookie"), ["a", "b"])
        self.assertRaises(AssertionError, response.get, "Set-Cookie")
        self.assertEqual(wire.get("/").body, b"until the end")
        self.assertTrue(wire.closed())

    def test_failing_script_fails_the_test(self) -> None:
        def script(connection: Connection) -> None:
            connection.request()
            raise ValueError("no")

        upstream = self.upstream(script)
        self.assertRaises(EOFError, self.wire(upstream.port).get, "/")
        self.assertRaises(AssertionError, upstream.close)
        upstream._failures.clear()

    def test_nginx(self) -> None:
        nginx = self.nginx({"a/b.txt": b"hello"}, "location = /gone { return 410; }")
        wire = self.wire(nginx.port)
        self.assertEqual(wire.get("/a/b.txt").body, b"hello")
        self.assertEqual(wire.get("/gone").status, 410)

    def test_echo(self) -> None:
        wire = self.wire(self.echo().port)
        answer = json.loads(wire.get("/x?y", "X-A: b", method="PUT", body=b"abc").body)
        self.assertEqual((answer["method"], answer["uri"], answer["length"]), ("PUT", "/x?y", 3))
        self.assertIn(["x-a", "b"], answer["headers"])
