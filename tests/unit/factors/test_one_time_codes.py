"""Recovery codes and the operator's codes: their form, and how people type them."""

from __future__ import annotations

from hashlib import sha256

from twisted.trial.unittest import TestCase

from perimeter.factors.one_time_codes import digest_of, new_code


class OneTimeCodeTests(TestCase):
    def test_a_code_has_eighty_bits_in_groups(self) -> None:
        codes = {new_code() for _ in range(100)}
        self.assertEqual(len(codes), 100)
        for code in codes:
            self.assertRegex(code, r"\A[a-z2-7]{4}(-[a-z2-7]{4}){3}\Z")

    def test_as_people_type_it(self) -> None:
        digest = sha256(b"abcdefgh23456722").digest()
        for text in ("abcd-efgh-2345-6722", "ABCD EFGH 2345 6722", "abcdefgh23456722", " abcd-EFGH-2345 - 6722\n"):
            self.assertEqual(digest_of(text), digest)

    def test_what_is_no_code(self) -> None:
        for text in ("", "287082", "abcd-efgh-2345-672", "abcd-efgh-2345-67222", "abcd-efgh-2345-6721", "abcd-efgh-2345-672é"):
            self.assertIsNone(digest_of(text))
