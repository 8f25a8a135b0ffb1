"""Looks at a user: the claims of all sources at an OpenID provider, after tokens have been issued."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs
from twisted.internet.interfaces import IReactorTime

from perimeter.auth.kinds.remote.judge import JwtHeader, read_header
from perimeter.errors import ProviderUnavailable, Rejected, Unavailable
from perimeter.oidc.access_token import access_token_claims
from perimeter.oidc.claims import ClaimRules, combined, missing
from perimeter.oidc.discovery import Discovery
from perimeter.oidc.groups import with_graph_groups
from perimeter.oidc.idtoken import IdToken, SignIn, judge_id_token, judge_renewed
from perimeter.oidc.kept import Kept, used_claims
from perimeter.oidc.metadata import Metadata
from perimeter.oidc.token_request import Tokens
from perimeter.tokens.jwk import Jwk

if TYPE_CHECKING:
    from perimeter.oidc.openid_settings import OidcSettings
    from perimeter.web_client.client import RemoteClient


@attrs.frozen
class Look:
    """What a look at a user has found: the ID token, the claims of all sources, and what the session keeps of them."""

    token: IdToken
    claims: Mapping[str, Any] = attrs.field(repr=False)
    kept: Kept


class Looks:
    """Looks at the users of one provider. Further sources than the ID token are asked for claims that decide and are missing."""

    def __init__(
        self, client: RemoteClient, discovery: Discovery, settings: OidcSettings, rules: ClaimRules, clock: IReactorTime
    ) -> None:
        self._client = client
        self._discovery = discovery
        self._settings = settings
        self._rules = rules
        self._seconds = clock.seconds

    async def first(self, metadata: Metadata, tokens: Tokens, sign_in: SignIn) -> Look:
        """The user who has signed in. Raises `InvalidToken` for a bad ID token, `Rejected`, or `ProviderUnavailable`."""
        header, keys = await self._signed(tokens.id_token)
        token = judge_id_token(header, keys, self._settings.expected(metadata.issuer), sign_in, self._seconds())
        claims, told = await self._further(metadata, token, tokens, dict(token.claims))
        return self._found(token, tokens, claims, told)

    async def again(self, metadata: Metadata, tokens: Tokens, kept: Kept) -> Look:
        """The user of a session that was refreshed; ``kept`` is from the look before. Raises as `first` does.

        What no source can say takes nothing away: without a new ID token, what the last one said is still good. What a source
        that was asked does not say any more is gone.
        """
        held = attrs.evolve(
            tokens, refresh_token=tokens.refresh_token or kept.refresh_token, id_token=tokens.id_token or kept.id_token
        )
        before = kept.token
        if not tokens.id_token:
            claims, told = await self._further(metadata, before, held, {})
            silent = kept.claims if told is None else {name: kept.claims[name] for name in kept.claims if name not in kept.told}
            return self._found(before, held, combined(claims, silent), kept.told if told is None else told)
        header, keys = await self._signed(tokens.id_token)
        expected = self._settings.expected(metadata.issuer)
        token = judge_renewed(header, keys, expected, before, tokens.access_token, self._seconds())
        token = attrs.evolve(token, claims=combined(token.claims, _about_sign_in(before)))
        claims, told = await self._further(metadata, token, held, dict(token.claims))
        return self._found(token, held, claims, told)

    def _found(self, token: IdToken, tokens: Tokens, claims: dict[str, Any], told: Sequence[str] | None) -> Look:
        kept = Kept(
            refresh_token=tokens.refresh_token,
            id_token=tokens.id_token,
            nonce=token.nonce,
            claims=used_claims(combined(claims, _about_sign_in(token)), self._rules),
            at=token.authenticated,
            told=told or (),
        )
        return Look(token, claims, kept)

    async def _further(
        self, metadata: Metadata, token: IdToken, tokens: Tokens, claims: dict[str, Any]
    ) -> tuple[dict[str, Any], Sequence[str] | None]:
        """``claims`` with those of further sources, and the names of those that the userinfo endpoint told (None: not asked)."""
        told: Sequence[str] | None = None
        if self._settings.graph_uri:
            claims = await with_graph_groups(claims, self._client, self._settings.graph_uri, tokens.access_token)
        if self._settings.access_token_claims and missing(claims, self._rules):
            claims = combined(claims, await self._of_access_token(token, tokens.access_token))
        if metadata.userinfo_endpoint and missing(claims, self._rules):
            answer = await self._userinfo(metadata.userinfo_endpoint, token, tokens.access_token)
            told = [name for name in answer if name not in claims and name not in self._rules.identity_claims]
            claims = combined(claims, answer)
        return claims, told

    async def _signed(self, token: str) -> tuple[JwtHeader, tuple[Jwk, ...]]:
        """The header of a token that came from the token endpoint, and the keys, at least one, that can have signed it."""
        header = read_header(token)
        if header is None:
            raise ProviderUnavailable(f"{self._client.service} returned an ID token that is not a signed JWT")
        try:
            keys = await (await self._discovery.keys()).find(header.kid, header.algorithm)
        except ProviderUnavailable:
            raise
        except Unavailable as error:
            raise ProviderUnavailable(error.detail) from None
        if not keys:
            # The provider may have published the key a moment ago; `RemoteKeys` looks again after its cool-down.
            raise ProviderUnavailable(f"{self._client.service} has signed the ID token with a key that it does not publish")
        return header, keys

    async def _of_access_token(self, token: IdToken, access_token: str) -> dict[str, Any]:
        header = read_header(access_token)
        if header is None:
            return {}
        _, keys = await self._signed(access_token)
        return access_token_claims(header, keys, token, self._settings.client_id, self._seconds())

    async def _userinfo(self, endpoint: str, token: IdToken, access_token: str) -> dict[str, Any]:
        """The claims of the userinfo endpoint (OpenID Connect Core, section 5.3), which must be about the same subject."""
        try:
            answer = await self._client.get(endpoint, authorization=f"Bearer {access_token}")
            if answer.status != 200:
                raise answer.unexpected()
            members = answer.members()
        except Unavailable as error:
            raise ProviderUnavailable(error.detail) from None
        if members.get("sub") != token.subject:
            raise Rejected("the claims of the userinfo endpoint are about another user")
        return members


def _about_sign_in(token: IdToken) -> dict[str, Any]:
    """The claims that say how the user has authenticated, of which a refreshed ID token may be silent."""
    return {name: token.claims[name] for name in ("iss", "sub", "sid", "acr", "amr") if name in token.claims}
