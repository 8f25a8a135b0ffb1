"""What is sealed under a cookie: only the same cookie opens it."""

from __future__ import annotations

from twisted.trial.unittest import TestCase

from perimeter.sessions.sealing import Unsealable, key_of, seal, seal_under, unseal, unseal_under


class SealingTests(TestCase):
    def test_the_cookie_opens_it(self) -> None:
        sealed = seal(b"c" * 43, b"a secret")
        self.assertEqual(unseal(b"c" * 43, sealed), b"a secret")
        self.assertNotIn(b"a secret", sealed)
        self.assertNotEqual(sealed, seal(b"c" * 43, b"a secret"))

    def test_nothing_else_opens_it(self) -> None:
        sealed = seal(b"c" * 43, b"a secret")
        changed = sealed[:-1] + bytes([sealed[-1] ^ 1])
        for cookie, text in ((b"d" * 43, sealed), (b"c" * 43, changed), (b"c" * 43, b""), (b"c" * 43, sealed[:5])):
            with self.assertRaises(Unsealable):
                unseal(cookie, text)

    def test_a_key_of_the_cookie_opens_it_too(self) -> None:
        key = key_of(b"c" * 43)
        self.assertEqual(len(key), 32)
        self.assertEqual(unseal_under(key, seal(b"c" * 43, b"a secret")), b"a secret")
        self.assertEqual(unseal(b"c" * 43, seal_under(key, b"a secret")), b"a secret")
        with self.assertRaises(Unsealable):
            unseal_under(key_of(b"d" * 43), seal_under(key, b"a secret"))
