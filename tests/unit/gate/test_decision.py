"""Decisions, and a user who was found after the decision."""

from __future__ import annotations

from twisted.trial.unittest import TestCase

from perimeter.gate.decision import Admitted, recognise
from perimeter.model import Principal
from tests.unit.gate.test_routes import route


class RecogniseTests(TestCase):
    def test_only_the_user_changes(self) -> None:
        where = route("open")
        before = Admitted(where, None, b"/x", b"X: y\r\n", "192.0.2.1", ("192.0.2.1", "10.0.0.1"))
        alice = Principal("alice", "local")
        after = recognise(before, alice)
        self.assertIsNone(before.principal)
        self.assertIs(after.principal, alice)
        self.assertIs(after.route, where)
        self.assertEqual(
            (after.target, after.identity, after.address, after.relayed),
            (b"/x", b"X: y\r\n", "192.0.2.1", ("192.0.2.1", "10.0.0.1")),
        )
