"""For how long a worker has been behind the others with the state."""

from __future__ import annotations


class Lag:
    """The lag of one worker. Call `look` repeatedly: the interval between calls is the precision of the result."""

    __slots__ = ("_since", "_target")

    def __init__(self) -> None:
        self._target = 0
        self._since = 0.0

    def look(self, applied: int, committed: int, now: float) -> float:
        """The least seconds for which a written change has not been in force in the worker, at the time ``now``.

        ``applied`` is the last change in force there, ``committed`` the last one written by any worker. ``now`` is in seconds, of
        a clock that may be set back.
        """
        if applied >= self._target or committed < self._target or now < self._since:
            self._target, self._since = committed, now
        return now - self._since if applied < self._target else 0.0
