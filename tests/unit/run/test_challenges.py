from __future__ import annotations

from typing import Any

from twisted.trial import unittest

from perimeter.run.build.challenges import ChallengeGate

TARGET = b"/.well-known/acme-challenge/token"


class Gate:
    def __init__(self) -> None:
        self.seen: list[Any] = []

    def dispatch(self, exchange: Any) -> None:
        self.seen.append(exchange)


class Exchange:
    def __init__(self, target: bytes) -> None:
        self.head = self
        self.target = target


class ChallengeGateTests(unittest.TestCase):
    def setUp(self) -> None:
        self.gate, self.routes = Gate(), Gate()
        self.bodies = {TARGET: b"token.thumb"}
        challenges = ChallengeGate(self.gate, self.bodies, frozenset(["http"]))  # type: ignore[arg-type]
        self.dispatch = challenges.before("http", self.routes.dispatch)
        self.elsewhere = challenges.before("metrics", self.routes.dispatch)

    def test_pending_challenge(self) -> None:
        exchange: Any = Exchange(TARGET)
        self.dispatch(exchange)
        self.assertEqual((self.gate.seen, self.routes.seen), ([exchange], []))

    def test_attack_145_everything_else_is_judged_by_its_route(self) -> None:
        for target in (
            b"/",
            b"/.well-known/acme-challenge/",
            b"/.well-known/acme-challenge/other",
            TARGET + b"?",
            TARGET + b"/",
            TARGET + b"/..",
            TARGET + b"/../../secret",
            b"//.well-known/acme-challenge/token",
            b"/x/.." + TARGET,
            b"/.well-known/acme-challenge/%74oken",
            b"http://gw.example" + TARGET,
            TARGET.upper(),
        ):
            exchange: Any = Exchange(target)
            self.dispatch(exchange)
            self.assertEqual(self.routes.seen.pop(), exchange, target)
        self.bodies.clear()
        over: Any = Exchange(TARGET)
        self.dispatch(over)
        self.assertEqual((self.gate.seen, self.routes.seen), ([], [over]))

    def test_listener_that_no_ca_asks(self) -> None:
        self.assertEqual(self.elsewhere, self.routes.dispatch)
