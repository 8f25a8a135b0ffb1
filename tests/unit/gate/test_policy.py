"""``allow`` and ``deny``: deny wins, one term suffices, and a term that is not understood admits no user."""

from __future__ import annotations

from twisted.trial import unittest

from perimeter.config.site.route import Rule
from perimeter.gate.policy import Policy
from perimeter.model import Principal

ALICE = Principal("alice", "local", ("admin", "ops"))
BOB = Principal("bob", "corp", ())


def rules(*terms: str) -> tuple[Rule, ...]:
    return tuple(Rule(*term.split(":", 1)) for term in terms)


class PolicyTests(unittest.TestCase):
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
            (("user:alice",), ("method:DELETE",), ALICE, "DELETE", False),
            (None, ("user:alice",), None, "GET", True),
            (None, ("role:ops",), None, "GET", True),
            (None, ("realm:local",), None, "GET", True),
        ):
            policy = Policy(None if allow is None else rules(*allow), rules(*deny))
            self.assertEqual(policy.permits(who, method), expected, (allow, deny, who, method))

    def test_attack_15_a_role_with_a_comma_is_one_role(self) -> None:
        self.assertFalse(Policy(rules("role:admin")).permits(Principal("x", "r", ("a,admin",)), "GET"))

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
