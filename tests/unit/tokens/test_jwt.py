"""The envelope of a JWT: its form, its bounds, and the exact moments of its times."""

from __future__ import annotations

import json
from typing import Any

from twisted.trial.unittest import TestCase

from perimeter.errors import ExpiredToken, ForeignToken, InvalidToken
from perimeter.tokens.jwt import NotAJwt, check_times, parse
from tests.unit.doubles.tokens_site import b64


def segment(members: dict[str, Any]) -> str:
    return b64(json.dumps(members).encode())


class TimesTests(TestCase):
    def refused(self, claims: dict[str, Any], now: float, text: str, *, own: bool = False) -> None:
        error = self.assertRaises(InvalidToken, check_times, claims, now, own=own)
        self.assertNotIsInstance(error, ExpiredToken)
        self.assertIn(text, error.detail)

    def test_attack_36_the_expiry_is_exact(self) -> None:
        self.assertEqual(check_times({"exp": 100}, 99.75), 100.0)
        self.assertEqual(check_times({"exp": 100.5}, 100.25), 100.5)
        for now in (100.0, 100.25):
            self.assertRaises(ExpiredToken, check_times, {"exp": 100}, now)

    def test_clocks_may_differ_by_a_minute(self) -> None:
        for name in ("iat", "nbf"):
            self.assertEqual(check_times({"exp": 500, name: 160}, 100.0), 500.0)
            self.refused({"exp": 500, name: 160.25}, 100.0, f"{name} is in the future")
            self.refused({"exp": 500, name: "160"}, 100.0, f"{name} is absent or not a time")

    def test_the_future_is_reported_before_the_expiry(self) -> None:
        self.refused({"exp": 50, "iat": 200}, 100.0, "iat is in the future")

    def test_attack_35_what_is_a_time(self) -> None:
        self.assertRaises(ExpiredToken, check_times, {"exp": 0}, 0.0)
        self.assertEqual(check_times({"exp": 2**53 - 1}, 0.0), 2.0**53 - 1)
        for value in (2**53, -1, -0.5, True, None, "100", float("nan"), float("inf"), [100]):
            self.refused({"exp": value}, 0.0, "exp is absent or not a time")

    def test_own_tokens_have_whole_seconds_and_their_issue(self) -> None:
        self.assertEqual(check_times({"exp": 100, "iat": 50}, 60.0, own=True), 100.0)
        self.refused({"exp": 100}, 60.0, "iat is absent", own=True)
        self.refused({"exp": 100.5, "iat": 50}, 60.0, "exp is absent or not a time", own=True)
        self.refused({"exp": 100, "iat": 50.5}, 60.0, "iat is absent or not a time", own=True)


class ParseTests(TestCase):
    def test_header_and_unverified_claims(self) -> None:
        parsed = parse(".".join((segment({"alg": "x"}), segment({"iss": "i"}), "AAAA")), 100)
        self.assertEqual((parsed.header, parsed.unverified()), ({"alg": "x"}, {"iss": "i"}))

    def test_the_longest_header(self) -> None:
        head = segment({"alg": "x" * 20})
        self.assertEqual(parse(f"{head}.AAAA.AAAA", len(head)).header, {"alg": "x" * 20})
        error = self.assertRaises(ForeignToken, parse, f"{head}.AAAA.AAAA", len(head) - 1, ForeignToken)
        self.assertIn("header is longer", error.detail)

    def test_segments_of_each_length_without_padding(self) -> None:
        for filling in ("", "x", "xx", "xxx"):
            part = segment({"a": filling})
            parsed = parse(f"{part}.{part}.AAAA", 100)
            self.assertEqual((parsed.header, parsed.unverified()), ({"a": filling}, {"a": filling}))

    def test_claims_that_cannot_be_read(self) -> None:
        head = b64(b"{}")
        for payload in (b"[]", b"{", b'{"a":1,"a":2}', b"\xff"):
            self.assertRaises(NotAJwt, parse(f"{head}.{b64(payload)}.AAAA", 100).unverified)

    def test_neither_token_nor_claims_are_shown(self) -> None:
        token = ".".join((segment({}), segment({"sub": "alice"}), "c2lnbmVk"))
        shown = repr(parse(token, 100))
        for part in (token, token.split(".")[1], "c2lnbmVk"):
            self.assertNotIn(part, shown)
