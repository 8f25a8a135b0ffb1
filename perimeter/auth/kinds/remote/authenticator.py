"""Wraps a token service as an authenticator and caches its positive answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from perimeter.auth.kinds.remote.memory import TokenMemory, Vouched
from perimeter.model import AuthenticationRequest, BearerCredentials, Credentials, Principal
from perimeter.plugin.authenticator import IAuthenticator, IProbe, ISchemes, Scheme

Explain = Callable[[str], None]


class TokenService(Protocol):
    """A service that knows tokens."""

    async def vouch(self, token: str, explain: Explain) -> Vouched | None:
        """Who holds ``token``; None if this service does not know it.

        Raises `perimeter.errors.InvalidToken` for one that it knows to be wrong, `perimeter.errors.Unavailable` if it could
        not decide. ``explain`` takes a sentence for each step.
        """


@implementer(IAuthenticator, ISchemes, IProbe)
class TokenAuthenticator:
    """Finds the holders of bearer tokens by ``service``, and remembers them for ``remember`` seconds.

    A service that does not know a token says nothing about the others', so the next authenticator is asked.
    """

    schemes = (Scheme.BEARER,)

    def __init__(self, name: str, realm: str, service: TokenService, remember: float, clock: IReactorTime) -> None:
        self.name = name
        self.realm = realm
        self._service = service
        self._memory = TokenMemory(remember, clock)

    def forget(self) -> None:
        """Remember nothing from before now."""
        self._memory.forget()

    async def probe(self) -> None:
        """See `IProbe`. A service that has nothing to look at counts as usable."""
        probe = getattr(self._service, "probe", None)
        if probe is not None:
            await probe()

    async def authenticate(self, credentials: Credentials, request: AuthenticationRequest) -> Principal | None:
        """See `IAuthenticator`."""
        if not isinstance(credentials, BearerCredentials):
            return None
        token = credentials.token
        return await self._memory.find(token, lambda: self._service.vouch(token, request.explain))
