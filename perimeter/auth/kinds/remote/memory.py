"""What was found out about tokens elsewhere: remembered for a while, and asked once by everybody who asks at the same time.

Kept by a keyed hash, useless in any other process, never the token. Only who was vouched for is remembered: a flood of garbage
must not push out good verdicts, and a token that becomes good works at once.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from hashlib import blake2b
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from perimeter.auth.chain.flights import Flights
from perimeter.model import Principal

CAPACITY = 10_000
"""Verdicts that are remembered; the least recently used one goes first."""


@attrs.frozen
class Vouched:
    """Somebody, and until when (epoch seconds) whoever vouched for him does so; None: for as long as answers are remembered."""

    principal: Principal
    expires: float | None = None


Look = Callable[[], Coroutine[Deferred[Any], Any, Vouched | None]]


class TokenMemory:
    """Remembers for ``remember`` seconds (0: never), counted from the question."""

    def __init__(self, remember: float, clock: IReactorTime, capacity: int = CAPACITY) -> None:
        self._remember = remember
        self._seconds = clock.seconds
        self._capacity = capacity
        self._keyed = blake2b(digest_size=16, key=os.urandom(32))
        self._verdicts: OrderedDict[bytes, tuple[float, Principal]] = OrderedDict()
        self._flights = Flights()
        self._generation = 0

    def forget(self) -> None:
        """Remember nothing from before now."""
        self._generation += 1
        self._verdicts.clear()
        self._flights.forget()

    async def find(self, token: str, look: Look) -> Principal | None:
        """Who holds ``token``: what is remembered, or what ``look`` finds. Raises what that raises, and remembers none of it."""
        keyed = self._keyed.copy()
        keyed.update(token.encode("utf-8", "surrogatepass"))
        digest = keyed.digest()
        known = self._verdicts.get(digest)
        if known is not None:
            if self._seconds() < known[0]:
                self._verdicts.move_to_end(digest)
                return known[1]
            del self._verdicts[digest]
        began, generation = self._seconds(), self._generation
        vouched: Vouched | None = await self._flights.join(digest, look)
        if vouched is None:
            return None
        until = began + self._remember
        if vouched.expires is not None:
            until = min(until, vouched.expires)
        if until > self._seconds() and generation == self._generation:
            self._verdicts[digest] = (until, vouched.principal)
            self._verdicts.move_to_end(digest)
            if len(self._verdicts) > self._capacity:
                self._verdicts.popitem(last=False)
        return vouched.principal
