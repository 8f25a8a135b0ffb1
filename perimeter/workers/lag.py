"""For how long a worker has been behind the others with the state."""

from __future__ import annotations


class Lag:
    """Of one worker. `look` at it again and again, as often as the answer has to be exact."""

    __slots__ = ("_since", "_target")

    def __init__(self) -> None:
        self._target = 0
        self._since = 0.0

    def look(self, applied: int, committed: int, now: float) -> float:
        """For how many seconds a change has waited at least that was written by ``now`` and is not in force in the worker.

        ``applied`` is the last change in force there, ``committed`` the last one written by any worker. ``now`` is in seconds, of
        a clock that may be set back.
        """
        if applied >= self._target or committed < self._target or now < self._since:
            self._target, self._since = committed, now
        return now - self._since if applied < self._target else 0.0
