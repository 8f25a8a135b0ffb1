"""Rules that count requests before the client is identified."""

from __future__ import annotations

from typing import Any

from twisted.trial import unittest

from perimeter.gate.entry import EntryRule, over_tls, within_rate
from perimeter.gate.review import Again
from perimeter.http.grammar import parse_block, parse_request
from perimeter.limits.memory import LimitMemory
from perimeter.limits.rates import RateLimit
from perimeter.model import ClientConnection
from tests.unit.gate.test_gate import GateTestCase


class OverTlsTests(unittest.TestCase):
    """Strict-Transport-Security on every response of a route."""

    def lines(
        self, *fields: str, tls: str = "", listener: str = "https", address: str = "192.0.2.7", asked: bool = False
    ) -> bytes:
        block = "".join(f"{field}\r\n" for field in ("Host: gw", *fields)).encode()
        head = parse_request(b"GET / HTTP/1.1", parse_block(block, 10))
        exchange = Again(ClientConnection("192.0.2.7", 1, listener, 2, tls), head, 0.0)
        question = parse_request(b"GET /x HTTP/1.1", parse_block(block, 10))
        self.assertIsNone(over_tls({"short": 60, "off": 0})(exchange, question if asked else head, address))
        return exchange.answer_lines

    def test_over_tls_alone(self) -> None:
        usual = b"Strict-Transport-Security: max-age=31536000\r\n"
        self.assertEqual(self.lines(tls="TLSv1.3"), usual)
        self.assertEqual(self.lines(), b"")
        self.assertEqual(self.lines(tls="TLSv1.3", listener="short"), b"Strict-Transport-Security: max-age=60\r\n")
        self.assertEqual(self.lines(tls="TLSv1.3", listener="off"), b"")
        self.assertEqual(self.lines(tls="TLSv1.3", asked=True), b"")

    def test_behind_a_trusted_proxy(self) -> None:
        """Its word counts, and no client's."""
        https, http, odd = "X-Forwarded-Proto: https", "X-Forwarded-Proto: http", "X-Forwarded-Proto: ftp"
        client = "198.51.100.1"
        for field, tls, address, sent in (
            (https, "", client, True),
            (https, "", "192.0.2.7", False),
            (http, "TLSv1.3", client, False),
            (http, "TLSv1.3", "192.0.2.7", True),
            (odd, "TLSv1.3", client, True),
            (odd, "", client, False),
            ("X: y", "TLSv1.3", client, True),
            ("X: y", "", client, False),
        ):
            self.assertEqual(bool(self.lines(field, tls=tls, address=address)), sent, (field, tls, address))


class WithinRateTests(GateTestCase):
    def rule(self, *, by_address: bool, burst: int = 2) -> EntryRule:
        memory = LimitMemory.private()
        memory.buckets._clock = lambda: 10**12
        limit = RateLimit(
            memory.buckets,
            memory.secret,
            place="rate",
            name="1/h per address",
            amount=1,
            seconds=3600,
            burst=burst,
            count=lambda: self.counted.append("rate"),
        )
        return within_rate(limit, by_address=by_address)

    def setUp(self) -> None:
        super().setUp()
        self.counted: list[str] = []

    def statuses(self, gate: Any, *peers: str) -> list[int]:
        found = []
        for peer in peers:
            before = len(self.target.exchanges)
            client = self.ask("GET /r", gate=gate, peer=peer)
            found.append(200 if len(self.target.exchanges) > before else client.response().status)
        return found

    def test_each_address_has_a_rate(self) -> None:
        gate = self.gate(self.route("r", "/r", counting=(self.rule(by_address=True),), access=self.open.access))
        peers = ("192.0.2.1", "192.0.2.1", "192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8:1::1")
        self.assertEqual(self.statuses(gate, *peers), [200, 200, 429, 200, 200, 200, 429, 200])
        self.assertEqual(self.counted, ["rate", "rate"])

    def test_a_response_says_what_is_left(self) -> None:
        gate = self.gate(self.route("r", "/r", counting=(self.rule(by_address=True),), access=self.open.access))
        client = self.ask("GET /r", gate=gate)
        self.target.exchanges[-1].answer(200, b"", b"")
        self.assertEqual(client.response().get(b"ratelimit"), b'"1/h per address";r=1;t=3600')
        self.assertEqual(client.response().get(b"ratelimit-policy"), b'"1/h per address";q=2;w=7200')

    def test_all_clients_of_a_route_have_one(self) -> None:
        gate = self.gate(self.route("r", "/r", counting=(self.rule(by_address=False),), access=self.open.access))
        self.assertEqual(self.statuses(gate, "192.0.2.1", "192.0.2.2", "192.0.2.3"), [200, 200, 429])

    def test_attack_139_a_flood_does_not_reach_the_authenticators(self) -> None:
        gate = self.gate(self.route("r", "/r", counting=(self.rule(by_address=True),)))
        for _ in range(20):
            self.ask("GET /r", "Authorization: Bearer x", gate=gate)
        self.assertEqual(len(self.identifier.asked), 2)
        self.assertEqual(self.site.audit.records[-1].reason, "rate_exceeded")
        self.assertEqual(self.site.audit.records[-1].route, "r")

    def test_a_request_that_the_route_refuses_anyway_is_not_counted(self) -> None:
        gate = self.gate(self.route("r", "/r", max_body=5, counting=(self.rule(by_address=True),), access=self.open.access))
        for _ in range(5):
            self.ask("POST /r", "Content-Length: 6", gate=gate)
        self.assertEqual(self.statuses(gate, "192.0.2.7", "192.0.2.7", "192.0.2.7"), [200, 200, 429])

    def test_a_gate_that_counts_nothing(self) -> None:
        gate = self.gate(self.route("r", "/r", counting=(self.rule(by_address=True),), access=self.open.access), self.closed)
        again = gate.uncounted()
        self.assertEqual(self.statuses(again, *["192.0.2.1"] * 5), [200] * 5)
        self.assertEqual(self.statuses(gate, *["192.0.2.1"] * 3), [200, 200, 429])
        self.assertIs(again.uncounted(), again)
        self.assertIs(again.identifier, gate.identifier)
        self.assertEqual([len(route.entry) for route in gate.routes._routes], [1, 0])
