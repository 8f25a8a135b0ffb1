"""The rules for a new API token. How ``POST /tokens`` uses them is tested with the endpoints."""

from __future__ import annotations

from ipaddress import ip_network

from twisted.trial.unittest import TestCase

from perimeter.model import Restriction
from perimeter.web.token_request import TokenRequest, Unfit, members_of, token_request

ROUTES = frozenset(("a", "b c"))


class RequestTests(TestCase):
    def test_what_is_asked_for(self) -> None:
        self.assertEqual(token_request({"name": " n "}, ROUTES), TokenRequest("n", None, None))
        found = token_request(
            {"name": "n" * 100, "expires_in": 2**32 - 1, "routes": ["a"], "methods": ["get"], "networks": ["::1"]}, ROUTES
        )
        restriction = Restriction(frozenset("a"), frozenset(("GET",)), (ip_network("::1"),))
        self.assertEqual(found, TokenRequest("n" * 100, 2**32 - 1, restriction))

    def test_what_is_wrong_is_named(self) -> None:
        for member, value in (
            ("name", ""),
            ("name", "n" * 101),
            ("name", "a\nb"),
            ("name", 1),
            ("expires_in", 2**32),
            ("expires_in", -1),
            ("expires_in", True),
            ("expires_in", "1"),
            ("routes", []),
            ("routes", ["a"] * 101),
            ("routes", "a"),
            ("routes", [1]),
            ("routes", ["A"]),
            ("methods", ["G T"]),
            ("networks", ["fe80::1%eth0"]),
            ("networks", ["10.0.0.1/8"]),
        ):
            error = self.assertRaises(Unfit, token_request, {"name": "n", member: value}, ROUTES)
            self.assertEqual(error.member, member)
            self.assertEqual(str(error), f"{member}: {error.needed}")


class FormTests(TestCase):
    def test_fields(self) -> None:
        fields = {
            "name": ["x", "n"],
            "expires_in": ["0"],
            "routes": ["a", "b c", ""],
            "methods": ["GET", " head,PUT "],
            "networks": ["::1\r\n10.0.0.0/8"],
        }
        expected = {
            "name": "n",
            "expires_in": 0,
            "routes": ["a", "b c"],
            "methods": ["GET", "head", "PUT"],
            "networks": ["::1", "10.0.0.0/8"],
        }
        self.assertEqual(members_of(fields), expected)

    def test_fields_without_text_are_left_out(self) -> None:
        self.assertEqual(members_of({}), {"name": ""})
        self.assertEqual(members_of({"expires_in": [""], "routes": [""], "methods": [" "], "networks": ["\n"]}), {"name": ""})

    def test_text_without_a_term_restricts_to_nothing_and_is_refused(self) -> None:
        members = members_of({"name": ["n"], "networks": [" , "]})
        self.assertEqual(members["networks"], [])
        self.assertRaises(Unfit, token_request, members, ROUTES)

    def test_a_number_that_is_none(self) -> None:
        for text in ("1.0", "-1", "+1", "1e3", "\u0661", "12345678901", "x"):
            self.assertEqual(members_of({"expires_in": [text]})["expires_in"], text)
