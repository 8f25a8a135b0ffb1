"""The circuit breaker: a backend that is down costs one timeout, and not one for each request.

A closed breaker lets all requests ask. One slow failure, or several quick ones in a row, open it: until the pause ends, requests
are refused at once. Then one request tries (half-open), and the others are refused until its answer. Each failed try doubles the
pause. `perimeter.auth.chain.asking` decides what counts as a failure.
"""

from __future__ import annotations

from math import ceil

import attrs
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from perimeter.auth.chain.watch import Paused

_log = Logger()

FIRST_PAUSE = 1.0
"""Seconds of the first pause."""

LONGEST_PAUSE = 30.0
"""Seconds of the longest pause."""

SLOW = 0.5
"""Seconds after which a failure is slow."""

QUICK_FAILURES = 3
"""Quick failures in a row that open the breaker. A single one may be a connection that was just cut."""


@attrs.define
class _Pause:
    """Why a breaker is open: ``seconds`` until the time ``end``. ``trying`` is True while a request tries."""

    seconds: float
    end: float
    trying: bool = False


class CircuitBreaker:
    """Guards the authenticator called ``name``."""

    def __init__(self, name: str, clock: IReactorTime) -> None:
        self._name = name
        self._clock = clock
        self._quick = 0
        self._pause: _Pause | None = None

    @property
    def open(self) -> bool:
        """Whether the backend is considered down."""
        return self._pause is not None

    @property
    def remaining(self) -> float:
        """Seconds until the next try; 0 if it is under way or due."""
        return 0.0 if self._pause is None else max(0.0, self._pause.end - self._clock.seconds())

    def admit(self) -> bool:
        """Let a request ask. True means that it is the one that tries. Raises `Paused` if it may not ask."""
        pause = self._pause
        if pause is None:
            return False
        if pause.trying or self.remaining > 0:
            wait = max(1, ceil(self.remaining))
            raise Paused(f"authenticator {self._name} is down and not asked at the moment", retry_after=wait)
        pause.trying = True
        return True

    def answered(self) -> None:
        """An answer of any kind came: close."""
        if self._pause is not None:
            _log.info("Authenticator {name} answers again", name=self._name)
        self._quick = 0
        self._pause = None

    def failed(self, trying: bool, waited: float, reason: str) -> None:
        """A request failed after ``waited`` seconds; ``trying`` is what `admit` returned."""
        before = self._pause
        if before is not None and not trying:
            return  # it began before the breaker opened, so it is no news
        self._quick += 1
        if not trying and waited < SLOW and self._quick < QUICK_FAILURES:
            return
        seconds = FIRST_PAUSE if before is None else min(LONGEST_PAUSE, before.seconds * 2)
        self._pause = _Pause(seconds, self._clock.seconds() + seconds)
        if before is None:
            _log.warn("Authenticator {name} is down ({reason}); logins that need it are refused", name=self._name, reason=reason)

    def undecided(self, trying: bool) -> None:
        """A request ended without showing whether the backend works: the next request may try."""
        if trying and self._pause is not None:
            self._pause.trying = False
