"""The connections of a listener: what ends them, and what ends the exchanges on them."""

from __future__ import annotations

import attrs
from twisted.trial import unittest

from perimeter.gate.decision import Admitted
from perimeter.http.connections import withdraw_unless
from perimeter.model import Grant, GrantKind, Principal
from tests.unit.doubles.http_rig import Client, Holding, Site


class ConnectionsTests(unittest.TestCase):
    def setUp(self) -> None:
        self.target = Holding()
        self.site = Site(self.target)
        self.clients = [Client(self.site) for _ in range(3)]

    def test_how_many_exchanges_are_under_way(self) -> None:
        self.assertEqual(self.site.connections.in_flight(), 0)
        for client in self.clients[:2]:
            client.get()
        self.assertEqual(self.site.connections.in_flight(), 2)
        self.assertEqual(set(self.site.connections.exchanges()), set(self.target.exchanges))

    def test_all_are_shut_down(self) -> None:
        self.clients[0].get()
        self.site.connections.shut_down()
        self.assertEqual([client.closed for client in self.clients], [False, True, True])

    def test_attack_21_all_exchanges_of_a_principal_end(self) -> None:
        """Those of other users, of anonymous users and of built-in endpoints go on."""
        alice, bob = Principal("alice", "R"), Principal("bob", "R")
        clients = [Client(self.site) for _ in range(6)]
        for client in clients:
            client.get()
        builtin = attrs.evolve(self.site.route, builtin=True)
        for exchange, principal in zip(self.target.exchanges, (alice, None, alice, bob, alice, alice), strict=True):
            exchange.decision = Admitted(self.site.route, principal, b"/", b"", "192.0.2.7")
        self.target.exchanges[0].decision = Admitted(builtin, alice, b"/", b"", "192.0.2.7")
        self.target.exchanges[2].decision = None
        withdraw_unless(lambda principal, _: principal is not alice, self.target.exchanges)
        self.assertEqual([exchange.ended for exchange in self.target.exchanges], [False, False, False, False, True, True])

    def test_attack_21_a_lasting_answer_of_the_gateways_own_ends_too(self) -> None:
        client = Client(self.site)
        client.get()
        stream = attrs.evolve(self.site.route, builtin=True, lasting=True)
        (exchange,) = self.target.exchanges
        exchange.decision = Admitted(stream, Principal("alice", "R"), b"/", b"", "192.0.2.7")
        withdraw_unless(lambda principal, _: False, self.target.exchanges)
        self.assertTrue(exchange.ended)

    def test_attack_21_why_it_ends(self) -> None:
        for kind, reason in (
            (GrantKind.SESSION, "session_expired"),
            (GrantKind.API_TOKEN, "revoked"),
            (GrantKind.ACCESS_TOKEN, "revoked"),
            (None, "revoked"),
        ):
            client = Client(self.site)
            client.get()
            exchange = self.target.exchanges[-1]
            grant = None if kind is None else Grant("7", 0.0, 9.0, kind)
            alice = Principal("alice", "R", grant=grant)
            exchange.decision = Admitted(self.site.route, alice, b"/", b"", "192.0.2.7")
            withdraw_unless(lambda principal, _: False, [exchange])
            self.assertEqual(client.records[-1].reason, reason)
