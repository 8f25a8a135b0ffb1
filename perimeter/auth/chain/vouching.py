"""Users for whom a provider has vouched, which signs people in elsewhere: what the chain has to say about them.

Providers are in the chain by `ProviderUsers`, so that augmenters, time limits and the operator's pages treat them as all
authenticators. They are asked only by `vouched`: no credential of a request reaches them.
"""

from __future__ import annotations

from typing import Any, Final

from zope.interface import alsoProvides, implementer

from perimeter.auth.chain.chain import AuthenticatorChain
from perimeter.errors import InternalError
from perimeter.model import AuthenticationRequest, Credentials, Principal, VouchedCredentials
from perimeter.plugin.authenticator import IAuthenticator, IProbe, ISchemes
from perimeter.plugin.redirect import IRedirectAuthenticator

_ASKED: Final[tuple[str, ...]] = ()


@implementer(IAuthenticator, ISchemes)
class ProviderUsers:
    """The users for whom ``provider`` vouches. It wants to see no credentials of a request. It is an `IProbe` if ``provider`` is.

    A session or an API token of such a user keeps the roles that the user had at the sign-in, since a provider cannot be asked
    about a user by name.
    """

    schemes: tuple[str, ...] = _ASKED

    def __init__(self, provider: IRedirectAuthenticator) -> None:
        self.name: str = provider.name
        self.realm: str = provider.realm
        self._provider: Any = provider
        if IProbe.providedBy(provider):
            alsoProvides(self, IProbe)

    async def authenticate(self, credentials: Credentials, request: AuthenticationRequest) -> Principal | None:
        """The user for whom the provider has vouched."""
        return credentials.principal if isinstance(credentials, VouchedCredentials) else None

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
