"""Property tests that may leave before their assertion count how often they reach it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import TestCase

from tests.unit.doubles.properties import reached, reaches

UNIT = Path(__file__).parent


def property_tests(tree: ast.AST) -> Iterator[tuple[ast.FunctionDef, set[str]]]:
    """The property tests of a module, each with the names of its decorators."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            names = {one.func.id for one in node.decorator_list if isinstance(one, ast.Call) and isinstance(one.func, ast.Name)}
            if "given" in names:
                yield node, names


def leaves_early(test: ast.FunctionDef) -> bool:
    """Whether some example may end without an assertion: by return, by assume, or where each assertion stands below an ``if``."""
    inner = {node for one in ast.walk(test) if isinstance(one, ast.FunctionDef) and one is not test for node in ast.walk(one)}
    own = [node for node in ast.walk(test) if node not in inner]
    if any(isinstance(node, ast.Return) or (isinstance(node, ast.Name) and node.id == "assume") for node in own):
        return True
    conditional = {node for one in own if isinstance(one, ast.If) and not one.orelse for node in ast.walk(one)}
    asserted = [node for node in own if isinstance(node, ast.Attribute) and node.attr.startswith(("assert", "successResult"))]
    return bool(asserted) and all(node in conditional for node in asserted)


class PropertyTests(TestCase):
    def test_those_that_filter_count(self) -> None:
        found = 0
        for path in sorted(UNIT.rglob("test_*.py")):
            for test, names in property_tests(ast.parse(path.read_text())):
                if leaves_early(test):
                    found += 1
                    self.assertIn("reaches", names, f"{path.relative_to(UNIT)}: {test.name} does not count")
        self.assertGreater(found, 10)

    def test_too_few_examples_fail(self) -> None:
        @given(st.integers(0, 10))
        def all_reach(case: PropertyTests, number: int) -> None:
            reached(case)

        @given(st.integers(0, 10))
        def none_reaches(case: PropertyTests, number: int) -> None:
            if number > 10:
                reached(case)

        reaches(5)(all_reach)(self)
        self.assertRaises(self.failureException, reaches(1)(none_reaches), self)
