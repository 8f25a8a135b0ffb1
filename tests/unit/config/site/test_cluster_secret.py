"""The secret that the machines share: a file of lines, or a reference."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import TestCase

from perimeter.config.language.datatypes import BadValue, NotHere
from perimeter.config.site.cluster_secret import CLUSTER_SECRET

LINE = "0123456789abcdef0123456789abcdef\n"


class ClusterSecretTests(TestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        self.path = self.directory / "cluster.secret"
        self.path.write_text(LINE)
        self.path.chmod(0o600)

    def read(self) -> str:
        return CLUSTER_SECRET.convert("cluster.secret", self.directory)

    def refused(self, words: str, kind: type[BadValue] = BadValue) -> None:
        error = self.assertRaises(kind, self.read)
        self.assertIn(words, str(error))
        self.assertNotIn(LINE.strip(), str(error))

    def test_the_value_is_the_text_of_the_file(self) -> None:
        self.assertEqual(self.read(), LINE)

    def test_a_reference_has_the_text(self) -> None:
        referred = CLUSTER_SECRET.referred
        assert referred is not None
        self.assertEqual(referred(LINE, self.directory), LINE)
        self.assertRaises(BadValue, referred, LINE[1:], self.directory)

    def test_others_must_not_read_it(self) -> None:
        for mode in (0o640, 0o400, 0o440):
            self.path.chmod(mode)
            self.assertEqual(self.read(), LINE)
        for mode in (0o604, 0o620, 0o610, 0o602, 0o601):
            self.path.chmod(mode)
            self.refused("others may read or write")

    def test_what_is_no_secret(self) -> None:
        for text, words in (
            ("", "no line has a secret"),
            ("# comment\n", "no line has a secret"),
            (LINE[1:], "line 1 has fewer than 32 characters"),
            (LINE + LINE, "two lines are the same"),
            (LINE + "é" * 32, "expected lines of ASCII text"),
            ("#" * 65536 + "\n", "expected lines of ASCII text"),
        ):
            self.path.write_text(text)
            self.refused(words)
        self.path.write_text("#" * (65536 - len(LINE) - 1) + "\n" + LINE)
        self.read()

    def test_there_is_no_file(self) -> None:
        self.path.unlink()
        self.refused("can be read", NotHere)
