"""Secrets that can be guessed. No message has one."""

from __future__ import annotations

from perimeter.doctor import secrets
from perimeter.doctor.secrets import is_weak
from tests.unit.doctor.examined import SITE, ExaminedCase


class SecretTests(ExaminedCase):
    def test_what_is_weak(self) -> None:
        for text in ("", "short", "s3cret!", "aaaaaaaaaaaaaaaa", "abababababababab", "ChangeMe", "PASSWORD1", "administrator"):
            self.assertTrue(is_weak(text), text)
        for text in ("horse-battery-staple", "hB9x-2kQ", "0123456789abcdef", "search-password"):
            self.assertFalse(is_weak(text), text)

    def test_of_the_configuration(self) -> None:
        text = SITE.replace("[audit]", "authorization = basic gateway {}\n\n[audit]")
        (finding,) = secrets.configured(self.subject(text.format("changeme")))
        self.assertEqual((str(finding.name), finding.subject), ("secret-weak", "[route app]"))
        self.assertNotIn("changeme", f"{finding.message} {finding.remedy}")
        self.assertEqual(list(secrets.configured(self.subject(text.format("horse-battery-staple")))), [])
        self.file("secret", "changeme\n")
        self.assertEqual(len(list(secrets.configured(self.subject(text.format("file:secret"))))), 1)
        self.assertEqual(list(secrets.configured(self.subject(SITE.replace("[audit]", "authorization = pass\n\n[audit]")))), [])

    def test_of_users(self) -> None:
        self.file("users.realm", "alice: {plain}alice\nbob: {plain}horse-battery-staple\neve: {plain}password\n")
        (finding,) = secrets.of_users(self.subject())
        self.assertEqual((str(finding.name), finding.grade.word), ("password-guessed", "open"))
        self.assertIn("alice, eve", finding.message)
        self.assertIn("3 of 3", finding.message)

    def test_guessing_ends_in_time_with_the_weakest_first(self) -> None:
        slow = "$6$rounds=5000$saltsalt$" + "x" * 86  # not anybody's
        self.file("users.realm", f"alice: {slow}\nbob: {{plain}}bob\n")
        self.assertEqual(list(secrets.of_users(self.subject(), seconds=-1.0)), [])
        (finding,) = secrets.of_users(self.subject())
        self.assertIn("the password of bob is", finding.message)

    def test_many_guessed_ones_are_named_in_part(self) -> None:
        self.file("users.realm", "".join(f"u{number}: {{plain}}u{number}\n" for number in range(20)))
        (finding,) = secrets.of_users(self.subject())
        self.assertIn(" and 12 more ", finding.message)
