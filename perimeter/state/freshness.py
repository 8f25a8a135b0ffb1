"""Whether what other machines have taken away is known here: how long ago the engine was heard, and whether the clocks agree.

The worker that follows the engine notes the time up to which it has read the engine's log, which is that of the last entry: an
answer may have waited on its way, or in a process that was stopped. The note goes over the shared page to the other workers. A
worker counts a note once it has read the local log after it has seen the note: everything that was in the engine at the time of
the note is in force in the worker then.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from hashlib import sha256
from math import inf
from typing import Final

from perimeter.state.peers import ALONE, Peers

SHORT: Final = 15 * 60.0 + 1.0
"""Seconds that an access token lives at most that is good while the state is stale, with ``stale = jwt``.

Its beginning is rounded down to a second, and its end up.
"""

MOST_SKEW: Final = 2.0
"""Seconds by which the clock of this machine may differ from that of the engine. "Before" in a revocation compares two clocks."""

_TAG: Final = 16
"""Bits of a note that say which engine it is about. The rest is the time in milliseconds."""

Note = int
"""A time of `machine_seconds` in milliseconds, and below it the tag of the engine; 0: never."""


def machine_seconds() -> float:
    """The time since the machine has started, in seconds, which all its processes share. It goes on while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Always:
    """For a state that one machine has for itself: it is never stale. The interface of `Freshness` for `State`."""

    spared: float = 0.0
    limit: float = inf

    @property
    def stale(self) -> bool:
        """False."""
        return False

    @property
    def silent(self) -> float:
        """0."""
        return 0.0

    @property
    def skew(self) -> float:
        """0."""
        return 0.0

    @property
    def reason(self) -> str:
        """Empty."""
        return ""

    def allow(self, limit: float, spared: float) -> None:
        """There is no limit."""

    def join(self, peers: Peers) -> None:
        """There are no notes."""

    def mark(self) -> Note:
        """Never."""
        return 0

    def read(self, mark: Note) -> None:
        """There are no notes."""

    def turned(self) -> bool:
        """False."""
        return False


ALWAYS: Final = Always()


class Freshness(Always):
    """The age of what this process knows of the engine that ``engine`` names, which may be ``limit`` seconds.

    Access tokens that live for ``spared`` seconds at most are good all the same. ``clock`` gives `machine_seconds`. At first
    nothing is known, so the state is stale.
    """

    def __init__(self, engine: str, limit: float, spared: float = 0.0, clock: Callable[[], float] = machine_seconds) -> None:
        self.spared = spared
        self.limit = limit
        self._clock = clock
        self._tag = int.from_bytes(sha256(engine.encode("utf-8", "surrogateescape")).digest()[:2], "big")
        self._peers: Peers = ALONE
        #: the latest note that counts here
        self._known: Note = 0
        #: seconds by which the engine's clock is surely ahead of (or behind, negative) this machine's
        self._skew = 0.0
        self._compared = False
        self._was_stale = False

    def allow(self, limit: float, spared: float) -> None:
        """Use these limits from now on."""
        self.limit, self.spared = limit, spared

    def join(self, peers: Peers) -> None:
        """Share notes with ``peers`` from now on."""
        self._peers = peers
        peers.note_heard(self._known)

    # -- what is heard

    def heard(self, age: float = 0.0) -> None:
        """All that the engine's log had ``age`` seconds ago is in the local log, and in force in this process.

        It counts if the clocks have been compared and agree.
        """
        if not self._compared or abs(self._skew) > MOST_SKEW:
            return
        note = (max(0, int((self._clock() - age) * 1000)) << _TAG) | self._tag
        self.read(note)

    def mark(self) -> Note:
        """The latest note of any process, for `read`. To be taken before the local log is read."""
        mask = (1 << _TAG) - 1
        return max((note for note in (self._known, *self._peers.heard()) if note & mask == self._tag), default=0)

    def read(self, mark: Note) -> None:
        """The local log was read to its end after ``mark`` was taken. The note is passed on, as its process may end."""
        if mark > self._known:
            self._known = mark
            self._peers.note_heard(mark)

    def compared(self, ahead: float) -> None:
        """The engine's clock is surely ``ahead`` seconds ahead of this machine's (negative: behind)."""
        self._skew, self._compared = ahead, True

    # -- what follows from it

    @property
    def silent(self) -> float:
        """Seconds since the moment from which everything in the engine is in force here; infinite if there was none."""
        return max(self._clock() - (self._known >> _TAG) / 1000, 0.0) if self._known else inf

    @property
    def skew(self) -> float:
        """Seconds by which the engine's clock is surely ahead of this machine's (negative: behind)."""
        return self._skew

    @property
    def stale(self) -> bool:
        """Whether something may have been taken away that is still good here."""
        return self.silent > self.limit or abs(self._skew) > MOST_SKEW

    @property
    def reason(self) -> str:
        """Why the state is stale, for the operator; "" if it is not."""
        if abs(self._skew) > MOST_SKEW:
            behind = "behind" if self._skew > 0 else "ahead of"
            return f"the clock of this machine is {abs(self._skew):.1f} s {behind} the clock of Redis"
        silent = self.silent
        if silent == inf:
            return "Redis has not been heard since the start"
        if silent > self.limit:
            return f"Redis has not been heard for {silent:.0f} s (stale_limit is {self.limit:g} s)"
        return ""

    def turned(self) -> bool:
        """Whether the state has become stale, or fresh, since the last call."""
        before, self._was_stale = self._was_stale, self.stale
        return before != self._was_stale
