"""Attributes of entries as attributes of users."""

from __future__ import annotations

from twisted.logger import globalLogPublisher
from twisted.trial.unittest import TestCase

from perimeter.auth.kinds.ldap.attributes import MAX_VALUE, attributes_of
from tests.unit.doubles.ldap_directory import entry
from tests.unit.doubles.ldap_sections import MINIMAL, parsed, read


class AttributeTests(TestCase):
    def setUp(self) -> None:
        self.lines: list[str] = []

        def observe(event: dict[str, object]) -> None:
            self.lines.append(str(event["log_format"]).format_map(event))

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)

    def found(self, *wanted: str, **attributes: object) -> dict[str, str]:
        return attributes_of(entry("cn=x", **attributes), wanted, "Authenticator corp")  # type: ignore[arg-type]

    def test_values_by_the_names_as_they_are_wanted(self) -> None:
        found = self.found("Mail", "displayName", "sn", mail="joe@example.org", displayName=" José ", cn="x")
        self.assertEqual(found, {"Mail": "joe@example.org", "displayName": "José"})
        self.assertEqual(self.lines, [])

    def test_of_several_values_the_first_of_the_alphabet(self) -> None:
        self.assertEqual(self.found("mail", mail=["b@x", "a@x", "c@x"]), {"mail": "a@x"})

    def test_attack_143_values_that_could_break_a_line_are_left_out(self) -> None:
        for value in (b"a\r\nX-Auth-Roles: admin", b"\xff", b"a\x00", "a\u2028b".encode(), b"x" * (MAX_VALUE + 1), b" "):
            self.lines.clear()
            self.assertEqual(self.found("mail", mail=value), {}, value)
            self.assertEqual(
                self.lines,
                ["Authenticator corp: a value of the attribute mail is no text, or longer than 256 characters; it is left out"],
            )
        self.assertEqual(self.found("mail", mail="é" * MAX_VALUE), {"mail": "é" * MAX_VALUE})

    def test_attack_143_passwords_are_no_attributes(self) -> None:
        for name in ("userPassword", "USERPASSWORD", "unicodePwd", "sambaNTPassword"):
            _, problems = read(**MINIMAL, attributes=f"mail, {name}")
            self.assertEqual(len(problems), 1)
            self.assertIn(f"attributes: {name} has passwords, and every service would see them", problems[0])

    def test_their_number_is_bounded(self) -> None:
        names = [f"a{number}" for number in range(17)]
        self.assertEqual(parsed(**MINIMAL, attributes=", ".join(names[:16])).attributes, tuple(names[:16]))
        _, problems = read(**MINIMAL, attributes=", ".join(names))
        self.assertIn("has 17 attributes, more than 16", problems[0])
