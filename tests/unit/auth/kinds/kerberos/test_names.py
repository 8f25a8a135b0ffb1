"""Principals of Kerberos, and the users that they are."""

from __future__ import annotations

from twisted.trial.unittest import TestCase

from perimeter.auth.kinds.kerberos.names import user_of
from perimeter.errors import Rejected

REALM = "EXAMPLE.ORG"


class NameTests(TestCase):
    def test_users(self) -> None:
        for principal, lower, exact in (
            ("joe@EXAMPLE.ORG", "joe", "joe"),
            ("JOE@EXAMPLE.ORG", "joe", "JOE"),
            ("José Doe@EXAMPLE.ORG", "josé doe", "José Doe"),
            ("x" * 256 + "@EXAMPLE.ORG", "x" * 256, "x" * 256),
        ):
            self.assertEqual(user_of(principal, REALM, lower=True), lower)
            self.assertEqual(user_of(principal, REALM, lower=False), exact)

    def refused(self, principal: str) -> str:
        with self.assertRaises(Rejected) as caught:
            user_of(principal, REALM, lower=True)
        return caught.exception.detail

    def test_attack_144_other_realms(self) -> None:
        for principal in (
            "joe@OTHER.ORG",
            "joe@example.org",
            "joe@X.EXAMPLE.ORG",
            "joe",
            "",
            "EXAMPLE.ORG",
            "joe@",
            "joe@EXAMPLE.ORG@X",
        ):
            self.assertEqual(self.refused(principal), "the ticket is of another Kerberos realm", principal)

    def test_attack_144_names_that_no_user_has(self) -> None:
        for name in ("", " ", "a@EXAMPLE.ORG", "a\\@b", "a\\/b", "a\nb", "a\0", "x" * 257, "\ud800"):
            self.assertEqual(self.refused(f"{name}@EXAMPLE.ORG"), "the ticket has a name that no user can have", name)

    def test_attack_144_services_computers_and_instances(self) -> None:
        for name in ("joe/admin", "HTTP/gateway.example.org", "PC1$", "$"):
            self.assertIn("not of a user", self.refused(f"{name}@EXAMPLE.ORG"), name)
