"""Users for whom a provider has vouched, which signs people in elsewhere: what the chain has to say about them.

Providers are in the chain by `ProviderUsers`, so that augmenters, time limits and the operator's pages treat them as all
authenticators. They are asked only by `vouched`: no credential of a request reaches them.
"""

from __future__ import annotations

from zope.interface import implementer

from perimeter.auth.chain.asking import GuardedAuthenticator
from perimeter.auth.chain.chain import AuthenticatorChain
from perimeter.errors import InternalError, NameConflict, Rejected
from perimeter.model import AuthenticationRequest, Credentials, Principal, Recollection, VouchedCredentials
from perimeter.plugin.authenticator import IAuthenticator, IProbe, ISchemes, Scheme


class IProviderUsers(IAuthenticator):
    """The users of a provider, each of whom is bound to an identity of that provider (`perimeter.providers.pins`)."""


@implementer(IProviderUsers, ISchemes, IProbe)
class ProviderUsers:
    """The users in ``realm`` for whom the provider ``name`` vouches.

    It wants to see no credentials of a request, except the provider's own access tokens if there is an authenticator for them,
    ``tokens``.

    A session or an API token of such a user keeps the roles that the user had at the sign-in, since a provider cannot be asked
    about a user by name.
    """

    def __init__(self, name: str, realm: str, tokens: IAuthenticator | None = None) -> None:
        self.name = name
        self.realm = realm
        self.schemes: tuple[str, ...] = () if tokens is None else (Scheme.BEARER,)
        self._tokens = tokens

    async def probe(self) -> None:
        """See `IProbe`. Whether tokens could be verified now."""
        probe = getattr(self._tokens, "probe", None)
        if probe is not None:
            await probe()

    async def authenticate(self, credentials: Credentials, request: AuthenticationRequest) -> Principal | None:
        """The user for whom the provider has vouched, or who holds an access token of it."""
        if isinstance(credentials, VouchedCredentials):
            return credentials.principal
        return None if self._tokens is None else await self._tokens.authenticate(credentials, request)


async def vouched(chain: AuthenticatorChain, provider: str, principal: Principal, request: AuthenticationRequest) -> Principal:
    """``principal``, for whom ``provider`` has vouched, with what the augmenters of the realm add.

    Raises `NameConflict` if another authenticator of the realm has a user of this name, or cannot say whether it has: the names of
    two sources must not mix (attack O4). Raises `perimeter.errors.Unavailable` if an authenticator or an augmenter could not
    decide, or if the name cannot be used.
    """
    own: GuardedAuthenticator | None = None
    for one in chain.guarded:
        if one.realm != principal.realm:
            continue
        if one.name == provider:
            own = one
        elif one.schemes and not IProviderUsers.providedBy(one.authenticator):
            await _distinguish(one, principal, request)
    if own is None:
        raise InternalError(f"provider {provider} of the realm {principal.realm} is not in the chain")
    found = await own.ask(VouchedCredentials(principal), request)
    if found is None:
        raise InternalError(f"provider {provider} does not know its user")
    return found


async def _distinguish(one: GuardedAuthenticator, principal: Principal, request: AuthenticationRequest) -> None:
    """Raise `NameConflict` unless the authenticator ``one`` has no user of this name."""
    if Scheme.RECALL not in one.schemes:
        raise NameConflict(
            f"authenticator {one.name} has the same realm, {one.realm}, and cannot look up users by name: give the provider a "
            "realm of its own"
        )
    for name in dict.fromkeys((principal.username, one.canonical_name(principal.username))):
        try:
            found = await one.ask(Recollection(name), request)
        except Rejected:  # it knows the user, who may not come in
            found = principal
        if found is not None:
            raise NameConflict(f"authenticator {one.name} of the same realm, {one.realm}, has a user of this name")
