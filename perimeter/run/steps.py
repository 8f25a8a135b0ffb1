"""Takes all of several steps, even if one of them raises: after the first assignment of a reload there is no way back."""

from __future__ import annotations

from collections.abc import Callable

from twisted.logger import Logger

_log = Logger()


def run_all(problem: str, *steps: Callable[[], object]) -> None:
    """Call every step in turn. What a step raises is logged, with ``problem`` as the message, and the next one is called."""
    for step in steps:
        try:
            step()
        except Exception:
            _log.failure("{problem}", problem=problem)
