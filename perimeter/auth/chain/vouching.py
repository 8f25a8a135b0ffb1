"""Users for whom a provider has vouched, which signs people in elsewhere: what the chain has to say about them.

Providers are in the chain by `ProviderUsers`, so that augmenters, time limits and the operator's pages treat them as all
authenticators. They are asked only by `vouched`: no credential of a request reaches them.
"""

from __future__ import annotations

from typing import Any

from zope.interface import alsoProvides, implementer

from perimeter.auth.chain.chain import AuthenticatorChain
from perimeter.errors import InternalError
from perimeter.model import AuthenticationRequest, Credentials, Principal, VouchedCredentials
from perimeter.plugin.authenticator import IAuthenticator, IProbe, ISchemes, Scheme
from perimeter.plugin.redirect import IRedirectAuthenticator


@implementer(IAuthenticator, ISchemes)
class ProviderUsers:
    """The users for whom ``provider`` vouches. It is an `IProbe` if ``provider`` is.

    It wants to see no credentials of a request, except the provider's own access tokens if there is an authenticator for them,
    ``tokens``.

    A session or an API token of such a user keeps the roles that the user had at the sign-in, since a provider cannot be asked
    about a user by name.
    """

    def __init__(self, provider: IRedirectAuthenticator, tokens: IAuthenticator | None = None) -> None:
        self.name: str = provider.name
        self.realm: str = provider.realm
        self.schemes: tuple[str, ...] = () if tokens is None else (Scheme.BEARER,)
        self._provider: Any = provider
        self._tokens = tokens
        if IProbe.providedBy(provider):
            alsoProvides(self, IProbe)

    async def authenticate(self, credentials: Credentials, request: AuthenticationRequest) -> Principal | None:
        """The user for whom the provider has vouched, or who holds an access token of it."""
        if isinstance(credentials, VouchedCredentials):
            return credentials.principal
        return None if self._tokens is None else await self._tokens.authenticate(credentials, request)

    async def probe(self) -> None:
        """See `IProbe`."""
        await self._provider.probe()


async def vouched(chain: AuthenticatorChain, provider: str, principal: Principal, request: AuthenticationRequest) -> Principal:
    """``principal``, for whom ``provider`` has vouched, with what the augmenters of the realm add.

    Raises `perimeter.errors.Unavailable` if an augmenter could not decide, or if the name cannot be used.
    """
    own = next((one for one in chain.guarded if (one.name, one.realm) == (provider, principal.realm)), None)
    found = None if own is None else await own.ask(VouchedCredentials(principal), request)
    if found is None:
        raise InternalError(f"provider {provider} of the realm {principal.realm} is not in the chain")
    return found
