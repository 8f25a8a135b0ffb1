"""The list of attacks in docs/explanation/attacks.md has every number that code, tests and documents refer to."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import TestCase

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "explanation" / "attacks.md"

# In comments a list may go on after a line break: "(attacks 35,\n    # 36)". A "#" follows no number in the table.
_NEXT = r"(?:\s*#?\s*)"
IN_TEXT = re.compile(rf"\battacks? (\d+(?:{_NEXT}(?:,|and|to|, and)\s+{_NEXT}\d+)*)", re.IGNORECASE)
IN_NAME = re.compile(r"\battack_(\d+)_")
_LETTERED = re.compile(r"\battacks? ([BO]\d+)|\battack_([bo]\d+)_")


def listed(page: str) -> list[int]:
    """The numbers of the rows, in the order of the page."""
    return [int(number) for number in re.findall(r"^\| (\d+) \| ", page, re.MULTILINE)]


def cited(text: str) -> set[int]:
    """The numbers that ``text`` refers to: "attack 18", "attacks 8 to 10", "test_attack_18_…"."""
    found = {int(number) for number in IN_NAME.findall(text.replace("test_attack", "attack"))}
    for numbers in IN_TEXT.findall(text):
        found.update(int(number) for number in re.findall(r"\d+", numbers))
        for first, last in re.findall(r"(\d+)\s+to\s+(\d+)", numbers):
            found.update(range(int(first), int(last) + 1))
    return found


def lettered(page: str) -> list[str]:
    """The rows of sign-in at providers (``O1``) and of second factor and hand-over (``B3``), in the order of the page."""
    return re.findall(r"^\| ([BO]\d+) \| ", page, re.MULTILINE)


def cited_letters(text: str) -> set[str]:
    """As `cited`, of `lettered` rows."""
    return {(one or two).upper() for one, two in _LETTERED.findall(text.replace("test_attack", "attack"))}


def sources() -> Iterator[Path]:
    """Every file that may refer to an attack."""
    for directory, kind in (("perimeter", "py"), ("tests", "py"), ("bench", "py"), ("docs", "md"), ("newsfragments", "md")):
        yield from (ROOT / directory).rglob(f"*.{kind}")
    yield from ROOT.glob("*.md")
    yield from (path for path in (ROOT / "etc").iterdir() if path.is_file())


class AttackTests(TestCase):
    def test_how_numbers_are_cited(self) -> None:
        for text, numbers in (
            ("attack 18", {18}),
            ("Attacks 8, 9 and 12:", {8, 9, 12}),
            ("(attacks 8 to 10)", {8, 9, 10}),
            ("attacks 35,\n    # 36 and 40", {35, 36, 40}),
            ("def test_attack_07_x(self), attack_8_y", {7, 8}),
            ("an attack of 1996, attack 2, 300 ms", {2, 300}),
        ):
            self.assertEqual(cited(text), numbers, text)

    def test_numbers_are_unique_and_in_order(self) -> None:
        numbers = listed(PAGE.read_text())
        self.assertGreater(len(numbers), 44)
        self.assertEqual(numbers, sorted(set(numbers)))

    def test_every_number_that_is_cited_is_listed(self) -> None:
        known = set(listed(PAGE.read_text()))
        missing = {
            f"{path.relative_to(ROOT)}: {sorted(unknown)}"
            for path in sources()
            if path != Path(__file__) and (unknown := cited(path.read_text()) - known)
        }
        self.assertEqual(missing, set())

    def test_rows_with_letters(self) -> None:
        rows = lettered(PAGE.read_text())
        self.assertEqual(len(rows), len(set(rows)))
        cited_somewhere, tested = set[str](), set[str]()
        for path in sources():
            if path != Path(__file__):
                cited_somewhere |= cited_letters(path.read_text())
        for path in (ROOT / "tests").rglob("test_*.py"):
            tested.update(one.upper() for one in re.findall(r"def test_attack_([bo]\d+)_", path.read_text()))
        self.assertEqual(sorted(cited_somewhere - set(rows)), [])
        self.assertEqual(sorted(set(rows) - tested), [])

    def test_every_attack_that_is_listed_has_a_test(self) -> None:
        tested = set[int]()
        for path in (ROOT / "tests").rglob("test_*.py"):
            tested.update(int(number) for number in re.findall(r"def test_attack_(\d+)_", path.read_text()))
        self.assertEqual(sorted(set(listed(PAGE.read_text())) - tested), [])
