"""Roles compare exactly, or as a directory compares them."""

from __future__ import annotations

from twisted.trial.unittest import TestCase

from perimeter.auth import roles
from perimeter.auth.roles import has_role


class HasRoleTests(TestCase):
    def test_one_of_several_is_enough(self) -> None:
        for any_case in (False, True):
            self.assertTrue(has_role(("a", "b"), ("x", "b"), any_case=any_case))
            self.assertFalse(has_role(("a", "b"), ("x", "y"), any_case=any_case))
            self.assertFalse(has_role(("a", "b"), (), any_case=any_case))
            self.assertFalse(has_role((), ("a",), any_case=any_case))

    def test_case_and_blanks(self) -> None:
        self.assertTrue(has_role(("Domain  Users",), ("x", "domain users"), any_case=True))
        self.assertFalse(has_role(("Domain  Users",), ("domain users",), any_case=False))

    def test_what_is_remembered_is_bounded(self) -> None:
        for number in range(2 * roles._MOST_REMEMBERED):
            self.assertTrue(has_role((f"R{number}",), (f"r{number}",), any_case=True))
        self.assertLessEqual(len(roles._folded), roles._MOST_REMEMBERED)
