"""Sends each wrong password to the other worker processes, in batches, through the manager."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from perimeter.auth.chain.attempts import Attempts, Counted, Key
from perimeter.auth.chain.throttle import Throttle
from perimeter.workers.place import Place

_log = Logger()

INTERVAL: Final = 0.05
"""Seconds between two batches at least. The first failure after a pause is sent at once."""

MOST: Final = 10_000
"""The most failures in one batch, and counts for a worker that starts (the highest ones). Takes 15 ms on either side."""

_TIMEOUT: Final = 0.9
"""Seconds that each of the others may take to answer."""

LONGEST_WAIT: Final = 1.0
"""Seconds that a worker which starts waits for the counts of the others."""


class SharedAttempts:
    """The other workers, as `perimeter.auth.chain.attempts.AttemptPeers`. ``throttle`` counts what they report."""

    def __init__(self, place: Place, clock: IReactorTime) -> None:
        self._place = place
        self._clock = clock
        self._events: list[Any] = []
        self._sending: IDelayedCall | None = None
        self._sent = -INTERVAL
        self.throttle: Throttle | None = None
        place.handlers["attempts"] = self._heard
        place.handlers["attempts_so_far"] = self._so_far

    # -- to the others

    def failed(self, keys: Sequence[Key], guess: bytes) -> None:
        """See `AttemptPeers`."""
        self._add(["failed", [_written(key) for key in keys], guess.hex()])

    def dropped(self, keys: Sequence[Key]) -> None:
        """See `AttemptPeers`."""
        self._add(["dropped", [_written(key) for key in keys], ""])

    def _add(self, event: Any) -> None:
        self._events.append(event)
        if len(self._events) >= MOST:
            self._send()
        elif self._sending is None:
            wait = max(0.0, self._sent + INTERVAL - self._clock.seconds())
            self._sending = self._clock.callLater(min(wait, INTERVAL), self._send)

    def _send(self) -> None:
        if self._sending is not None and self._sending.active():
            self._sending.cancel()
        self._sending = None
        self._sent = self._clock.seconds()
        events, self._events = self._events, []
        self._place.tell_others("attempts", events=events)

    def stop(self) -> None:
        """Send the waiting failures."""
        if self._events:
            self._send()

    # -- from the others

    def _heard(self, told: Mapping[str, Any]) -> None:
        throttle = self.throttle
        if throttle is None:
            return
        for what, keys, guess in told["events"]:
            if what == "failed":
                throttle.heard_failure(map(_read, keys), bytes.fromhex(guess))
            else:
                throttle.heard_drop(map(_read, keys))

    def _so_far(self, asked: Mapping[str, Any]) -> Any:
        """All counts, for the worker of slot ``asker``. Only the other worker with the lowest number sends them."""
        first = next((slot.number for slot in self._place.page.serving() if slot.number != asked["asker"]), None)
        if self.throttle is None or first != self._place.number:
            return []
        return [[*_written(key), one.failures, one.last, one.until] for key, one in self.throttle.worst(MOST)]

    def learn(self) -> Deferred[None]:
        """Ask the others for what they have counted so far. Fires when that is known, and in any case after `LONGEST_WAIT`."""
        asked = self._place.gather("attempts_so_far", _TIMEOUT, asker=self._place.number)

        def learned(replies: Any) -> None:
            counts = [count for reply in replies for count in reply.value or ()]
            if self.throttle is not None:
                self.throttle.merge((_read(count[:3]), Attempts(*count[3:])) for count in counts)

        def failed(failure: Failure) -> None:
            reason = type(failure.value).__name__
            _log.warn("the wrong passwords that other workers have counted are not known ({reason})", reason=reason)

        return asked.addTimeout(LONGEST_WAIT, self._clock).addCallback(learned).addErrback(failed)


def _written(key: Key) -> list[str]:
    return [key.kind, key.value, key.realm]


def _read(written: Sequence[str]) -> Key:
    kind, value, realm = written
    return Key(Counted(kind), value, realm)
