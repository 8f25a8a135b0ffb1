"""Templates: what is read, what is refused, and that a value is never read again."""

from __future__ import annotations

from twisted.trial import unittest

from perimeter.config.language.datatypes import BadValue
from perimeter.config.language.placeholders import Placeholder, Template, Word, literal, template

USER = Placeholder(Word.USER)


class TemplateTests(unittest.TestCase):
    def test_parts(self) -> None:
        for text, parts in (
            ("", ()),
            ("plain", ("plain",)),
            ("%{user}", (USER,)),
            ("a%{user}b%{attribute:mail}", ("a", USER, "b", Placeholder(Word.ATTRIBUTE, "mail"))),
            ("50%%{user}", ("50%{user}",)),
            ("%%%{user}%%", ("%", USER, "%")),
            ("{user} }", ("{user} }",)),
        ):
            found = template(text)
            self.assertEqual(found.parts, parts, text)
            self.assertEqual(str(found), text)
            self.assertEqual(template(str(found)), found)

    def test_all_words(self) -> None:
        for word in Word:
            text = "%{attribute:x}" if word is Word.ATTRIBUTE else f"%{{{word}}}"
            self.assertEqual([one.word for one in template(text).placeholders], [word])
            self.assertEqual(template(text).of_user, word in ("user", "realm", "roles", "attribute"), word)

    def test_refused(self) -> None:
        for text, suggestion in (
            ("100%", ""),
            ("%u", ""),
            ("%{}", ""),
            ("%{username}", "%{user}"),
            ("%{groups}", "%{roles}"),
            ("%{user:x}", "%{user}"),
            ("%{user", ""),
            ("%{attribute}", ""),
            ("%{attribute:}", ""),
            ("%{attribute:a b}", ""),
            ("%{attribute:" + "a" * 65 + "}", ""),
            ("%{USER}", "%{user}"),
        ):
            error = self.assertRaises(BadValue, template, text)
            self.assertEqual(error.suggestion, suggestion, text)

    def test_a_literal_has_no_placeholders(self) -> None:
        self.assertEqual(literal("%{user}%"), Template(("%{user}%",)))
        self.assertEqual(literal(""), Template())
        self.assertEqual(literal("%{user}").placeholders, ())

    def test_filled(self) -> None:
        values = {"user": "%{roles}%%", "realm": None, "roles": "a,b"}
        for text, filled in (
            ("", ""),
            ("x", "x"),
            ("u=%{user};", "u=%{roles}%%;"),  # a value is never read again
            ("%{user}%{roles}", "%{roles}%%a,b"),
            ("%{user}%{realm}", None),
            ("%{realm}", None),
        ):
            self.assertEqual(template(text).fill(lambda one: values[one.word]), filled, text)
