"""What became of the claims of a user, in sentences."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import TestCase

from perimeter.model import discard_explanation
from perimeter.oidc.claims import ClaimRules
from perimeter.oidc.explaining import MAX_VALUE, explain_claims, explained

RULES = ClaimRules("corp", "sso", "name")
CLAIMS = {"sub": "8f2c", "name": "Zoë", "realm_access": {"roles": ["/ops", "/dev"]}, "nonce": "secret-of-the-flow"}


def said(claims: dict[str, Any] | None = None, **rules: Any) -> list[str]:
    return list(explained(CLAIMS if claims is None else claims, ClaimRules("corp", "sso", "name", **rules)))


class ExplainingTests(TestCase):
    def test_each_claim_but_those_of_the_sign_in(self) -> None:
        found = said()
        self.assertEqual(
            found[:3], ['claim sub = "8f2c"', 'claim name = "Zoë"', 'claim realm_access = {"roles": ["/ops", "/dev"]}']
        )
        self.assertEqual(found[3:], ['username_claim = name: "Zoë"', 'identity, for good: sub = "8f2c"'])
        self.assertNotIn("secret-of-the-flow", str(found))

    def test_a_long_value_is_cut(self) -> None:
        exact, longer = "x" * (MAX_VALUE - 2), "x" * (MAX_VALUE - 1)
        self.assertEqual(said({"a": exact})[0], f'claim a = "{exact}"')
        self.assertEqual(said({"a": longer})[0], f'claim a = "{longer}… ({MAX_VALUE + 1} characters)')

    def test_roles(self) -> None:
        found = said(roles_claims=("groups", "realm_access.roles"), role_map=(("/ops", "admin"), ("/qa", "tester")))
        self.assertEqual(
            found[5:],
            [
                "roles_claim = groups: no such claim",
                'roles_claim = realm_access.roles: ["/ops", "/dev"]',
                "role_map: /ops gives admin",
                "role_map: /qa is not there, and would give tester",
                "role_map does not have, so left out: /dev",
            ],
        )
        self.assertIn("role_map does not have, so left out: nothing", said({}, role_map=(("/ops", "admin"),)))
        self.assertIn("    groups is no list of roles: the sign-in is refused", said({"groups": 7}, roles_claims=("groups",)))

    def test_an_address_that_is_not_verified(self) -> None:
        address = {"name": "Zoë", "email": "zoe@example.com"}
        rules = {"require": (("email", "zoe@example.com"),)}
        found = said(address | {"email_verified": False}, **rules)
        self.assertIn("email_verified is not true, so email is not used for anything", found)
        self.assertEqual(found[-1], "require = email:zoe@example.com: is not met, so the sign-in is refused")
        found = said(address | {"email_verified": True}, **rules)
        self.assertNotIn("email_verified is not true, so email is not used for anything", found)
        self.assertEqual(found[-1], "require = email:zoe@example.com: is met")

    def test_who_may_come_in(self) -> None:
        found = said(require=(("name", "Zoë"), ("name", "Zoe")))
        self.assertEqual(found[-2:], ["require = name:Zoë: is met", "require = name:Zoe: is not met, so the sign-in is refused"])
        roles = {"roles_claims": ("realm_access.roles",)}
        self.assertEqual(said(allow_groups=frozenset({"/ops", "/dev", "/qa"}), **roles)[-1], "allow_groups: /dev, /ops")
        refused = "allow_groups: the user is in none of them, so the sign-in is refused"
        self.assertEqual(said(allow_groups=frozenset({"/qa"}), **roles)[-1], refused)

    def test_nobody_wants_them(self) -> None:
        taken: list[str] = []
        explain_claims(CLAIMS, RULES, taken.append)
        self.assertEqual(taken, list(explained(CLAIMS, RULES)))
        explain_claims({"a": object()}, RULES, discard_explanation)  # which could not be shown
