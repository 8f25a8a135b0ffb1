"""Each refusal in the source has a detail: without one, the operator's log repeats only what the client reads."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import TestCase

import perimeter
from perimeter import errors

PACKAGE = Path(perimeter.__file__).parent

REFUSALS = frozenset(name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, errors.Refusal))


def without_detail(source: str) -> Iterator[int]:
    """The lines of ``source`` that raise a refusal as a bare class, or make one whose detail is missing or empty."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Name) and node.exc.id in REFUSALS:
            yield node.lineno
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in REFUSALS:
            detail = node.args[0] if node.args else next((one.value for one in node.keywords if one.arg == "detail"), None)
            if detail is None or (isinstance(detail, ast.Constant) and not detail.value):
                yield node.lineno


class RefusalsSayWhyTests(TestCase):
    def test_each_refusal_has_a_detail(self) -> None:
        found = [
            f"{path.relative_to(PACKAGE)}:{line}"
            for path in sorted(PACKAGE.rglob("*.py"))
            for line in without_detail(path.read_text(encoding="utf-8"))
        ]
        self.assertEqual(found, [])

    def test_what_lacks_a_detail_is_found(self) -> None:
        for bad in (
            "raise NoRoute",
            "raise NoRoute from None",
            "raise NoRoute()",
            "refuse(MethodNotAllowed(allow=()))",
            "InternalError('')",
            "Unavailable(retry_after=1)",
            "Rejected(detail='')",
        ):
            self.assertEqual(list(without_detail(bad)), [1], bad)
        for good in ("raise NoRoute('here')", "Rejected(detail=text)", "raise error", "raise Directory", "x: type[NoRoute]"):
            self.assertEqual(list(without_detail(good)), [], good)
