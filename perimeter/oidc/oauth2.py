"""Signs people in at a provider with OAuth 2.0 alone (RFC 6749, section 4.1), such as GitHub.

There is no ID token. The access token is used at once, at the endpoint that says whose it is, and it came from the token endpoint
itself, with the code verifier of this browser: so no token that was issued to another client is ever believed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import attrs
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from perimeter.auth.kinds.remote import names
from perimeter.errors import NotAllowedHere, ProviderMisconfigured, ProviderUnavailable, Rejected, Unavailable
from perimeter.model import discard_explanation
from perimeter.oidc.answer import code_of
from perimeter.oidc.claims import EMAIL, GROUPS, ClaimsElsewhere, NotAllowed, principal_of, subject_of
from perimeter.oidc.explaining import explain_claims
from perimeter.oidc.flow import challenge
from perimeter.oidc.groups import group_names, listed
from perimeter.oidc.kept import SOON, STALE, used_claims
from perimeter.oidc.same_user import of_same_user
from perimeter.oidc.token_request import TokenRequests, Tokens
from perimeter.oidc.urls import with_parameters
from perimeter.plugin.authenticator import IProbe
from perimeter.plugin.redirect import Flow, IRenews, SignedIn
from perimeter.strict_json import decode_object

if TYPE_CHECKING:
    from perimeter.oidc.oauth2_settings import OAuth2Settings
    from perimeter.web_client.client import RemoteClient

_log = Logger()

_VERIFIED: Final = "email_verified"


@attrs.frozen(kw_only=True)
class _Kept:
    """What a session keeps. ``claims`` are those of the last look, as far as they are used.

    ``endpoints`` are those of the provider that has issued the tokens, which no other may get: after a reload, another provider
    can have its name. ``stale_since`` is when a look failed after a refresh (epoch seconds); 0 if the last one did not.
    """

    endpoints: Sequence[str]
    access_token: str = attrs.field(repr=False)
    refresh_token: str = attrs.field(default="", repr=False)
    claims: Mapping[str, Any] = attrs.field(factory=dict, repr=False)
    stale_since: float = 0.0

    def written(self) -> bytes:
        """As bytes."""
        return json.dumps(attrs.asdict(self), separators=(",", ":")).encode()


def _read(secret: bytes) -> _Kept:
    """What `_Kept.written` made. Raises `Rejected` for anything else."""
    try:
        return _Kept(**decode_object(secret))
    except (TypeError, ValueError):
        raise Rejected("the session keeps nothing of its provider that can be used") from None


@implementer(IRenews, IProbe)
class OAuth2Provider:
    """The provider ``name``, whose users are those of ``realm``. ``clock`` counts epoch seconds."""

    def __init__(self, name: str, realm: str, settings: OAuth2Settings, client: RemoteClient, clock: IReactorTime) -> None:
        self.name = name
        self.realm = realm
        self.title = settings.title or name
        self._settings = settings
        self._endpoints = [settings.user_uri, settings.token_uri]
        self._rules = settings.rules(name, realm)
        self._client = client
        self._requests = TokenRequests(client, settings.authentication())
        self._seconds = clock.seconds

    async def probe(self) -> None:
        """See `IProbe`. There are no metadata to ask for: an answer of any kind shows that the token endpoint is there."""
        answer = await self._client.get(self._settings.token_uri)
        if answer.status >= 500:
            raise answer.unexpected()

    # -- the sign-in

    async def begin(self, flow: Flow) -> str:
        """See `IRedirectAuthenticator`."""
        parameters = {
            **dict(self._settings.extra),
            "response_type": "code",
            "client_id": self._settings.client_id,
            "redirect_uri": flow.redirect_uri,
            "state": flow.state,
            "code_challenge": challenge(flow.verifier),
            "code_challenge_method": "S256",
        }
        if self._settings.scopes:
            parameters["scope"] = " ".join(self._settings.scopes)
        if flow.again:
            # a wish: OAuth 2.0 has no way to find out when the user has authenticated
            parameters["prompt"] = self._settings.prompt_again
        if flow.login_hint:
            parameters |= {"login_hint": flow.login_hint, "login": flow.login_hint}
        return with_parameters(self._settings.authorize_uri, parameters.items())

    async def complete(self, parameters: Mapping[str, str], flow: Flow) -> SignedIn:
        """See `IRedirectAuthenticator`."""
        form = {
            "grant_type": "authorization_code",
            "code": code_of(parameters, None, self._client.service),
            "redirect_uri": flow.redirect_uri,
            "code_verifier": flow.verifier,
        }
        tokens = await self._tokens(form)
        try:
            kept = _Kept(endpoints=self._endpoints, access_token=tokens.access_token, refresh_token=tokens.refresh_token)
            return await self._signed_in(kept, flow.explain)
        except Rejected as error:
            raise ProviderUnavailable(error.detail) from None

    # -- while the session lasts

    async def renew(self, secret: bytes, subject: str) -> SignedIn:
        """See `IRenews`. Without a refresh token, the provider is asked with the access token that it has issued.

        A refresh may replace the refresh token, so the provider is only asked for one when the access token has expired, and what
        fails after it must not lose the new one: the user then stays as they were, for `STALE` at most.
        """
        kept = _read(secret)
        if kept.endpoints != self._endpoints:
            raise Rejected("the session is from another provider")
        return await of_same_user(self._renewed(kept), subject)

    async def _renewed(self, kept: _Kept) -> SignedIn:
        try:
            return await self._signed_in(kept)
        except Rejected:
            if not kept.refresh_token:
                raise
        tokens = await self._tokens({"grant_type": "refresh_token", "refresh_token": kept.refresh_token})
        renewed = attrs.evolve(kept, access_token=tokens.access_token, refresh_token=tokens.refresh_token or kept.refresh_token)
        try:
            return await self._signed_in(renewed)
        except (ProviderMisconfigured, ProviderUnavailable) as error:
            now = self._seconds()
            since = kept.stale_since or now
            if now - since >= STALE:
                raise
            _log.warn("{name}: a user cannot be looked up again: {reason}", name=self.name, reason=error.detail)
            return self._user_of(attrs.evolve(renewed, stale_since=since))

    # -- from tokens to a user

    async def _tokens(self, form: dict[str, str]) -> Tokens:
        endpoint = self._settings.token_uri
        return await self._requests.ask(endpoint, endpoint, form, self._seconds())

    async def _signed_in(self, kept: _Kept, explain: Callable[[str], None] = discard_explanation) -> SignedIn:
        """The user as the provider knows them now."""
        try:
            claims = await self._claims(kept.access_token)
        except names.Unfit as error:
            raise ProviderMisconfigured(f"{self._client.service}: {error}") from None
        explain_claims(claims, self._rules, explain)
        return self._user_of(attrs.evolve(kept, claims=used_claims(claims, self._rules), stale_since=0.0))

    def _user_of(self, kept: _Kept) -> SignedIn:
        """The user whose claims were kept."""
        try:
            principal, subject = principal_of(kept.claims, self._rules), subject_of(kept.claims, self._rules)
        except NotAllowed as error:
            refusal = NotAllowedHere(str(error))
            refusal.attempted_user = error.username or None
            raise refusal from None
        except (names.Unfit, ClaimsElsewhere) as error:
            raise ProviderMisconfigured(f"{self._client.service}: {error}") from None
        now = self._seconds()
        refresh = min(self._settings.refresh, SOON) if kept.stale_since else self._settings.refresh
        return SignedIn(
            principal,
            self._settings.user_uri,
            subject,
            at=now,
            secret=kept.written(),
            renew_after=now + refresh if refresh else 0.0,
            lifetime=self._settings.lifetime,
        )

    async def _claims(self, access_token: str) -> dict[str, Any]:
        """What the provider says about the user. Raises `Rejected` if it does not accept the token any more."""
        claims = await self._user(access_token)
        settings = self._settings
        if settings.lists_groups:
            claims[GROUPS] = []
            for url in settings.groups_uri:
                claims[GROUPS] += group_names(await listed(self._client, url, access_token), settings.group_name)
        if settings.emails_uri and EMAIL in (*self._rules.decisive, *self._rules.attribute_claims):
            claims |= _primary(await listed(self._client, settings.emails_uri, access_token))
        return claims

    async def _user(self, access_token: str) -> dict[str, Any]:
        try:
            answer = await self._client.get(self._settings.user_uri, authorization=f"Bearer {access_token}")
            if answer.status == 401:
                raise Rejected(f"{self._client.service} does not accept the access token")
            if answer.status != 200:
                raise answer.unexpected()
            return answer.members()
        except Unavailable as error:
            raise ProviderUnavailable(error.detail) from None


def _primary(addresses: list[Any]) -> dict[str, Any]:
    """The claims of the primary address. The address of the profile, which users choose, is replaced."""
    for one in addresses:
        if isinstance(one, dict) and one.get("primary") is True:
            return {EMAIL: one.get("email"), _VERIFIED: one.get("verified") is True}
    return {EMAIL: None, _VERIFIED: False}
