"""The check inside an API token."""

from __future__ import annotations

import hmac
import re
from base64 import urlsafe_b64encode
from hashlib import sha256

from twisted.trial.unittest import TestCase

from perimeter.errors import InvalidToken, UncheckedToken, UnknownToken
from perimeter.secrets_key import SecretsKey
from perimeter.tokens.check import Check, Judgement, TokenCheck, cookie_check, unknown

KEY = SecretsKey(b"k" * 32)
OLD = "perimeter_" + "A" * 43
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


class CheckTests(TestCase):
    """The check of a text by itself, such as the cookie of a session."""

    def test_its_form(self) -> None:
        check = cookie_check(KEY)
        text = check.make()
        self.assertRegex(text, r"\A[A-Za-z0-9_-]{43}\Z")
        self.assertIs(check.good(text.encode()), True)
        self.assertIs(cookie_check(KEY).good(text.encode()), True)
        self.assertEqual(len({check.make() for _ in range(100)}), 100)

    def test_what_is_not_good(self) -> None:
        check = cookie_check(KEY)
        text = check.make().encode()
        other = Check(KEY.derive_all(b"API token check")).make().encode()
        for wrong in (b"", b"A" * 43, text[:-1], text + b"A", b"x" + text, text[1:], other, text[:-1] + b"\xff"):
            self.assertIs(check.good(wrong), False, wrong)

    def test_what_stands_before_is_covered(self) -> None:
        check = Check((b"k" * 32,))
        text = check.make("front_").encode()
        self.assertIs(check.good(text), True)
        self.assertIs(check.good(text.removeprefix(b"front_")), False)

    def test_each_key_recognizes(self) -> None:
        old, both = Check((b"k" * 32,)), Check((b"n" * 32, b"k" * 32))
        self.assertIs(both.good(old.make().encode()), True)
        self.assertIs(old.good(both.make().encode()), False)


class TokenCheckTests(TestCase):
    def setUp(self) -> None:
        self.check = TokenCheck(KEY)
        self.text = self.check.make()

    def test_its_form(self) -> None:
        self.assertRegex(self.text, r"\Aperimeter_2_[A-Za-z0-9_-]{43}\Z")
        self.assertEqual(len({self.check.make() for _ in range(100)}), 100)
        mac = hmac.digest(KEY.derive(b"API token check"), self.text[:-6].encode(), sha256)
        self.assertEqual(self.text[-6:], urlsafe_b64encode(mac)[:6].decode())

    def test_every_character_is_random(self) -> None:
        made = [self.check.make() for _ in range(64)]
        for place in range(len("perimeter_2_"), len(self.text)):
            self.assertGreater(len({text[place] for text in made}), 16, place)

    def test_its_own_token(self) -> None:
        self.assertIs(self.check.judge(self.text), Judgement.GOOD)
        self.assertIs(TokenCheck(KEY).judge(self.text), Judgement.GOOD)

    def test_a_change_at_any_place_is_recognized(self) -> None:
        for place in range(len("perimeter_2_"), len(self.text)):
            other = ALPHABET[(ALPHABET.index(self.text[place]) + 1) % 64]
            self.assertIs(self.check.judge(self.text[:place] + other + self.text[place + 1 :]), Judgement.FORGED, place)

    def test_a_token_of_another_site(self) -> None:
        self.assertIs(self.check.judge(TokenCheck(SecretsKey(b"j" * 32)).make()), Judgement.FORGED)

    def test_while_the_key_is_replaced(self) -> None:
        old, new = b"k" * 32, b"n" * 32
        turned, both = TokenCheck(SecretsKey(new, old)), TokenCheck(SecretsKey(old, new))
        for maker in (self.check, turned, both):
            for judge in (turned, both):
                self.assertIs(judge.judge(maker.make()), Judgement.GOOD)
        self.assertIs(self.check.judge(both.make()), Judgement.GOOD, "the first key makes tokens")
        self.assertIs(self.check.judge(turned.make()), Judgement.FORGED)

    def test_a_token_from_before_the_check(self) -> None:
        for text in (OLD, "perimeter_2_" + "A" * 41, "perimeter_" + "_" * 43):
            self.assertIs(self.check.judge(text), Judgement.OLD, text)

    def test_what_has_another_form(self) -> None:
        body = self.text.removeprefix("perimeter_")
        for text in ("", "perimeter_", OLD[:-1], f"{OLD}A", f"{OLD}\n", f"{OLD[:-1]}.", self.text[:-1], f"{self.text}A", body):
            self.assertIs(self.check.judge(text), Judgement.FORGED, text)
        for text in (f"{self.text}\n", f" {self.text}", self.text.upper(), self.text[:-1] + "é", f"perimeter_3_{body[2:]}"):
            self.assertIs(self.check.judge(text), Judgement.FORGED, text)

    def test_the_refusal_says_whether_to_look(self) -> None:
        for text, kind in ((self.text, UnknownToken), (OLD, UncheckedToken), (f"{self.text}A", InvalidToken)):
            error = unknown(text, b"digest", self.check)
            self.assertIs(type(error), kind)
            self.assertEqual(getattr(error, "digest", b"digest"), b"digest")
            self.assertIsNone(re.search("A{20}", str(error)))
        self.assertIs(type(unknown("x", b"digest", None)), UnknownToken)
