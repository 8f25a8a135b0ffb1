"""From claims to a user: names, roles, and who may not come in (attacks O4, O5)."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.trial.unittest import TestCase

from perimeter.auth.kinds.remote.names import Unfit
from perimeter.model import Principal
from perimeter.oidc.claims import (
    MAX_IDENTITY,
    ClaimRules,
    ClaimsElsewhere,
    NotAllowed,
    combined,
    factors_of,
    missing,
    principal_of,
    subject_of,
)

RULES = ClaimRules("corp", "sso", roles_claims=("realm_access.roles", "groups"), attribute_claims=("name", "level"))
CLAIMS: dict[str, Any] = {
    "sub": "8f2c",
    "preferred_username": "alice",
    "realm_access": {"roles": ["viewer"]},
    "groups": ["/ops/admins", "viewer"],
    "email": "alice@example.com",
    "email_verified": True,
    "name": "Alice\nA",
    "level": 3,
    "hd": "example.com",
}


def user(rules: ClaimRules = RULES, **changed: Any) -> Principal:
    return principal_of({name: value for name, value in {**CLAIMS, **changed}.items() if value is not ...}, rules)


class PrincipalTests(TestCase):
    def test_claims_become_a_user(self) -> None:
        found = user()
        self.assertEqual((found.username, found.realm, found.authenticator), ("alice", "corp", "sso"))
        self.assertEqual(found.roles, ("viewer", "/ops/admins"))
        self.assertEqual(found.attributes, {"name": "AliceA", "level": "3"})

    def test_roles_are_mapped_and_others_are_left_out(self) -> None:
        rules = attrs.evolve(
            RULES, role_map=(("/ops/admins", "admin"), ("/ops/admins", "reader"), ("/x", "other"), ("viewer", "reader"))
        )
        self.assertEqual(user(rules).roles, ("admin", "reader"))
        self.assertEqual(user(rules, groups=[], realm_access={}).roles, ())

    def test_the_name_is_a_text(self) -> None:
        for value in ("", " ", None, 7, ["alice"], "a\nb", "a" * 257):
            self.assertRaises(Unfit, user, preferred_username=value)
        error = self.assertRaises(NotAllowed, user, preferred_username=...)
        self.assertEqual((str(error), error.username), ("no claim preferred_username names the user", ""))

    def test_roles_of_another_shape_refuse_the_user(self) -> None:
        for value in (7, {"a": 1}, ["a"] * 1001, ["a" * 257]):
            self.assertRaises(Unfit, user, groups=value)
        self.assertEqual(user(groups=None).roles, ("viewer",))

    def test_attack_164_an_address_that_nobody_has_verified_is_not_used(self) -> None:
        required = attrs.evolve(RULES, require=(("email", "alice@example.com"),))
        mapped = attrs.evolve(RULES, roles_claims=("email",), role_map=(("alice@example.com", "admin"),))
        passed_on = attrs.evolve(RULES, attribute_claims=("email",))
        self.assertEqual(user(required).username, "alice")
        self.assertEqual(user(mapped).roles, ("admin",))
        self.assertEqual(user(passed_on).attributes, {"email": "alice@example.com"})
        for value in (False, "true", 1, None, ...):
            self.assertRaises(NotAllowed, user, required, email_verified=value)
            self.assertEqual(user(mapped, email_verified=value).roles, ())
            self.assertEqual(user(passed_on, email_verified=value).attributes, {})

    def test_where_the_address_decides_so_does_whether_it_is_verified(self) -> None:
        for rules in (
            attrs.evolve(RULES, require=(("email", "x"),)),
            attrs.evolve(RULES, roles_claims=("email",)),
            attrs.evolve(RULES, username_claim="email"),
            attrs.evolve(RULES, email_domains=("example.com",)),
        ):
            self.assertLessEqual({"email", "email_verified"}, set(rules.decisive))
        self.assertNotIn("email_verified", RULES.decisive)

    def test_attack_o4_an_address_that_nobody_has_verified_is_no_name(self) -> None:
        rules = attrs.evolve(RULES, username_claim="email")
        self.assertEqual(user(rules).username, "alice@example.com")
        for value in (False, "true", 1, None, ...):
            self.assertRaises(NotAllowed, user, rules, email_verified=value)


class AllowedTests(TestCase):
    def refused(self, rules: ClaimRules, words: str, **changed: Any) -> None:
        error = self.assertRaises(NotAllowed, user, rules, **changed)
        self.assertIn(words, str(error))
        self.assertEqual(error.username, "alice")

    def test_claims_that_are_required(self) -> None:
        for claim, value in (
            ("level", "3"),
            ("email_verified", "true"),
            ("groups", "viewer"),
            ("hd", "example.com"),
            ("realm_access.roles", "viewer"),
        ):
            self.assertEqual(user(attrs.evolve(RULES, require=((claim, value),))).username, "alice")
        for claim, value in (
            ("level", "4"),
            ("email_verified", "True"),
            ("groups", "view"),
            ("hd", "EXAMPLE.com"),
            ("none", "None"),
            ("name", ""),
        ):
            self.refused(attrs.evolve(RULES, require=(("sub", "8f2c"), (claim, value))), f"the claim {claim} does not")
        self.refused(attrs.evolve(RULES, require=(("a", "b"),)), "the claim a", a=[["b"]])
        self.refused(attrs.evolve(RULES, require=(("a", "null"),)), "the claim a", a=None)
        self.refused(attrs.evolve(RULES, require=(("a", "true"),)), "the claim a", a="True")

    def test_groups_that_are_allowed(self) -> None:
        rules = attrs.evolve(RULES, allow_groups=frozenset({"/ops/admins"}), role_map=(("viewer", "reader"),))
        self.assertEqual(user(rules).roles, ("reader",))
        self.refused(rules, "allow_groups", groups=["/ops"])
        self.refused(rules, "allow_groups", groups=...)

    def test_attack_o4_addresses(self) -> None:
        rules = attrs.evolve(RULES, email_domains=("example.com", "example.org"))
        for address in ("alice@example.com", "alice@EXAMPLE.ORG"):
            self.assertEqual(user(rules, email=address).username, "alice")
        for address in (
            "alice@evil.example",
            "alice@sub.example.com",
            "alice@example.com.evil.example",
            "alice@example.com@evil.example",
            "alice@evil.example@example.com",
            "@example.com",
            "example.com",
            "alice@example.co",
            "",
            None,
            ["alice@example.com"],
            ...,
        ):
            self.refused(rules, "email_domains", email=address)
        for verified in (False, "true", 1, None, ...):
            self.refused(rules, "email_domains", email_verified=verified)

    def test_attack_o5_accounts_of_other_organizations(self) -> None:
        rules = attrs.evolve(RULES, hosted_domains=frozenset({"example.com"}))
        self.assertEqual(user(rules).username, "alice")
        for domain in ("evil.example", "EXAMPLE.COM", "", None, ["example.com"], {}, ...):
            self.refused(rules, "domains", hd=domain)


class CompleteTests(TestCase):
    def test_too_many_groups_to_list_are_not_no_groups(self) -> None:
        elsewhere = {"_claim_names": {"groups": "src1", "picture": "src1"}, "_claim_sources": {"src1": {"endpoint": "https://x"}}}
        error = self.assertRaises(ClaimsElsewhere, user, groups=..., **elsewhere)
        self.assertEqual(error.claims, frozenset({"groups"}))
        self.assertEqual(str(error), "the provider has left out groups")
        self.assertEqual(user(**elsewhere).roles, ("viewer", "/ops/admins"))
        only_picture = {"_claim_names": {"picture": "src1"}}
        self.assertEqual(user(groups=..., **only_picture).roles, ("viewer",))
        self.assertRaises(ClaimsElsewhere, user, realm_access=..., _claim_names={"realm_access": "src1"})
        for value in ("groups", ["groups"], 7):
            self.assertRaises(Unfit, user, _claim_names=value)

    def test_what_decides(self) -> None:
        self.assertEqual(RULES.decisive, ("sub", "preferred_username", "realm_access.roles", "groups"))
        more = attrs.evolve(RULES, require=(("level", "3"),), email_domains=("a",), hosted_domains=frozenset({"b"}))
        self.assertEqual(more.decisive[4:], ("level", "email", "email_verified", "hd"))
        self.assertEqual(attrs.evolve(RULES, username_claim="email").decisive[1:3], ("email", "realm_access.roles"))
        self.assertIn("email_verified", attrs.evolve(RULES, username_claim="email").decisive)
        self.assertEqual(missing(CLAIMS, RULES), ())
        self.assertEqual(
            missing({"sub": "a", "groups": None, "realm_access": {}}, RULES), ("preferred_username", "realm_access.roles")
        )

    def test_earlier_sources_are_preferred(self) -> None:
        self.assertEqual(combined({"a": 1}, {"a": 2, "b": 3}, {"b": 4, "c": None}), {"a": 1, "b": 3, "c": None})


class SubjectTests(TestCase):
    def test_one_claim(self) -> None:
        for value in ("8f2c", "auth0|a/b", "a" * MAX_IDENTITY):
            self.assertEqual(subject_of({"sub": value}, RULES), value)
        self.assertEqual(subject_of({"sub": 42}, RULES), "42")
        for value in ("", None, True, 1.5, ["a"], "\u00e9", "a\n", "a" * (MAX_IDENTITY + 1)):
            self.assertRaises(Unfit, subject_of, {"sub": value}, RULES)
        self.assertRaises(Unfit, subject_of, {}, RULES)

    def test_several_claims(self) -> None:
        rules = attrs.evolve(RULES, identity_claims=("tid", "oid"))
        self.assertEqual(subject_of({"tid": "a", "oid": "b", "sub": "c"}, rules), "a/b")
        self.assertRaises(Unfit, subject_of, {"tid": "a/b", "oid": "c"}, rules)
        self.assertRaises(Unfit, subject_of, {"tid": "a", "oid": "b/c"}, rules)
        self.assertRaises(Unfit, subject_of, {"oid": "b"}, rules)


class FactorTests(TestCase):
    def test_two_factors(self) -> None:
        two = frozenset({"mfa", "urn:two"})
        for claims in ({"acr": "urn:two"}, {"amr": ["pwd", "mfa"]}, {"acr": "0", "amr": ["mfa"]}):
            self.assertEqual(factors_of(claims, two), 2)
            self.assertEqual(factors_of(claims, frozenset()), 1)
        for other in ({}, {"acr": "1"}, {"amr": "mfa"}, {"amr": ["mf", 7, None]}, {"acr": ["mfa"]}, {"acr": None}):
            self.assertEqual(factors_of(other, two), 1)
