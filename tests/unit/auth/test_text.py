"""Text of users and files: what Java's trim removes, and how bytes become text."""

from __future__ import annotations

from twisted.trial.unittest import TestCase

from perimeter.auth.text import decode_either, trim


class TextTests(TestCase):
    def test_trim_removes_what_java_considers_blank_and_no_more(self) -> None:
        self.assertEqual(trim("\x00\t\r\n pass word \x1f\x20"), "pass word")
        for kept in ("!a!", "\x7fa\x7f", "\xa0a\xa0", "\u2003a\u2003"):
            self.assertEqual(trim(kept), kept)

    def test_utf_8_or_else_iso_8859_1(self) -> None:
        self.assertEqual((decode_either("José".encode()), decode_either(b"Jos\xe9")), ("José", "José"))
