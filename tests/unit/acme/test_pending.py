from __future__ import annotations

import hashlib

from cryptography import x509
from twisted.trial import unittest

from perimeter.acme.pending import Pending, Proof, challenge_identity

HTTP = Proof("http-01", "gw.example.com", "tok", "tok.thumb")
ALPN = Proof("tls-alpn-01", "gw.example.com", "tok", "tok.thumb")


class PendingTests(unittest.TestCase):
    def test_proofs_replace_the_earlier_ones_in_the_same_objects(self) -> None:
        pending = Pending()
        bodies, identities = pending.bodies, pending.identities
        pending.replace([HTTP])
        self.assertEqual((bodies, identities), ({b"/.well-known/acme-challenge/tok": b"tok.thumb"}, {}))
        pending.replace([ALPN])
        self.assertEqual((bodies, list(identities)), ({}, ["gw.example.com"]))
        pending.replace([])
        self.assertEqual((bodies, identities), ({}, {}))
        self.assertIs(pending.bodies, bodies)
        self.assertIs(pending.identities, identities)

    def test_certificate_of_a_challenge(self) -> None:
        identity = challenge_identity("gw.example.com", "tok.thumb")
        (certificate,) = identity.chain
        self.assertEqual(identity.names, ("gw.example.com",))
        self.assertEqual(certificate.public_key(), identity.key.public_key())
        found = certificate.extensions.get_extension_for_oid(x509.ObjectIdentifier("1.3.6.1.5.5.7.1.31"))
        self.assertTrue(found.critical)
        self.assertEqual(found.value.public_bytes(), b"\x04\x20" + hashlib.sha256(b"tok.thumb").digest())
