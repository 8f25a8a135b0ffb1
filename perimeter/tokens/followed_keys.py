"""Keeps a keyring up to date with its file, which several processes read and rotate, and with the keys of other machines."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from math import inf
from typing import Any, Final, Protocol

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from perimeter.offload import Offload
from perimeter.state.writer import unaffected
from perimeter.tokens.format import EpochClock
from perimeter.tokens.keyring import Keyring

_log = Logger()

LOOK_INTERVAL: Final = 1.0
"""Least seconds between two checks of the file because a token names an unknown key."""


def _do_nothing() -> None:
    """Ignore the change."""


class Exchanges(Protocol):
    """See `perimeter.cluster.keys.SharedKeys`. The methods return whether there are other keys, and raise `Refusal`."""

    async def exchange(self) -> bool: ...  # noqa: D102

    async def rotate_if_due(self) -> bool: ...  # noqa: D102

    async def rotate(self, *, discard: bool = False) -> None: ...  # noqa: D102


class FollowedKeys:
    """Reads ``keyring`` again in ``offload``, for the reactor thread. ``changed`` is called when there are other keys."""

    def __init__(self, keyring: Keyring, offload: Offload, clock: EpochClock) -> None:
        self._keyring = keyring
        self._offload = offload
        self._clock = clock
        self._looked = -inf
        self._shared: Exchanges | None = None
        self._leads: Callable[[], bool] = lambda: True
        self._unchecked = False
        #: an exchange with the other machines is under way, and there is another reason for one
        self._exchanging = self._missed = False
        #: callers that wait for the first keys
        self._settling: list[Deferred[None]] = []
        self.changed: Callable[[], None] = _do_nothing

    def share(self, shared: Exchanges, leads: Callable[[], bool]) -> None:
        """Exchange keys with other machines from now on, in the one process of this machine that ``leads``."""
        self._shared = shared
        self._leads = leads

    def settled(self) -> Deferred[None]:
        """Fires when there is a key that signs. The caller limits the time: the other machines may not be reached."""
        if self._keyring.signs:
            return succeed(None)
        known: Deferred[None] = Deferred()
        self._settling.append(known)
        return known

    def refresh(self) -> Deferred[None]:
        """Read the file if it has changed. Never fails."""
        if self._shared is not None and not self._keyring.signs:  # this machine has got no keys yet
            return self.rotate_if_due()
        return self._done(self._offload.run(self._keyring.refresh))

    def rotate_if_due(self) -> Deferred[None]:
        """Read the file, and rotate the keys if that is due. Never fails."""
        if self._shared is not None and self._leads():
            return self._exchange(self._shared.rotate_if_due)
        return self._done(self._offload.run(self._keyring.rotate_if_due))

    async def rotate(self, *, discard: bool = False) -> None:
        """Replace the signing key now, with ``discard`` all keys: on all machines. Raises `Unavailable` and `StartupError`."""
        if self._shared is None:
            await self._offload.run(self._keyring.rotate, discard=discard)
        else:
            await self._shared.rotate(discard=discard)
        self.changed()

    def look(self) -> Deferred[None] | None:
        """Read the keys again, for an unknown one. None if the last check was less than `LOOK_INTERVAL` ago (attack 89).

        Fails with `Unavailable` if it is not known whether another machine has the key.
        """
        now = self._clock.seconds()
        if 0 <= now - self._looked < LOOK_INTERVAL:
            return None
        self._looked = now
        if self._shared is None:
            return self.refresh()
        return unaffected(self._used(Deferred.fromCoroutine(self._shared.exchange())))

    def announced(self) -> None:
        """Another machine has changed the keys, or this one starts."""
        if self._shared is not None and self._leads():
            self._missed = self._exchanging
            self._exchange(self._shared.exchange)

    def _exchange(self, work: Callable[[], Coroutine[Any, Any, bool]]) -> Deferred[None]:
        """Do ``work`` with the other machines, unless such work is under way."""
        if self._exchanging:
            return succeed(None)
        self._exchanging = True

        def over(_: None) -> None:
            self._exchanging = False
            if self._missed:  # announced meanwhile
                self._missed = False
                self.announced()

        return self._done(Deferred.fromCoroutine(work())).addCallback(over)

    def _used(self, reading: Deferred[bool]) -> Deferred[None]:
        def read(changed: bool) -> None:
            self._unchecked = False
            settling, self._settling = (self._settling, []) if self._keyring.signs else ([], self._settling)
            for known in settling:
                if not known.called:
                    known.callback(None)
            if changed:
                _log.info("the signing keys have changed")
                self.changed()

        return reading.addCallback(read)

    def _done(self, reading: Deferred[bool]) -> Deferred[None]:
        def failed(failure: Failure) -> None:
            """Log it: once, until the keys can be checked again."""
            if not self._unchecked:
                _log.error("the signing keys were not checked: {error}", error=failure.getErrorMessage())
            self._unchecked = True

        return self._used(reading).addErrback(failed)
