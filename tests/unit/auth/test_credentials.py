"""Authorization and X-Auth-Realm values."""

from __future__ import annotations

import base64

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial import unittest

from perimeter.auth.credentials import MAX_AUTHORIZATION, MAX_REALMS, parse_authorization, parse_credentials, parse_realms
from perimeter.errors import CredentialsTooLarge, InvalidCredentialsRequest, Rejected
from perimeter.model import BasicCredentials, BearerCredentials
from tests.unit.doubles.properties import reached, reaches


def basic(pair: bytes) -> bytes:
    return b"Basic " + base64.b64encode(pair)


class AuthorizationTests(unittest.TestCase):
    def test_good_ones(self) -> None:
        for value, expected in (
            (b"Basic czZCaGRSa3F0MzpnWDFmQmF0M2JW", BasicCredentials("s6BhdRkqt3", "gX1fBat3bV")),
            (b"bASIC czZCaGRSa3F0MzpnWDFmQmF0M2JW", BasicCredentials("s6BhdRkqt3", "gX1fBat3bV")),
            (b"Basic   YTpi", BasicCredentials("a", "b")),
            (b"Basic YTpiYg", BasicCredentials("a", "bb")),  # no padding
            (basic(b"a:b:c"), BasicCredentials("a", "b:c")),
            (basic(b"a:"), BasicCredentials("a", "")),
            (basic(b":b"), BasicCredentials("", "b")),
            (basic("José:pässword".encode()), BasicCredentials("José", "pässword")),
            (basic("José:pässword".encode("iso-8859-1")), BasicCredentials("José", "pässword")),
            (b"Bearer 2YotnFZFEjr1zCsicMWpAA", BearerCredentials("2YotnFZFEjr1zCsicMWpAA")),
            (b"BEARER a.b-c_d~e+f/g==", BearerCredentials("a.b-c_d~e+f/g==")),
        ):
            self.assertEqual(parse_authorization([value]), expected, value)

    def test_nothing_usable_is_no_credential(self) -> None:
        for values in (
            [],
            [b""],
            [b"xxxxx"],
            [b"Bearer"],
            [b"Basic"],
            [b"Digest username=x"],
            [b"Negotiate YII="],
            [b" Basic YTpi"],
        ):
            self.assertIsNone(parse_authorization(values), values)

    def test_malformed_tokens_are_an_invalid_request(self) -> None:
        for value in (
            b"Bearer !!!",
            b"Bearer a b",
            b"Bearer a,b",
            b"Bearer =a",
            b"Bearer a=b",
            b"Bearer ",
            b"Bearer a\xff",
            b"Bearer a\n",
        ):
            with self.assertRaises(InvalidCredentialsRequest, msg=value):
                parse_authorization([value])

    def test_two_fields_are_an_invalid_request(self) -> None:
        with self.assertRaises(InvalidCredentialsRequest):
            parse_authorization([b"Basic YTpi", b"Basic YTpi"])

    def test_broken_basic_is_rejected(self) -> None:
        for value in (
            b"Basic !!!!",
            b"Basic YTpi!",
            b"Basic Y",
            b"Basic YT pi",
            b"Basic ",
            basic(b"no colon"),
            b"Basic \xff\xfe",
        ):
            with self.assertRaises(Rejected, msg=value):
                parse_authorization([value])

    def test_attack_42_log_injection_in_the_user_name(self) -> None:
        for name in ("a\n", "\x1b[2J", "a\x00", "a\x7f", "a\x85b", "a\u2028b", "a\tb"):
            with self.assertRaises(Rejected, msg=repr(name)):
                parse_authorization([basic(f"{name}:password".encode())])
        with self.assertRaises(Rejected):
            parse_authorization([basic(b"name:pass\x00word")])

    def test_attack_23_huge_authorization(self) -> None:
        for limit in (100, MAX_AUTHORIZATION):
            longest = b"Bearer " + b"a" * (limit - 7)
            self.assertEqual(parse_authorization([longest], limit), BearerCredentials("a" * (limit - 7)))
            for value in (longest + b"a", b"Basic YTpi, " + longest):
                with self.assertRaises(CredentialsTooLarge) as caught:
                    parse_credentials([value], limit)
                self.assertEqual(caught.exception.status, 431)
                self.assertIn(f"{len(value)} bytes, over [limits] max_authorization = {limit}", caught.exception.detail)

    def test_the_longest_value_has_sixteen_kib(self) -> None:
        longest = b"Bearer " + b"a" * (16 * 1024 - 7)
        self.assertEqual(parse_authorization([longest]), BearerCredentials("a" * (16 * 1024 - 7)))
        self.assertRaises(InvalidCredentialsRequest, parse_authorization, [longest + b"a"])
        listed = b"Bearer t1, Bearer " + b"a" * (16 * 1024 - 18)
        self.assertEqual(len(parse_credentials([listed])), 2)
        self.assertRaises(InvalidCredentialsRequest, parse_credentials, [listed + b"a"])

    def test_no_message_repeats_a_secret(self) -> None:
        for value in (b"Basic c2VjcmV0", b"Bearer secret!", b"Basic secret!"):
            with self.assertRaises((InvalidCredentialsRequest, Rejected)) as caught:
                parse_authorization([value])
            self.assertNotIn("c2VjcmV0", str(caught.exception))
            self.assertNotIn("secret", str(caught.exception))

    @reaches(2)
    @given(st.lists(st.binary(max_size=80), max_size=2))
    def test_any_value_ends_in_one_of_the_three_ways(self, values: list[bytes]) -> None:
        try:
            found = parse_authorization(values)
        except (InvalidCredentialsRequest, Rejected):
            return
        reached(self)
        self.assertIsInstance(found, BasicCredentials | BearerCredentials | None)

    @given(
        st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp"), exclude_characters=":")),
        st.text(st.characters(exclude_categories=("Cc", "Cs"))),
    )
    def test_what_a_client_encodes_is_what_is_read(self, username: str, password: str) -> None:
        found = parse_authorization([basic(f"{username}:{password}".encode())])
        self.assertEqual(found, BasicCredentials(username, password))


