"""How long a slot waits before its next worker is started."""

from __future__ import annotations

from typing import Final

FIRST: Final = 1.0
LONGEST: Final = 30.0
SERVED: Final = 2.0
"""A worker that has served for so many seconds has started well: the next one is started at once.

With a longer time, a client that repeats a request which ends workers could make all slots wait at the same time.
"""


class Backoff:
    """Counts failed starts in a row: ``failures``. Waits 0, 1, 2, 4 … 30 seconds."""

    def __init__(self) -> None:
        self.failures = 0

    def ended(self, served: float) -> float:
        """A worker has ended after ``served`` seconds of service. Returns the seconds until the next start."""
        if served >= SERVED:
            self.failures = 0
        self.failures += 1
        return 0.0 if self.failures == 1 else min(LONGEST, FIRST * 2.0 ** min(self.failures - 2, 10))
