"""``allow`` and ``deny``: deny wins, one term suffices, and a term that is not understood admits no user."""

from __future__ import annotations

from twisted.trial import unittest

from perimeter.config.site.rule import Rule
from perimeter.gate.policy import Policy
from perimeter.model import Principal

ALICE = Principal("alice", "local", ("admin", "ops"))
BOB = Principal("bob", "corp", ())


def rules(*terms: str) -> tuple[Rule, ...]:
    return tuple(Rule(*term.split(":", 1)) for term in terms)


class PolicyTests(unittest.TestCase):
    def test_attack_49_a_rule_that_names_a_realm(self) -> None:
        for kind, value in (("user", "bob"), ("role", "ops")):
            of_corp, of_any = Rule(kind, value, "corp"), Rule(kind, value)
            for realm, rule, matches in (("corp", of_corp, True), ("local", of_corp, False), ("local", of_any, True)):
                bob = Principal("bob", realm, ("ops",))
                self.assertEqual(Policy((rule,)).permits(bob, "GET"), matches, (kind, realm, rule))
                self.assertEqual(Policy(None, (rule,)).permits(bob, "GET"), not matches, (kind, realm, rule))
            self.assertFalse(Policy((of_corp,)).permits(Principal("eve", "corp", ()), "GET"))

    def test_table(self) -> None:
        for allow, deny, who, method, expected in (
            (None, (), ALICE, "GET", True),
            (None, (), None, "GET", True),
            ((), (), ALICE, "GET", False),
            (("role:admin",), (), ALICE, "GET", True),
            (("role:admin",), (), BOB, "GET", False),
            (("role:admin",), (), None, "GET", False),
            (("role:Admin",), (), ALICE, "GET", False),
            (("user:alice",), (), ALICE, "GET", True),
            (("user:admin",), (), ALICE, "GET", False),
            (("realm:corp",), (), BOB, "GET", True),
            (("realm:corp",), (), ALICE, "GET", False),
            (("method:GET",), (), BOB, "GET", True),
            (("method:GET",), (), None, "GET", True),
            (("method:GET",), (), BOB, "POST", False),
            (("method:GET",), (), BOB, "get", False),
            (("role:x", "user:bob"), (), BOB, "GET", True),
            (("role:admin",), ("user:alice",), ALICE, "GET", False),
            (("user:alice",), ("role:ops",), ALICE, "GET", False),
            (None, ("method:DELETE",), ALICE, "DELETE", False),
            (None, ("method:DELETE",), ALICE, "delete", False),
            (None, ("method:DELETE",), ALICE, "GET", True),
            (None, ("realm:local",), ALICE, "GET", False),
            (None, ("realm:local",), BOB, "GET", True),
            (None, ("method:DELETE",), None, "DELETE", False),
            # a method that is not known could be each
            (None, (), BOB, "-", True),
            (None, ("user:alice",), BOB, "-", True),
            (None, ("method:DELETE",), BOB, "-", False),
            (None, ("user:alice", "method:DELETE"), BOB, "-", False),
            (("role:admin",), ("method:DELETE",), ALICE, "-", False),
            (("method:GET",), (), BOB, "-", False),
            (("method:GET", "user:bob"), (), BOB, "-", True),
            (("user:bob",), (), ALICE, "-", False),
            (("user:alice",), ("method:DELETE",), ALICE, "DELETE", False),
            (None, ("user:alice",), None, "GET", True),
            (None, ("role:ops",), None, "GET", True),
            (None, ("realm:local",), None, "GET", True),
        ):
            policy = Policy(None if allow is None else rules(*allow), rules(*deny))
            self.assertEqual(policy.permits(who, method), expected, (allow, deny, who, method))

    def test_the_operator_reads_which_rule_decided(self) -> None:
        for allow, deny, who, method, allowed, expected in (
            (("role:root", "user:bob"), (), ALICE, "GET", False, "no term of allow = role:root, user:bob matches"),
            ((), (), ALICE, "GET", False, "no term of allow = (none) matches"),
            (None, ("user:bob", "method:DELETE"), ALICE, "delete", False, "deny = method:DELETE matches"),
            (("user:alice",), ("user:alice",), ALICE, "GET", False, "deny = user:alice matches"),
            (("role:ops",), ("user:bob",), None, "GET", False, "no term of allow = role:ops matches"),
            (("role:root", "user:alice"), ("user:bob",), ALICE, "GET", True, "allow = user:alice matches"),
            (None, ("user:bob",), ALICE, "GET", True, "no term of deny matches"),
            (None, (), None, "GET", True, "the route has no rules"),
        ):
            policy = Policy(None if allow is None else rules(*allow), rules(*deny))
            self.assertEqual(policy.permits(who, method), allowed)
            self.assertEqual(policy.explanation(who, method), expected)

    def test_attack_15_a_role_with_a_comma_is_one_role(self) -> None:
        self.assertFalse(Policy(rules("role:admin")).permits(Principal("x", "r", ("a,admin",)), "GET"))

    def test_roles_of_a_directory_compare_without_case(self) -> None:
        """As the directory compares the names of its groups, in ``allow`` and in ``deny`` (attack 30); elsewhere exactly."""
        for written, role, same in (
            *(("ADMINS", "admins", True), ("admins", "Admins", True), ("Domain  users", "domain Users", True)),
            *(("straße", "STRASSE", True), ("admins", "admin", False), ("admin", "admin,x", False), ("admins", "admins", True)),
        ):
            user = Principal("x", "corp", ("first", role))
            for realms, expected in (({"corp"}, same), ({"other"}, written == role), (set(), written == role)):
                allowing = Policy((Rule("role", written),), (), directory_realms=frozenset(realms))
                denying = Policy(None, (Rule("role", written),), directory_realms=frozenset(realms))
                self.assertEqual(allowing.permits(user, "GET"), expected, (written, role, realms))
                self.assertEqual(denying.permits(user, "GET"), not expected, (written, role, realms))
        self.assertFalse(
            Policy((Rule("role", "a"),), (), directory_realms=frozenset({"corp"})).permits(Principal("x", "corp"), "GET")
        )

    def test_other_rules_compare_exactly_in_a_directory_too(self) -> None:
        user = Principal("alice", "corp", ("a",))
        for rule in ("user:Alice", "realm:Corp"):
            self.assertFalse(Policy(rules(rule), (), directory_realms=frozenset({"corp"})).permits(user, "GET"))

    def test_open(self) -> None:
        self.assertTrue(Policy().open)
        self.assertFalse(Policy(()).open)
        self.assertFalse(Policy(None, rules("user:x")).open)

    def test_whether_a_policy_is_open_follows_from_its_rules_alone(self) -> None:
        with self.assertRaises(TypeError):
            Policy((), (), True)  # type: ignore[call-arg]

    def test_attack_41_unknown_kind(self) -> None:
        self.assertRaises(ValueError, rules, "rolle:admin")

    def test_attack_41_a_kind_that_the_policy_does_not_know_neither_admits_nor_is_skipped(self) -> None:
        (rule,) = rules("role:admin")
        object.__setattr__(rule, "kind", "scope")
        for policy in (Policy((rule,)), Policy(None, (rule,))):
            self.assertRaises(AssertionError, policy.permits, ALICE, "GET")
