"""Begins, finds and ends sign-ins that wait for a second factor, and counts the codes that are tried for them."""

from __future__ import annotations

import secrets
from typing import Final

from perimeter.errors import TooManyCodes, WrongFactor
from perimeter.factors.pending import LIFETIME, TRIES, PendingSignIn, StoredPending
from perimeter.model import Principal
from perimeter.sessions.sealing import seal, unseal
from perimeter.sessions.session import Proof, digest_of
from perimeter.sessions.stored import StoredSessions
from perimeter.state.once import Claims
from perimeter.state.writer import look
from perimeter.tokens.format import EpochClock

_TRIES_REMEMBERED: Final = 86400.0
"""Seconds for which the codes that were tried in a session are counted."""


class PendingBook:
    """``stored`` has the sign-ins, ``sessions`` knows whose sessions were all ended, ``claims`` counts tries."""

    def __init__(self, stored: StoredPending, sessions: StoredSessions, claims: Claims, clock: EpochClock) -> None:
        self._stored = stored
        self._sessions = sessions
        self._claims = claims
        self._clock = clock

    async def begin(self, owner: Principal, proved: tuple[Proof, ...], address: str, payload: bytes) -> str:
        """Keep a sign-in of ``owner``: the value of its cookie, 43 characters of base64url. Only that opens ``payload``.

        Raises `Unavailable` if it cannot be written.
        """
        cookie = secrets.token_urlsafe(32)
        value, now = cookie.encode("ascii"), self._clock.seconds()
        await self._stored.add(PendingSignIn(digest_of(value), owner, proved, now, address, seal(value, payload)))
        return cookie

    async def find(self, cookie: bytes) -> PendingSignIn | None:
        """The sign-in of a cookie's value; None if there is none, it is over, or all sessions of its user were ended since.

        Raises `Unavailable` if what another process has written cannot be read.
        """
        if self._stored.find(digest_of(cookie)) is None:
            await look(self._stored)
        return self.current(cookie)

    def current(self, cookie: bytes) -> PendingSignIn | None:
        """`find`, without a look at what another process has written a moment ago."""
        one = self._stored.find(digest_of(cookie))
        if one is None or one.created + LIFETIME <= self._clock.seconds():
            return None
        return None if self._sessions.ended_since(one.owner, one.created) else one

    def payload(self, cookie: bytes, one: PendingSignIn) -> bytes:
        """What was given to `begin`. Raises `perimeter.sessions.sealing.Unsealable` for another cookie."""
        return unseal(cookie, one.sealed)

    async def finish(self, one: PendingSignIn) -> None:
        """End it because a session begins. Raises `WrongFactor` if that has happened before, and `Unavailable`."""
        if not await self._claims.claim(b"finished " + one.digest, one.created + LIFETIME):
            raise WrongFactor("the sign-in was completed already")
        await self._stored.end(one)

    async def count_try(self, one: PendingSignIn) -> None:
        """Count a code that is about to be checked: before it is, so that many at the same moment are not more.

        Raises `TooManyCodes` after `TRIES` of them, and ends the sign-in then; and `Unavailable`.
        """
        try:
            await self.count(one.digest.hex(), one.created + LIFETIME)
        except TooManyCodes:
            await self._stored.end(one)
            raise

    async def count_try_of_session(self, id: str) -> None:
        """The same for a code that is tried in the session ``id``, which does not end here."""
        await self.count(id, self._clock.seconds() + _TRIES_REMEMBERED)

    async def count(self, which: str, until: float) -> None:
        """Claim one of the tries of ``which``, which are remembered until then. Raises `TooManyCodes`, and `Unavailable`."""
        for number in range(TRIES):
            if await self._claims.claim(f"try {which} {number}".encode("ascii"), until):
                return
        raise TooManyCodes(f"{TRIES} codes were tried for this sign-in")
