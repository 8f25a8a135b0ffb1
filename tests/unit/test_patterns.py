"""Constructs that regular expressions may not contain, because some supported release of Python misreads them."""

from __future__ import annotations

import re
from pathlib import Path

from twisted.trial.unittest import TestCase

import perimeter

#: ``(?:…)*+``, ``(?:…)?+``, ``(?:…){2,}+`` and ``(?>…)``; ``[…]*+`` works everywhere.
POSSESSIVE_GROUP = re.compile(r"\)(?:[*+?]|\{[0-9,]+\})\+|\(\?>")
RAW = re.compile(r"\br[bf]?[\"']")
ESCAPE = re.compile(r"\\.")
CHARACTER_CLASS = re.compile(r"\[\^?\]?[^\]]*\]")


def possessive(line: str) -> bool:
    """Whether a line of source holds such a group."""
    return RAW.search(line) is not None and POSSESSIVE_GROUP.search(CHARACTER_CLASS.sub("C", ESCAPE.sub("E", line))) is not None


class PossessiveGroupTests(TestCase):
    def test_attack_1_no_possessive_group(self) -> None:
        """Python 3.11.2, which is Debian 12's, accepted ``/..`` and header lines without an end (gh-106052, fixed in 3.11.5)."""
        for line in (r'rb"(?:a[)*+]++:)*+"', r'r"(?:\r\n)++"', r'r"(?:a|b){1,2}+"', r'r"(?>a)"'):
            self.assertTrue(possessive(line), line)
        self.assertFalse(possessive(r'rb"(?:[()*+,]++:\)*+)*"'))
        sources = sorted(Path(perimeter.__file__).parent.rglob("*.py"))
        self.assertGreater(len(sources), 50)
        found = [
            f"{source}:{number}: {line.strip()}"
            for source in sources
            for number, line in enumerate(source.read_text().splitlines(), 1)
            if possessive(line)
        ]
        self.assertEqual(found, [])
