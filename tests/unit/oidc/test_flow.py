"""The secrets of one sign-in."""

from __future__ import annotations

import base64
import hashlib
import hmac

from twisted.trial.unittest import TestCase

from perimeter.oidc.flow import challenge, flow_secrets


class FlowTests(TestCase):
    def test_three_secrets_of_one_cookie(self) -> None:
        found = flow_secrets(b"c" * 43)
        made = (found.state, found.nonce, found.verifier)
        self.assertEqual(len(set(made)), 3)
        for one in made:
            self.assertRegex(one, r"\A[A-Za-z0-9_-]{43}\Z")
            self.assertNotIn(one, repr(found))
        self.assertEqual(found, flow_secrets(b"c" * 43))
        self.assertTrue(set(made).isdisjoint({(other := flow_secrets(b"d" * 43)).state, other.nonce, other.verifier}))

    def test_they_stay_the_same_from_one_version_to_the_next(self) -> None:
        """A sign-in that has begun before an upgrade ends after it."""
        found = flow_secrets(b"0" * 32)
        prk = hmac.new(bytes(32), b"0" * 32, hashlib.sha256).digest()
        for name, label in (("state", b"state"), ("nonce", b"nonce"), ("verifier", b"verifier")):
            info = b"perimeter flow " + label + b" 1"
            okm = hmac.new(prk, info + b"\x01", hashlib.sha256).digest()
            self.assertEqual(getattr(found, name), base64.urlsafe_b64encode(okm).rstrip(b"=").decode())

    def test_rfc_7636_example(self) -> None:
        self.assertEqual(challenge("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM")
