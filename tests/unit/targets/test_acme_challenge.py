from __future__ import annotations

from twisted.trial import unittest
from zope.interface.verify import verifyObject

from perimeter.gate.target import ITarget
from perimeter.targets.acme_challenge import ChallengeTarget
from tests.unit.doubles.exchange_rig import Rig

TARGET = b"/.well-known/acme-challenge/token"


class ChallengeTests(unittest.TestCase):
    def rig(self, target: bytes) -> Rig:
        rig = Rig("GET / HTTP/1.1", decided=False)
        rig.exchange.head.target = target
        ChallengeTarget({TARGET: b"token.thumb"}).handle(rig.exchange)
        return rig

    def test_is_a_target(self) -> None:
        self.assertTrue(verifyObject(ITarget, ChallengeTarget({})))

    def test_pending_challenge(self) -> None:
        reply = self.rig(TARGET).reply
        self.assertEqual((reply.status, reply.body, reply.get("cache-control")), (200, b"token.thumb", "no-store"))
        self.assertEqual(reply.get("content-type"), "application/octet-stream")

    def test_challenge_that_is_over(self) -> None:
        self.assertEqual(self.rig(TARGET + b"x").reply.status, 404)
