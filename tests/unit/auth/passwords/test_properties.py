"""The .properties format, as java.util.Properties reads it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial import unittest

from perimeter.auth.passwords.properties import PropertiesError, decode, escape_key, escape_value, parse
from tests.unit.doubles.properties import reached, reaches

TEXT = st.text(st.characters(exclude_categories=("Cs",)))


def pairs(text: str) -> list[tuple[str, str]]:
    return [(entry.key, entry.value) for entry in parse(text)]


class ParseTests(unittest.TestCase):
    def test_the_forms_of_a_line(self) -> None:
        for text, expected in (
            ("a=b", ("a", "b")),
            ("a:b", ("a", "b")),
            ("a b", ("a", "b")),
            ("a\tb", ("a", "b")),
            ("a\fb", ("a", "b")),
            ("  a  =  b  ", ("a", "b  ")),
            ("a : b", ("a", "b")),
            ("a = = b", ("a", "= b")),
            ("a::b", ("a", ":b")),
            ("a=b=c:d", ("a", "b=c:d")),
            ("a", ("a", "")),
            ("a=", ("a", "")),
            ("=b", ("", "b")),
            (r"a\ b=c", ("a b", "c")),
            (r"a\:b\=c d", ("a:b=c", "d")),
            (r"a=\ b", ("a", " b")),
            (r"a=b\\", ("a", "b\\")),
            (r"a=\t\n\r\f\q\"", ("a", '\t\n\r\fq"')),
            (r"a=\u00e9\u00E9", ("a", "éé")),
            (r"a=\ud83d\ude00", ("a", "\U0001f600")),
            ("a=b # no comment", ("a", "b # no comment")),
            (r"\#a=b", ("#a", "b")),
            ("a=b\\\n  c", ("a", "bc")),
            ("a=b\\\n#c", ("a", "b#c")),
            ("a\\\n b = c", ("ab", "c")),
            ("a=b\\\\\n", ("a", "b\\")),
            ("a=b\\", ("a", "b")),
            ("a=b\\\n", ("a", "b")),
        ):
            self.assertEqual(pairs(text), [expected], text)

    def test_what_is_no_entry(self) -> None:
        for text in ("", "\n\r\n\r", "   \t\f\n", "# a=b", "  ! a=b", "#a=b\\"):
            self.assertEqual(pairs(text), [], text)

    def test_a_comment_is_not_continued(self) -> None:
        self.assertEqual(pairs("# a\\\nb=c"), [("b", "c")])

    def test_lines_are_counted_by_every_ending(self) -> None:
        entries = list(parse("a=1\r\n# x\rb=2\\\n  2\nc=3\n\nd=4"))
        self.assertEqual([(entry.line, entry.key) for entry in entries], [(1, "a"), (3, "b"), (5, "c"), (7, "d")])

    def test_a_repeated_key_is_reported_with_both_lines(self) -> None:
        self.assertEqual(pairs("a=1\na=2"), [("a", "1"), ("a", "2")])

    def test_broken_escapes_name_their_line(self) -> None:
        for text in (r"a=\u12", r"a=\uzzzz", r"a=\u", r"a=\ud83d", r"\ude00=a"):
            with self.assertRaises(PropertiesError, msg=text) as caught:
                pairs(f"ok=1\n{text}")
            self.assertEqual(caught.exception.line, 2)

    def test_both_encodings(self) -> None:
        self.assertEqual(decode("José=ü".encode()), "José=ü")
        self.assertEqual(decode("José=ü".encode("iso-8859-1")), "José=ü")
        self.assertEqual(decode("José".encode("utf-8-sig")), "José")

    @reaches(12)
    @given(TEXT)
    def test_anything_is_read_or_refused(self, text: str) -> None:
        try:
            entries = list(parse(text))
        except PropertiesError as error:
            self.assertGreater(error.line, 0)
            return
        reached(self)
        self.assertTrue(all(entry.line > 0 for entry in entries))

    @given(st.lists(st.tuples(TEXT, TEXT)), st.sampled_from(["=", ":", " = ", ": "]))
    def test_escape_and_parse_round_trip(self, items: list[tuple[str, str]], separator: str) -> None:
        text = "\n".join(f"{escape_key(key)}{separator}{escape_value(value)}" for key, value in items)
        self.assertTrue(text.isascii())
        self.assertEqual(pairs(text), items)
