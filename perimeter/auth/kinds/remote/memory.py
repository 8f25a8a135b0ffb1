"""Remembers who holds a token of another issuer or service, and asks once for all requests with the same token at a time."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from perimeter.auth.chain.flights import Flights
from perimeter.auth.chain.memory import CAPACITY, CredentialMemory
from perimeter.model import Principal
from perimeter.recent import Expiring


@attrs.frozen
class Vouched:
    """The holder of a token, and when the issuer's word for it ends (epoch seconds; None: when it is forgotten)."""

    principal: Principal
    expires: float | None = None


Look = Callable[[], Coroutine[Deferred[Any], Any, Vouched | None]]


class TokenMemory:
    """Remembers for ``remember`` seconds (0: never), counted from the question.

    That a token is not known is remembered for ``refusals`` seconds, in a memory of its own: a flood of made-up tokens must not
    push out good verdicts.
    """

    def __init__(self, remember: float, clock: IReactorTime, capacity: int = CAPACITY, *, refusals: float = 0.0) -> None:
        self._memory = CredentialMemory(remember, clock.seconds, capacity)
        self._refused: Expiring[bytes, bool] = Expiring(capacity, refusals, clock.seconds)
        self._flights = Flights()

    def forget(self) -> None:
        """Remember nothing from before now."""
        self._memory.forget()
        self._refused.clear()
        self._flights.forget()

    async def find(self, token: str, look: Look) -> Principal | None:
        """Who holds ``token``: what is remembered, or what ``look`` finds. Raises what that raises, which is not remembered."""
        spelled = token.encode("utf-8", "surrogatepass")
        known = self._memory.find(spelled)
        if known is not None:
            return known
        digest, began = self._memory.digest(spelled), self._memory.begin()
        if self._refused.get(digest):
            return None
        vouched: Vouched | None = await self._flights.join(digest, look)
        if vouched is None:
            if self._memory.lasts(began):
                self._refused.keep(digest, True, since=began.at)
            return None
        principal, expires = vouched.principal, vouched.expires
        if expires is not None:
            principal = attrs.evolve(principal, until=expires)
        self._memory.keep(digest, principal, began, principal.until)
        return principal
