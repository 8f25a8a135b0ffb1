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


@attrs.frozen
class Vouched:
    """The holder of a token, and when the issuer's word for it ends (epoch seconds; None: when it is forgotten)."""

    principal: Principal
    expires: float | None = None


Look = Callable[[], Coroutine[Deferred[Any], Any, Vouched | None]]


class TokenMemory:
    """Remembers for ``remember`` seconds (0: never), counted from the question."""

    def __init__(self, remember: float, clock: IReactorTime, capacity: int = CAPACITY) -> None:
        self._memory = CredentialMemory(remember, clock.seconds, capacity)
        self._flights = Flights()

    def forget(self) -> None:
        """Remember nothing from before now."""
        self._memory.forget()
        self._flights.forget()

    async def find(self, token: str, look: Look) -> Principal | None:
        """Who holds ``token``: what is remembered, or what ``look`` finds. Raises what that raises, and remembers no refusal."""
        spelled = token.encode("utf-8", "surrogatepass")
        known = self._memory.find(spelled)
        if known is not None:
            return known
        digest, began = self._memory.digest(spelled), self._memory.begin()
        vouched: Vouched | None = await self._flights.join(digest, look)
        if vouched is None:
            return None
        principal, expires = vouched.principal, vouched.expires
        if expires is not None:
            principal = attrs.evolve(principal, until=expires)
        self._memory.keep(digest, principal, began, principal.until)
        return principal
