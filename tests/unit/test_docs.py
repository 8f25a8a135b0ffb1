"""The manual tells the truth about what can be read off the code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import TestCase

from perimeter.errors import Refusal

DOCS = Path(__file__).parents[2] / "docs"


def refusals(parent: type[Refusal] = Refusal) -> Iterator[type[Refusal]]:
    yield parent
    for child in parent.__subclasses__():
        yield from refusals(child)


class ReasonTests(TestCase):
    def test_the_table_of_reasons_is_that_of_the_code(self) -> None:
        page = (DOCS / "reference" / "http.md").read_text()
        told = set(re.findall(r"^\| (\d{3}) \| `(\w+)` \| (.+) \|$", page, re.MULTILINE))
        ours = (one for one in refusals() if one.__module__ == "perimeter.errors")
        self.assertEqual(told, {(str(one.status), one.reason, one.phrase) for one in ours})


class LinkTests(TestCase):
    def test_readme_and_contributing_link_to_files_that_exist(self) -> None:
        for name in ("README.md", "CONTRIBUTING.md"):
            text = (DOCS.parent / name).read_text()
            targets = [target for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text) if "://" not in target]
            self.assertNotEqual(targets, [])
            missing = [target for target in targets if not (DOCS.parent / target).exists()]
            self.assertEqual(missing, [], name)
