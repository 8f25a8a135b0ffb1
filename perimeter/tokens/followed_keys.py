"""Keeps a keyring up to date with its file: several processes rotate the keys of one file, and each reads the changes."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Final

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from perimeter.offload import Offload
from perimeter.tokens.format import EpochClock
from perimeter.tokens.keyring import Keyring

_log = Logger()

LOOK_INTERVAL: Final = 1.0
"""Least seconds between two checks of the file because a token names an unknown key."""


def _do_nothing() -> None:
    """Ignore the change."""


class FollowedKeys:
    """Reads ``keyring`` again in ``offload``, for the reactor thread. ``changed`` is called when there are other keys."""

    def __init__(self, keyring: Keyring, offload: Offload, clock: EpochClock) -> None:
        self._keyring = keyring
        self._offload = offload
        self._clock = clock
        self._looked = -inf
        self.changed: Callable[[], None] = _do_nothing

    def refresh(self) -> Deferred[None]:
        """Read the file if it has changed. Never fails."""
        return self._done(self._offload.run(self._keyring.refresh))

    def rotate_if_due(self) -> Deferred[None]:
        """Read the file, and rotate the keys if that is due. Never fails."""
        return self._done(self._offload.run(self._keyring.rotate_if_due))

    def look(self) -> Deferred[None] | None:
        """Like `refresh`, for an unknown key. None if the last check was less than `LOOK_INTERVAL` ago (attack 89)."""
        now = self._clock.seconds()
        if 0 <= now - self._looked < LOOK_INTERVAL:
            return None
        self._looked = now
        return self.refresh()

    def _done(self, reading: Deferred[bool]) -> Deferred[None]:
        def read(changed: bool) -> None:
            if changed:
                _log.info("the signing keys have changed")
                self.changed()

        def failed(failure: Failure) -> None:
            _log.error("the signing keys were not checked: {error}", error=failure.getErrorMessage())

        return reading.addCallback(read).addErrback(failed)
