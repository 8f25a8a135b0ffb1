"""Sends the last uses of sessions to the other worker processes: each worker needs the uses of all to end idle sessions.

The store has the uses as well, but up to a minute later. They need not be exact: a session may end a little early if the next
request of its browser goes to another worker.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from perimeter.config.site.config import SiteConfig
from perimeter.sessions.stored import StoredSessions
from perimeter.sessions.used import Use
from perimeter.workers.place import Place

_log = Logger()

INTERVAL: Final = 1.0
"""Seconds between two messages to the others."""

MOST: Final = 5_000
"""Uses in one message. Takes 5 ms."""

PART: Final = 30
"""The others get a use after the shortest ``idle`` divided by this number, and at most after `LONGEST` seconds."""

LONGEST: Final = 30.0

_TIMEOUT: Final = 0.9


def resolution(config: SiteConfig) -> float:
    """Seconds after which the others must know of a use."""
    idle = min((idle for idle in (config.login.idle, *(route.idle for route in config.routes)) if idle), default=inf)
    return min(idle / PART, LONGEST)


class SharedUses:
    """Shares the uses of ``sessions`` with the other workers, every ``resolution`` seconds."""

    def __init__(self, place: Place, clock: Any) -> None:
        self._place = place
        self._clock = clock
        self._telling = LoopingCall(self._tell)
        self._telling.clock = clock
        self.sessions: StoredSessions | None = None
        self.resolution = LONGEST
        place.handlers["session_uses"] = self._heard
        place.handlers["session_uses_so_far"] = self._so_far

    def put_in_force(self, sessions: StoredSessions, config: SiteConfig) -> None:
        """``sessions`` are those in use from now on."""
        sessions.share_uses()
        self.sessions = sessions
        self.resolution = resolution(config)
        if not self._telling.running:
            self._telling.start(INTERVAL, now=False)

    def stop(self) -> None:
        """Send the uses that the others do not know, for the last time."""
        if self._telling.running:
            self._telling.stop()
            self.resolution = 0.0
            self._tell()

    def _tell(self) -> None:
        uses = [] if self.sessions is None else self.sessions.new_uses(self.resolution, MOST)
        if uses:
            self._place.tell_others("session_uses", uses=uses)

    def _heard(self, told: Mapping[str, Any]) -> None:
        self._apply(told["uses"])

    def _so_far(self, _: Mapping[str, Any]) -> Sequence[Use]:
        return [] if self.sessions is None else self.sessions.unkept_uses(MOST)

    def _apply(self, uses: Sequence[Sequence[Any]]) -> None:
        if self.sessions is not None:
            self.sessions.heard_uses((id, at, gap) for id, at, gap in uses)

    def learn(self) -> Deferred[None]:
        """Ask the others for the uses that are not in the store yet. Fires when they are known, or after a second."""

        def learned(replies: Any) -> None:
            for reply in replies:
                self._apply(reply.value or ())

        def failed(failure: Failure) -> None:
            reason = type(failure.value).__name__
            _log.warn("the uses of sessions that other workers have seen are not known ({reason})", reason=reason)

        asked = self._place.gather("session_uses_so_far", _TIMEOUT)
        return asked.addTimeout(1.0, self._clock).addCallback(learned).addErrback(failed)
