"""``bearer = yes``: the access tokens of a provider admit its users on APIs, as the sign-in there does in browsers.

The same rules make a user of the claims, and the user name is bound to the same identity, so one account is one user by either
way. The tokens are JWTs (RFC 9068 or similar); opaque ones are for ``type = introspection``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from perimeter.auth.kinds.remote import names
from perimeter.auth.kinds.remote.authenticator import Explain, TokenAuthenticator
from perimeter.auth.kinds.remote.judge import JwtHeader, access_claims, audience, is_stated, read_header
from perimeter.auth.kinds.remote.keys import RemoteKeys
from perimeter.auth.kinds.remote.memory import Vouched
from perimeter.errors import InvalidToken, NameConflict, Overloaded, ProviderMisconfigured, Unavailable
from perimeter.model import Principal
from perimeter.oidc.access_token import Accepted
from perimeter.oidc.claims import ClaimRules, ClaimsElsewhere, NotAllowed, principal_of, subject_of
from perimeter.oidc.discovery import Discovery
from perimeter.plugin.redirect import Bind
from perimeter.plugin.services import AuthServices
from perimeter.tokens.jwk import Jwk

REMEMBER = 60.0
"""Seconds that a verdict is remembered; less if the token expires sooner or the provider changes its keys."""

TRIES = 15
BETWEEN_TRIES = 0.1
"""How often a name is tried to be bound while another request may be binding it, and the seconds between."""

SCOPES = ("scope", "scp")
"""Claims with the scopes of an access token (RFC 9068, section 2.2.3; ``scp`` is Entra's). An ID token has neither."""


@attrs.frozen
class Holder:
    """The user of an access token, and the identity to which the name is bound; ``expires`` is in epoch seconds."""

    principal: Principal
    issuer: str
    subject: str
    expires: float


def holder_of(header: JwtHeader, keys: tuple[Jwk, ...], accepted: Accepted, rules: ClaimRules, now: float) -> Holder | None:
    """Who holds the token with this header; None if it is for another audience or issuer. Pure. Raises `InvalidToken`."""
    claims = access_claims(header, keys, accepted.issuers, accepted.audiences, now)
    if claims is None:
        return None
    if accepted.client_id in audience(claims) and not (is_stated(header.jwt, claims) or any(name in claims for name in SCOPES)):
        raise InvalidToken("it is for the client itself and has no scope, as an ID token, which is no credential")
    try:
        principal, subject = principal_of(claims, rules), subject_of(claims, rules)
        scopes = {rules.service: tuple(dict.fromkeys(_scopes(claims)))}
    except (names.Unfit, NotAllowed, ClaimsElsewhere) as error:
        raise InvalidToken(str(error)) from None
    return Holder(attrs.evolve(principal, scopes=scopes), claims["iss"], subject, float(claims["exp"]))


def _scopes(claims: dict[str, Any]) -> list[str]:
    for name in SCOPES:
        value = claims.get(name, "")
        words = value.split() if isinstance(value, str) else value
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise names.Unfit(f"{name} is no list of scopes")
        if words:
            return words
    return []


class BearerTokens:
    """The access tokens of one provider (`perimeter.auth.kinds.remote.authenticator.TokenService`)."""

    def __init__(self, discovery: Discovery, accepted: Accepted, rules: ClaimRules, bind: Bind, clock: IReactorTime) -> None:
        self.changed: Callable[[], None] = lambda: None
        self._discovery = discovery
        self._accepted = accepted
        self._rules = rules
        self._bind = bind
        self._clock: Any = clock
        self._seconds = clock.seconds
        self._keys: RemoteKeys | None = None

    async def probe(self) -> None:
        """See `perimeter.plugin.authenticator.IProbe`."""
        await (await self._current_keys()).probe()

    async def vouch(self, token: str, explain: Explain) -> Vouched | None:
        """See `perimeter.auth.kinds.remote.authenticator.TokenService`. Tokens of other issuers cause no question."""
        header = read_header(token)
        if header is None:
            explain("the token is not a signed JWT")
            return None
        if header.issuer not in self._accepted.issuers:
            explain("the token names another issuer")
            return None
        keys = await (await self._current_keys()).find(header.kid, header.algorithm)
        if not keys:
            explain("the issuer has no key that fits kid and alg of the token")
            return None
        holder = holder_of(header, keys, self._accepted, self._rules, self._seconds())
        if holder is None:
            explain("the token is for another audience")
            return None
        await self._bound(holder)
        return Vouched(holder.principal, holder.expires)

    async def _bound(self, holder: Holder) -> None:
        """Bind the name of the user. Raises `InvalidToken` if it belongs to another identity, or `Unavailable`.

        A program may begin with several requests at once, of which one binds the name; the others wait for that.
        """
        principal = holder.principal
        for left in reversed(range(TRIES)):
            try:
                await self._bind(principal.realm, principal.username, holder.issuer, holder.subject)
                return
            except NameConflict as error:
                raise InvalidToken(error.detail) from None
            except Unavailable as error:
                if not left or isinstance(error, Overloaded):
                    raise
            await deferLater(self._clock, BETWEEN_TRIES)

    async def _current_keys(self) -> RemoteKeys:
        """The keys of the provider. Raises `Unavailable`."""
        try:
            keys = await self._discovery.keys()
        except ProviderMisconfigured as error:
            raise Unavailable(error.detail) from None
        if keys is not self._keys:
            before, self._keys, keys.changed = self._keys, keys, self.changed
            if before is not None:
                self.changed()
        return keys


def token_authenticator(
    discovery: Discovery, accepted: Accepted, rules: ClaimRules, services: AuthServices, bind: Bind
) -> TokenAuthenticator:
    """The authenticator of the provider `ClaimRules.service` for its access tokens."""
    tokens = BearerTokens(discovery, accepted, rules, bind, services.reactor)
    authenticator = TokenAuthenticator(rules.service, rules.realm, tokens, REMEMBER, services)
    tokens.changed = authenticator.forget
    return authenticator
