"""What is sealed under a cookie: only the same cookie opens it."""

from __future__ import annotations

from twisted.trial.unittest import TestCase

from perimeter.sessions.sealing import Unsealable, seal, unseal


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
