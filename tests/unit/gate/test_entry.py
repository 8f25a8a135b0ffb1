"""Rules that count requests before the client is identified."""

from __future__ import annotations

from typing import Any

from perimeter.gate.entry import EntryRule, within_rate
from perimeter.limits.memory import LimitMemory
from perimeter.limits.rates import RateLimit
from tests.unit.gate.test_gate import GateTestCase


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
