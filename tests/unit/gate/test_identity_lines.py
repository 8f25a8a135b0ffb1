"""The identity headers for an upstream: nothing in a name can forge another header or role (attack 15)."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial import unittest

from perimeter.gate.identity_lines import IdentityLines, IdentityProfile, encode_value
from perimeter.http.grammar import split_fields
from perimeter.model import Principal

HEADERS = IdentityProfile()
ASSERTION = IdentityProfile(headers=False, audience="upstream:x")


class EncodeTests(unittest.TestCase):
    def test_attack_15_table(self) -> None:
        for text, encoded in (
            ("alice", b"alice"),
            ("a,admin", b"a%2Cadmin"),
            ("José", b"Jos%C3%A9"),
            ("x\r\nX-Auth-Roles: admin", b"x%0D%0AX-Auth-Roles: admin"),
            ("100%", b"100%25"),
            ("%2C", b"%252C"),
            ("CN=Al Ice", b"CN=Al Ice"),
            (" padded", b"%20padded"),
            ("padded ", b"padded%20"),
            ("tab\there", b"tab%09here"),
            ("\x00\x7f", b"%00%7F"),
            ("\u2028", b"%E2%80%A8"),
            ("o'neil@corp\\x", b"o'neil@corp\\x"),
            ("", b""),
            ("!~", b"!~"),
        ):
            self.assertEqual(encode_value(text), encoded)

    def test_attack_17_placeholders_are_literal(self) -> None:
        for text in ("{username}", "{env.X}", "$HOME"):
            self.assertEqual(encode_value(text), text.encode())
        self.assertEqual(encode_value("%(bindpw)s"), b"%25(bindpw)s")

    @given(st.text(max_size=20))
    @settings(max_examples=200, deadline=None)
    def test_decodes_to_itself_and_is_one_value(self, text: str) -> None:
        encoded = encode_value(text)
        self.assertEqual(unquote(encoded.decode("ascii")), text)
        self.assertEqual(split_fields(b"X: " + encoded + b"\r\n", 1), [(b"x", encoded)])
        self.assertNotIn(b",", encoded)


class LinesTests(unittest.TestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.signed: list[tuple[str, str, float]] = []

        def sign(principal: Principal, audience: str, lifetime: float) -> str:
            self.signed.append((principal.username, audience, lifetime))
            return f"signed{len(self.signed)}"

        self.lines = IdentityLines(sign, self.clock.seconds, 100)

    def test_headers(self) -> None:
        lines = self.lines.lines(HEADERS, Principal("alice", "local", ("admin", "a,b", "ops")))
        expected = b"X-Auth-Username: alice\r\nX-Auth-Realm: local\r\nX-Auth-Roles: admin,a%2Cb,ops\r\n"
        self.assertEqual(lines, expected)
        self.assertEqual(self.signed, [])

    def test_attack_11_no_roles_no_field(self) -> None:
        self.assertNotIn(b"Roles", self.lines.lines(HEADERS, Principal("alice", "local")))

    def test_names_of_the_fields(self) -> None:
        profile = IdentityProfile(username=b"CDAP-UserId", realm=b"X-R", roles=b"X-G")
        lines = self.lines.lines(profile, Principal("alice", "local", ("a",)))
        self.assertEqual(lines, b"CDAP-UserId: alice\r\nX-R: local\r\nX-G: a\r\n")

    def test_none(self) -> None:
        self.assertEqual(self.lines.lines(IdentityProfile(headers=False), Principal("alice", "local")), b"")

    def test_assertion_is_made_anew_when_half_its_life_is_over(self) -> None:
        alice = Principal("alice", "local")
        self.assertEqual(self.lines.lines(ASSERTION, alice), b"Authorization: Bearer signed1\r\n")
        self.clock.advance(149)
        self.assertEqual(self.lines.lines(ASSERTION, alice), b"Authorization: Bearer signed1\r\n")
        self.clock.advance(2)
        self.assertEqual(self.lines.lines(ASSERTION, alice), b"Authorization: Bearer signed2\r\n")
        self.assertEqual(self.signed[0], ("alice", "upstream:x", 300.0))

    def test_attack_33_no_user_gets_the_lines_of_another(self) -> None:
        """The lines differ for the same name in another realm, and for other roles, attributes, scopes and audiences."""
        people = [
            Principal("alice", "local"),
            Principal("alice", "corp"),
            Principal("alice", "local", ("a",)),
            Principal("alice", "local", ("a", "b")),
            Principal("alice", "local", ("a,b",)),
            Principal("alice", "local", attributes={"mail": "x"}),
            Principal("alice", "local", scopes={"x": ("y",)}),
        ]
        for profile in (ASSERTION, IdentityProfile(headers=False, audience="upstream:y")):
            self.assertEqual(len({self.lines.lines(profile, person) for person in people}), len(people))
        self.assertNotEqual(self.lines.lines(ASSERTION, people[0]), self.lines.lines(HEADERS, people[0]))

    def test_an_assertion_is_good_for_its_receiver_until_it_is_made_anew(self) -> None:
        alice = Principal("alice", "local")
        self.lines.lines(ASSERTION, alice)
        self.clock.advance(150)
        self.assertEqual(self.lines.lines(ASSERTION, alice), b"Authorization: Bearer signed2\r\n")

    def test_headers_are_remembered_for_an_equal_user(self) -> None:
        def alice(**more: Any) -> Principal:
            return Principal("alice", "local", ("a",), **more)

        first = self.lines.lines(HEADERS, alice(attributes={"mail": "x"}))
        self.clock.advance(10**9)
        self.assertIs(self.lines.lines(HEADERS, alice(attributes={"mail": "x"})), first)
        self.assertIsNot(self.lines.lines(HEADERS, alice(attributes={"mail": "y"})), first)
        self.assertEqual(self.lines.lines(ASSERTION, alice()), b"Authorization: Bearer signed1\r\n")
        self.assertEqual(self.lines.lines(ASSERTION, alice()), b"Authorization: Bearer signed1\r\n")

    def test_the_default_profile_sends_headers_and_no_assertion(self) -> None:
        self.assertEqual((IdentityProfile().headers, IdentityProfile().audience), (True, ""))

    def test_clear(self) -> None:
        alice = Principal("alice", "local")
        first = self.lines.lines(ASSERTION, alice)
        self.lines.clear()
        self.assertNotEqual(self.lines.lines(ASSERTION, alice), first)

    def test_attack_23_memory_is_bounded(self) -> None:
        for number in range(250):
            self.lines.lines(HEADERS, Principal(f"u{number}", "local"))
            self.assertEqual(len(self.lines._remembered), number % 100 + 1)
