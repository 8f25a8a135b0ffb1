"""The manual agrees with the code wherever that can be checked, and its examples can be read without scrolling sideways."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import TestCase

from perimeter.errors import Refusal
from perimeter.metrics import sources
from perimeter.model import EarlyEnd
from perimeter.targets import forward_auth

DOCS = Path(__file__).parents[2] / "docs"


def refusals(parent: type[Refusal] = Refusal) -> Iterator[type[Refusal]]:
    yield parent
    for child in parent.__subclasses__():
        yield from refusals(child)


class ReasonTests(TestCase):
    """Lists are compared, not sets: a duplicate row is a fault too."""

    def setUp(self) -> None:
        self.page = (DOCS / "reference" / "http.md").read_text()

    def test_the_table_of_refusals_is_that_of_the_code(self) -> None:
        rows = re.findall(r"^\| (\d{3}) \| `(\w+)` \| (.+) \|$", self.page, re.MULTILINE)
        ours = [one for one in refusals() if one.__module__.startswith("perimeter.")]
        self.assertTrue({forward_auth.__name__, sources.__name__} < {one.__module__ for one in ours})
        self.assertEqual(sorted(rows), sorted({(str(one.status), one.reason, one.phrase) for one in ours}))

    def test_the_table_of_early_ends_is_that_of_the_code(self) -> None:
        section = self.page.partition("\n## Early ends\n")[2].partition("\n## ")[0]
        rows = re.findall(r"^\| `(\w+)` \| (.+) \|$", section, re.MULTILINE)
        self.assertEqual(rows, [(end.value, end.meaning) for end in EarlyEnd])


class LinkTests(TestCase):
    def test_readme_and_contributing_link_to_files_that_exist(self) -> None:
        for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md"):
            text = (DOCS.parent / name).read_text()
            links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text) + re.findall(r'\bsrc(?:set)?="([^"]+)"', text)
            targets = [target for target in links if "://" not in target]
            self.assertNotEqual(targets, [])
            missing = [target for target in targets if not (DOCS.parent / target).exists()]
            self.assertEqual(missing, [], name)


class ExampleTests(TestCase):
    """At 1280 pixels, the column of the manual has room for 89 characters of code."""

    COLUMN = 88

    def examples(self) -> Iterator[tuple[str, str]]:
        """The place and the text of each line of an example: the shipped configurations, and the blocks of the manual."""
        for path in (DOCS.parent / "etc").iterdir():
            if path.suffix in (".ini", ".realm"):
                for number, line in enumerate(path.read_text().splitlines(), 1):
                    yield f"{path.name}:{number}", line
        for path in (DOCS.parent / "README.md", *DOCS.rglob("*.md")):
            fence = ""
            for number, line in enumerate(path.read_text().splitlines(), 1):
                mark = re.match(r" *(`{3,})", line)
                if mark:
                    fence = "" if mark[1] == fence else fence or mark[1]
                elif fence:
                    yield f"{path.name}:{number}", line

    def test_comments_of_examples_fit_the_column(self) -> None:
        lines = list(self.examples())
        commented = [(place, line) for place, line in lines if re.search(r"(^|\s)[;#]", line)]
        self.assertGreater(len(commented), 100)
        self.assertEqual([f"{place}: {len(line)}" for place, line in commented if len(line) > self.COLUMN], [])
