"""Counts how many examples of a property test reach its assertion: a test that filters all of them away cannot fail."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any
from unittest import TestCase


def reaches(at_least: int) -> Callable[[Callable[..., None]], Callable[[Any], None]]:
    """Above `hypothesis.given`: the test fails unless at least that many examples called `reached`."""

    def decorate(test: Callable[..., None]) -> Callable[[Any], None]:
        @wraps(test)
        def counted(case: Any) -> None:
            case.reached = 0
            test(case)
            if case.reached < at_least:
                case.fail(f"{case.reached} examples reached the assertion, and {at_least} are expected")

        return counted

    return decorate


def reached(case: TestCase) -> None:
    """This example was not filtered away."""
    case.reached += 1  # type: ignore[attr-defined]