class SeveralTests(unittest.TestCase):
    def test_a_list_in_its_order(self) -> None:
        a, b = BasicCredentials("a", "b"), BearerCredentials("t1")
        for value, expected in (
            (b"Basic YTpi", (a,)),
            (b"Plain YTpi", (a,)),
            (b"Basic YTpi, Bearer t1", (a, b)),
            (b"Bearer t1,bASIC  YTpi", (b, a)),
            (b"Plain YTpi , Basic YTpi, Bearer t1", (a, b)),
            (b"Negotiate YII=, Bearer t1", (b,)),
            (b"Bearer t1, Bearer t2, Bearer t1, Bearer t3", (b, BearerCredentials("t2"), BearerCredentials("t3"))),
            (b'Digest username="a", realm="r"', ()),
            (b"xxxxx", ()),
        ):
            self.assertEqual(parse_credentials([value]), expected, value)
        self.assertEqual(parse_credentials([]), ())

    def test_anything_else_in_it_makes_it_invalid(self) -> None:
        for value in (
            b"Basic YTpi,",
            b"Basic YTpi, xxxxx",
            b"Bearer t1, Bearer",
            b"Bearer t1, Bearer a b",
            b"Bearer t1,, Bearer t2",
            b"Bearer 1, Bearer 2, Bearer 3, Bearer 4",
            b"Bearer t1, " + b"a" * MAX_AUTHORIZATION,
        ):
            with self.assertRaises(InvalidCredentialsRequest, msg=value):
                parse_credentials([value])
        with self.assertRaises(InvalidCredentialsRequest):
            parse_credentials([b"Bearer t1", b"Bearer t2"])
        with self.assertRaises(Rejected):
            parse_credentials([b"Bearer t1, Basic bm8gY29sb24"])

    @reaches(2)
    @given(st.lists(st.sampled_from([b"Basic", b"bearer", b"x", b" ", b",", b"YTpi", b"=", b'"', b"\t"]), max_size=12))
    def test_any_list_ends_in_one_of_the_ways(self, parts: list[bytes]) -> None:
        try:
            found = parse_credentials([b"".join(parts)])
        except (InvalidCredentialsRequest, Rejected):
            return
        reached(self)
        self.assertLessEqual(len(found), 3)


class RealmsTests(unittest.TestCase):
    def test_narrowing(self) -> None:
        self.assertEqual(parse_realms([]), frozenset())
        self.assertEqual(parse_realms([b"a"]), {"a"})
        self.assertEqual(len(parse_realms([b"1,2,3,4", b"5,6,7,8,8"])), 8)
        self.assertRaises(InvalidCredentialsRequest, parse_realms, [b"1,2,3,4", b"5,6,7,8,9"])
        self.assertEqual(parse_realms([b"a , b", b"c"]), {"a", "b", "c"})

    def test_an_empty_value_narrows_to_nothing_instead_of_everything(self) -> None:
        self.assertEqual(parse_realms([b""]), {""})

    def test_too_many(self) -> None:
        with self.assertRaises(InvalidCredentialsRequest):
            parse_realms([b",".join(b"%d" % number for number in range(MAX_REALMS + 1))])
