"""The names of findings: each is documented, and each is used."""

from __future__ import annotations

import re
from pathlib import Path

from twisted.trial.unittest import TestCase

import perimeter
from perimeter.doctor.finding import Grade, Name

ROOT = Path(perimeter.__file__).parent
PAGE = ROOT.parent / "docs" / "how-to" / "doctor.md"


class NameTests(TestCase):
    def test_the_page_has_all_names_in_their_order(self) -> None:
        table = PAGE.read_text().partition("## All findings")[2]
        self.assertEqual(re.findall(r"^\| `([a-z-]+)` \|", table, re.M), sorted(Name))

    def test_the_page_has_all_grades(self) -> None:
        table = PAGE.read_text().partition("## In monitoring")[0]
        self.assertEqual(re.findall(r"^\| `([a-z-]+)` \|", table, re.M), [grade.word for grade in Grade])

    def test_each_is_found_somewhere(self) -> None:
        source = "".join(path.read_text() for path in (ROOT / "doctor").glob("*.py"))
        self.assertEqual([one.name for one in Name if f"Name.{one.name}" not in source], [])
