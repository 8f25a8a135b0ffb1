"""Limits how many requests to an upstream may be sent again, so that retries cannot increase an overload. Pure."""

from __future__ import annotations

from typing import Final

RESERVE: Final = 10.0
"""Retries that are possible without earlier requests, for services with few requests; also the largest reserve."""


class RetryBudget:
    """Each request earns the part ``share`` of a retry, and each retry costs one."""

    __slots__ = ("_saved", "_share")

    def __init__(self, share: float) -> None:
        self._share = share
        self._saved = RESERVE

    def request(self) -> None:
        """Count a request. Its own retries do not count as requests."""
        if self._saved < RESERVE:
            self._saved = min(RESERVE, self._saved + self._share)

    def take(self) -> bool:
        """Whether one more request may be sent again."""
        if self._saved < 1.0:
            return False
        self._saved -= 1.0
        return True
