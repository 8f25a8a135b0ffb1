from __future__ import annotations

import re
from io import StringIO
from typing import Any

from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial import unittest

from perimeter.web.sample import sample_site
from tests.unit.doubles.exchange_rig import Reply


class SampleTestCase(unittest.TestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.site = sample_site(self.clock)
        self.transport = StringTransport()
        self.protocol: Any = self.site.buildProtocol(None)
        self.protocol.makeConnection(self.transport)

    def ask(self, line: str, *headers: str, body: bytes = b"") -> Reply:
        self.transport.clear()
        head = "\r\n".join([f"{line} HTTP/1.1", "Host: service", *headers, "", ""])
        self.protocol.dataReceived(head.encode("utf-8") + body)
        return Reply(self.transport.value())


class SampleTests(SampleTestCase):
    def test_the_request_is_reported_back(self) -> None:
        reply = self.ask("GET /a%20b?x=1", "X-Auth-Username: alice", "X-Auth-Roles: admin", "X-Two: 1", "X-Two: 2")
        told = reply.json()
        self.assertEqual(reply.get("content-type"), "application/json")
        self.assertEqual((told["method"], told["path"], told["query"]), ("GET", "/a%20b", "x=1"))
        headers = {name.lower(): value for name, value in told["headers"].items()}
        self.assertEqual((headers["x-auth-username"], headers["x-auth-roles"], headers["x-two"]), ("alice", "admin", ["1", "2"]))
        self.assertEqual(told["body"], {"size": 0})

    def test_every_method_answers(self) -> None:
        for method in ("PUT", "DELETE", "OPTIONS", "PROPFIND"):
            self.assertEqual(self.ask(f"{method} /").json()["method"], method)

    def test_a_body_is_counted_and_not_kept(self) -> None:
        size = 1_000_000
        reply = self.ask("POST /", f"Content-Length: {size}", "Content-Type: application/x-www-form-urlencoded", body=b"a" * size)
        self.assertEqual(reply.json()["body"], {"size": size})

    def test_head(self) -> None:
        reply = self.ask("HEAD /")
        self.assertEqual((reply.status, reply.body), (200, b""))

    def test_a_browser_gets_a_page(self) -> None:
        reply = self.ask("GET /x", "Accept: text/html,*/*;q=0.8", "X-Auth-Username: alice")
        self.assertEqual(reply.get("content-type"), "text/html; charset=utf-8")
        self.assertIn("default-src 'none'", reply.get("content-security-policy") or "")
        marked = re.findall(rb'<tr class="marked">(.*?)</tr>', reply.body)
        self.assertEqual(marked, [b'<th scope="row">X-Auth-Username</th><td><code>alice</code></td>'])

    def test_attack_26_markup_is_escaped(self) -> None:
        evil = "<svg onload=alert(1)>"
        reply = self.ask(
            f"GET /{evil.replace(' ', '')}?{evil.replace(' ', '')}",
            "Accept: text/html",
            f"X-Auth-Username: {evil}",
            f"X-{evil[1:4]}: '\"",
        )
        self.assertNotIn(b"<svg", reply.body)
        self.assertIn(b"&lt;svg", reply.body)

    def test_text_beyond_ascii(self) -> None:
        self.assertEqual(self.ask("GET /", "X-Name: José").json()["headers"]["X-Name"], "José")

    def test_attack_42_nothing_is_logged_of_a_request(self) -> None:
        log = StringIO()
        self.site.logFile = log  # type: ignore[assignment]
        self.assertEqual(self.ask("GET /?access_token=secret").status, 200)
        self.assertEqual(log.getvalue(), "")


class EventTests(SampleTestCase):
    def test_one_a_second(self) -> None:
        reply = self.ask("GET /events")
        self.assertEqual((reply.get("content-type"), reply.body), ("text/event-stream", b'id: 1\ndata: {"tick":1}\n\n'))
        self.clock.advance(1)
        self.assertIn(b'id: 2\ndata: {"tick":2}\n\n', Reply(self.transport.value()).body)

    def test_silent_while_the_reader_is_behind(self) -> None:
        self.ask("GET /v1/events")
        self.protocol._channel.pauseProducing()
        before = self.transport.value()
        self.clock.pump([1] * 5)
        self.assertEqual(self.transport.value(), before)
        self.protocol._channel.resumeProducing()
        self.assertGreater(len(self.transport.value()), len(before))

    def test_it_ends_with_the_reader(self) -> None:
        from twisted.internet.error import ConnectionDone
        from twisted.python.failure import Failure

        self.ask("GET /events")
        self.protocol.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(self.clock.getDelayedCalls(), [])
