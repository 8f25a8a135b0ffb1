"""Wraps a token service as an authenticator and caches its positive answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from zope.interface import implementer

from perimeter.auth.kinds.remote.memory import TokenMemory, Vouched
from perimeter.errors import InvalidToken
from perimeter.model import TOKEN_PREFIX, AuthenticationRequest, BearerCredentials, Credentials, Principal
from perimeter.plugin.authenticator import IAuthenticator, IProbe, ISchemes, Scheme
from perimeter.plugin.services import AuthServices

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

    A service that does not know a token says nothing about the others', so the next authenticator is asked; its answer is
    remembered for ``refusals`` seconds. A token that has the form of the gateway's own is invalid, and is not sent out
    (attack 159).
    """

    schemes = (Scheme.BEARER,)

    def __init__(
        self, name: str, realm: str, service: TokenService, remember: float, services: AuthServices, *, refusals: float = 0.0
    ) -> None:
        self.name = name
        self.realm = realm
        self._service = service
        self._own_issuer = services.token_issuer
        self._memory = TokenMemory(remember, services.reactor, refusals=refusals)

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
        return await self._memory.find(token, lambda: self._vouch(token, request.explain))

    async def _vouch(self, token: str, explain: Explain) -> Vouched | None:
        from perimeter.auth.kinds.remote.judge import read_header

        header = read_header(token)
        if token.startswith(TOKEN_PREFIX) or (header is not None and header.issuer == self._own_issuer):
            raise InvalidToken("has the form of this gateway's own tokens, and is none of them")
        return await self._service.vouch(token, explain)
