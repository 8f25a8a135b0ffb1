"""Names, roles and attributes that a service reports: the longest that are taken, and what is left out."""

from __future__ import annotations

from twisted.trial.unittest import TestCase

from perimeter.auth.kinds.remote import names


class NamesTests(TestCase):
    def test_the_longest_name_of_a_user(self) -> None:
        self.assertEqual(names.username("x" * 256, "uid"), "x" * 256)
        for bad in ("x" * 257, "", " ", "a\nb", 7, None):
            error = self.assertRaises(names.Unfit, names.username, bad, "uid")
            self.assertEqual(str(error), "uid is no name of a user")

    def test_roles_are_bounded_in_number_and_length(self) -> None:
        listed = [str(number) for number in range(1000)]
        self.assertEqual(names.roles(listed, "roles"), tuple(listed))
        self.assertRaises(names.Unfit, names.roles, [*listed, "1"], "roles")
        self.assertEqual(names.roles(["x" * 256], "roles"), ("x" * 256,))
        self.assertRaises(names.Unfit, names.roles, ["a", "x" * 257], "roles")

    def test_roles_are_a_list_or_one_text_or_nothing(self) -> None:
        self.assertEqual(names.roles(None, "roles"), ())
        self.assertEqual(names.roles("viewer", "roles"), ("viewer",))
        self.assertEqual(names.roles(["a", "b", "a", "", 7, "c\nd"], "roles"), ("a", "b"))
        for bad in ({"a": 1}, 7, True):
            self.assertRaises(names.Unfit, names.roles, bad, "roles")

    def test_the_longest_attribute(self) -> None:
        self.assertEqual(names.attribute("x" * 1024), "x" * 1024)
        self.assertIsNone(names.attribute("x" * 1025))
        self.assertEqual(names.attribute("x\r\n" + "x" * 1023), "x" * 1024)

    def test_an_attribute_of_another_type_is_json(self) -> None:
        self.assertEqual(names.attribute({"name": ["José", 1, None]}), '{"name":["José",1,null]}')
