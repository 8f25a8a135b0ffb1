"""How many requests to an upstream may be sent again: a part of all, so that retries cannot multiply an overload. Pure."""

from __future__ import annotations

from typing import Final

RESERVE: Final = 10.0
"""Retries that are possible without requests before them, for services with few requests; also the most that is saved up."""


class RetryBudget:
    """Each request earns the part ``share`` of a retry, and each retry costs one."""

    __slots__ = ("_saved", "_share")

    def __init__(self, share: float) -> None:
        self._share = share
        self._saved = RESERVE

    def request(self) -> None:
        """There is a request. Its own retries do not count as requests."""
        if self._saved < RESERVE:
            self._saved = min(RESERVE, self._saved + self._share)

    def take(self) -> bool:
        """Whether one more request may be sent again."""
        if self._saved < 1.0:
            return False
        self._saved -= 1.0
        return True
