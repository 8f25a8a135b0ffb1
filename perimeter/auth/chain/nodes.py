"""The other machines of a site, which count the same wrong passwords in one place (`perimeter.cluster.counts`).

A machine asks for the counts before it verifies a password, so a guesser who goes from machine to machine gets no more guesses.
It writes only failures, and the counts that it drops. If the place does not answer, each machine counts for itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Protocol

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from perimeter.auth.chain.attempts import FORGOTTEN_AFTER, Counted, Key
from perimeter.cluster.counts import NO_DECAY, Count, Decay
from perimeter.errors import Unavailable
from perimeter.recent import Recent
from perimeter.state.writer import unaffected

_log = Logger()

ALONE_PART: Final = 4
"""What limits are divided by while the counts of the other machines are not known."""

PAUSE: Final = 1.0
"""Seconds after a question or a change that failed until the next one, so that not every sign-in waits for it."""

LONGEST_WAIT: Final = 0.25
"""Seconds that the answer to a wrong password waits until the other machines can know of it."""

_MOST_UNDROPPED: Final = 1000

_NO_COUNT: Final = Key(Counted.NAME, "")
"""Dropped to find out whether the counts can be changed."""


class Counts(Protocol):
    """See `perimeter.cluster.counts.SharedCounts`. The methods raise `Unavailable`."""

    async def add(self, name: bytes, decay: Decay, once: bytes) -> Count: ...  # noqa: D102

    async def find(self, names: Sequence[bytes]) -> list[Count]: ...  # noqa: D102

    async def drop(self, names: Sequence[bytes]) -> None: ...  # noqa: D102


class Nodes:
    """Asks ``counts``. No method raises."""

    def __init__(self, counts: Counts, clock: IReactorTime) -> None:
        self._counts = counts
        self._clock = clock
        #: the last question, and the last change, has failed. Redis may answer questions while it takes no changes.
        self._unread = self._unwritten = False
        #: when the next question is asked, and the next change is tried, after one that failed
        self._ask_at = self._write_at = 0.0
        #: counts that could not be dropped: dropped when the other machines are reached again
        self._undropped: Recent[Key, None] = Recent(_MOST_UNDROPPED)

    @property
    def away(self) -> bool:
        """Whether this machine counts for itself."""
        return self._unread or self._unwritten

    def limit(self, allowed: int) -> int:
        """The failures that are allowed now, if ``allowed`` are with the counts of all machines; 0 stays 0."""
        return max(1, allowed // ALONE_PART) if self.away and allowed else allowed

    async def find(self, keys: Sequence[Key]) -> Iterable[tuple[Key, Count]]:
        """The counts of all machines; nothing if they are not known."""
        now = self._clock.seconds()
        if not keys or (self._unread and now < self._ask_at):
            return ()
        try:
            found = await self._counts.find([spelled(key) for key in keys])
        except Unavailable as error:
            self._ask_at = self._clock.seconds() + PAUSE
            self._lost(error, unread=True)
            return ()
        self._reached(self._unwritten)
        if self._unwritten and now >= self._write_at:
            self._write_again()
        return zip(keys, found, strict=True)

    def add(self, failures: Iterable[tuple[Key, int]], guess: bytes, learned: Callable[[Key, Count], None]) -> Deferred[Any]:
        """Count failures: keys, and how many are allowed. ``learned`` is called with the counts of all machines after them.

        Fires when they are counted, or cannot be, and after `LONGEST_WAIT` in any case.
        """
        adding = [Deferred.fromCoroutine(self._add(key, allowed, guess, learned)) for key, allowed in failures]
        counted: Deferred[Any] = unaffected(DeferredList([one.addErrback(_log_bug) for one in adding]))
        return counted.addTimeout(LONGEST_WAIT, self._clock).addErrback(lambda _: None)  # it was late

    async def _add(self, key: Key, allowed: int, guess: bytes, learned: Callable[[Key, Count], None]) -> None:
        address = key.kind is Counted.ADDRESS
        decay = Decay(allowed, allowed / FORGOTTEN_AFTER) if address else NO_DECAY
        try:
            count = await self._counts.add(spelled(key), decay, guess if address else b"")
        except Unavailable as error:
            self._lost(error)
        else:
            self._written()
            learned(key, count)

    def drop(self, keys: Sequence[Key]) -> None:
        """Drop the counts of ``keys`` on all machines, as soon as they are reached."""
        if keys:
            Deferred.fromCoroutine(self._drop(keys)).addErrback(_log_bug)

    async def _drop(self, keys: Sequence[Key]) -> None:
        try:
            await self._counts.drop([spelled(key) for key in keys])
        except Unavailable as error:
            for key in keys:
                self._undropped.keep(key, None)
            self._lost(error)
        else:
            self._written()

    def _write_again(self) -> None:
        """Try a change: what is to be dropped, or a count that does not exist."""
        keys = list(self._undropped) or [_NO_COUNT]
        self._undropped.clear()
        self._write_at = self._clock.seconds() + PAUSE
        self.drop(keys)

    def _lost(self, error: Unavailable, *, unread: bool = False) -> None:
        if not self.away:
            _log.error(
                "wrong passwords are counted on this machine alone, and fewer are allowed, until the others are reached: {why}",
                why=error.detail,
            )
        if unread:
            self._unread = True
        else:
            self._unwritten, self._write_at = True, self._clock.seconds() + PAUSE

    def _written(self) -> None:
        self._reached(unwritten=False)
        if self._undropped:
            self._write_again()

    def _reached(self, unwritten: bool) -> None:
        was_away = self.away
        self._unread, self._unwritten = False, unwritten
        if was_away and not self.away:
            _log.info("wrong passwords are counted together with the other machines again")


def spelled(key: Key) -> bytes:
    """An unambiguous spelling of ``key``."""
    return "\0".join((key.kind, key.realm, key.value)).encode("utf-8", "surrogatepass")


def _log_bug(failure: Any) -> None:
    _log.failure("wrong passwords are not counted together with the other machines", failure=failure)
