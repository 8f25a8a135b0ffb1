"""Signs people in at an OpenID provider, asks it for them again while their session lasts, and signs them out there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

import attrs
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from perimeter.auth.kinds.remote import names
from perimeter.auth.kinds.remote.judge import read_header
from perimeter.errors import (
    InvalidToken,
    NotAllowedHere,
    ProviderMisconfigured,
    ProviderUnavailable,
    Refusal,
    Rejected,
)
from perimeter.oidc.answer import code_of
from perimeter.oidc.bearer import token_authenticator
from perimeter.oidc.claims import ClaimsElsewhere, NotAllowed, factors_of, principal_of, subject_of
from perimeter.oidc.discovery import Discovery
from perimeter.oidc.examination import clock_difference, shortcomings
from perimeter.oidc.explaining import explain_claims
from perimeter.oidc.flow import challenge
from perimeter.oidc.idtoken import SignIn, is_of_issuer
from perimeter.oidc.kept import SOON, STALE, Kept, read_kept
from perimeter.oidc.logout_token import judge_logout_token
from perimeter.oidc.looks import Look, Looks
from perimeter.oidc.metadata import Metadata
from perimeter.oidc.same_user import of_same_user
from perimeter.oidc.token_request import TokenRequests, Tokens
from perimeter.oidc.urls import with_parameters
from perimeter.plugin.authenticator import IAuthenticator, IProbe
from perimeter.plugin.redirect import (
    Bind,
    Flow,
    IAcceptsTokens,
    IBackChannelLogout,
    IEndsElsewhere,
    IExamined,
    IRenews,
    LoggedOut,
    Shortcoming,
    SignedIn,
)
from perimeter.plugin.services import AuthServices

if TYPE_CHECKING:
    from perimeter.oidc.openid_settings import OidcSettings
    from perimeter.web_client.client import RemoteClient


_log = Logger()

MAX_HINT: Final = 6 * 1024
"""Characters of an ID token in the URL of a sign-out: many servers refuse lines of more than 8 KiB. Without it, providers ask."""


@implementer(IRenews, IEndsElsewhere, IBackChannelLogout, IAcceptsTokens, IExamined, IProbe)
class OidcProvider:
    """The provider ``name``, whose users are those of ``realm``. ``clock`` counts epoch seconds."""

    def __init__(self, name: str, realm: str, settings: OidcSettings, client: RemoteClient, clock: IReactorTime) -> None:
        self.name = name
        self.realm = realm
        self.title = settings.title or name
        self.discovery = Discovery(client, settings.issuer, clock)
        self._settings = settings
        self._rules = settings.rules(name, realm)
        self._looks = Looks(client, self.discovery, settings, self._rules, clock)
        self._client = client
        self._requests = TokenRequests(client, settings.authentication())
        self._seconds = clock.seconds

    async def probe(self) -> None:
        """See `IProbe`."""
        await self.discovery.probe()

    def token_authenticator(self, services: AuthServices, bind: Bind) -> IAuthenticator | None:
        """See `IAcceptsTokens`."""
        if not self._settings.bearer:
            return None
        return token_authenticator(self.discovery, self._settings.accepted, self._rules, services, bind)

    async def examine(self, ends_elsewhere: bool) -> Sequence[Shortcoming]:
        """See `IExamined`."""
        await self.discovery.probe()
        metadata = await self.discovery.metadata()
        await (await self.discovery.keys()).probe()
        found = shortcomings(metadata, self._settings.method, ends_elsewhere)
        return (*found, *clock_difference(self.discovery.provider_date, self._seconds()))

    # -- the sign-in

    async def begin(self, flow: Flow) -> str:
        """See `IRedirectAuthenticator`. Nonce and S256 challenge are part of every request."""
        metadata = await self.discovery.metadata()
        parameters = {
            **dict(self._settings.extra),
            "response_type": "code",
            "client_id": self._settings.client_id,
            "redirect_uri": flow.redirect_uri,
            "scope": " ".join(self._settings.scopes),
            "state": flow.state,
            "nonce": flow.nonce,
            "code_challenge": challenge(flow.verifier),
            "code_challenge_method": "S256",
        }
        if flow.again:
            # max_age makes the provider say when the user has authenticated; the URL itself passes through the user's browser.
            parameters["prompt"] = self._settings.prompt_again
            if metadata.dates_authentication:
                parameters["max_age"] = "0"
        if flow.login_hint:
            parameters["login_hint"] = flow.login_hint
        return with_parameters(metadata.authorization_endpoint, parameters.items())

    async def complete(self, parameters: Mapping[str, str], flow: Flow) -> SignedIn:
        """See `IRedirectAuthenticator`."""
        metadata = await self.discovery.metadata()
        code = code_of(parameters, metadata, self._client.service)
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": flow.redirect_uri,
            "code_verifier": flow.verifier,
        }
        tokens = await self._requests.ask(metadata.token_endpoint, metadata.issuer, form, self._seconds())
        if not tokens.id_token:
            raise ProviderMisconfigured(f"{self._client.service} returned no ID token")
        sign_in = SignIn(flow.nonce, self._authenticated_since(flow, metadata), code, tokens.access_token)
        try:
            look = await self._looks.first(metadata, tokens, sign_in)
        except InvalidToken as error:
            raise Rejected(error.detail) from None
        explain_claims(look.claims, self._rules, flow.explain)
        if self._settings.refresh and not tokens.refresh_token:
            _log.warn(
                "{service} has issued no refresh token: roles of its users stay as they are until a session ends",
                service=self._client.service,
            )
        return self._signed_in(look)

    def _authenticated_since(self, flow: Flow, metadata: Metadata) -> float | None:
        """The time since which the user must have authenticated at the provider, if the request has asked for that.

        A provider that has no such time (Google) is believed that it has asked the user again.
        """
        if flow.again:
            return flow.started if metadata.dates_authentication else None
        max_age = self._settings.max_age
        return None if max_age is None else self._seconds() - max_age

    async def renew(self, secret: bytes, subject: str) -> SignedIn:
        """See `IRenews`.

        The provider may have replaced the refresh token, so what fails after that must not lose the new one: the user then stays
        as they were, for `STALE` at most.
        """
        return await of_same_user(self._renewed(secret), subject)

    async def _renewed(self, secret: bytes) -> SignedIn:
        metadata = await self.discovery.metadata()
        kept = self._kept(secret, metadata)
        if kept is None:
            raise Rejected("the session is from another provider, which had this name")
        form = {"grant_type": "refresh_token", "refresh_token": kept.refresh_token}
        tokens = await self._requests.ask(metadata.token_endpoint, metadata.issuer, form, self._seconds())
        try:
            return self._signed_in(await self._looks.again(metadata, tokens, kept))
        except (InvalidToken, ProviderMisconfigured, ProviderUnavailable) as error:
            return self._signed_in(self._as_before(kept, tokens, error.detail))

    def _kept(self, secret: bytes, metadata: Metadata) -> Kept | None:
        """What a session keeps; None if it is from another provider: this one must not get the tokens of that one.

        After a reload, another provider can have the name.
        """
        try:
            kept = read_kept(secret)
        except ValueError:
            return None
        return kept if is_of_issuer(kept.claims, self._settings.expected(metadata.issuer)) else None

    def _as_before(self, kept: Kept, tokens: Tokens, reason: str) -> Look:
        """The user as they were at the last look. Raises `ProviderUnavailable` if that was too long ago."""
        now = self._seconds()
        since = kept.stale_since or now
        if now - since >= STALE:
            raise ProviderUnavailable(reason)
        _log.warn("{name}: the user of a refreshed session cannot be looked up again: {reason}", name=self.name, reason=reason)
        refresh_token = tokens.refresh_token or kept.refresh_token
        return Look(kept.token, kept.claims, attrs.evolve(kept, refresh_token=refresh_token, stale_since=since))

    async def sign_out_url(self, secret: bytes, return_to: str, state: str) -> str:
        """See `IEndsElsewhere` (OpenID Connect RP-Initiated Logout 1.0, section 2)."""
        try:
            metadata = await self.discovery.metadata()
        except Refusal:
            return ""
        kept, endpoint = self._kept(secret, metadata), metadata.end_session_endpoint
        if kept is None or not endpoint:
            return ""
        hint = kept.id_token
        parameters = {
            **({"id_token_hint": hint} if len(hint) <= MAX_HINT else {}),
            "client_id": self._settings.client_id,
            "post_logout_redirect_uri": return_to,
        }
        if state:
            parameters["state"] = state
        return with_parameters(endpoint, parameters.items())

    async def logged_out(self, token: str) -> LoggedOut:
        """See `IBackChannelLogout`. A key that the provider does not publish costs one fetch in a cool-down (attack O6)."""
        header = read_header(token)
        if header is None:
            raise Rejected("the logout token is not a signed JWT")
        issuer = (await self.discovery.metadata()).issuer
        keys = await (await self.discovery.keys()).find(header.kid, header.algorithm)
        if not keys:
            raise Rejected("the logout token is signed with a key that the provider does not publish")
        try:
            return judge_logout_token(header, keys, self._settings.expected(issuer), self._rules, self._seconds())
        except InvalidToken as error:
            raise Rejected(error.detail) from None

    def _signed_in(self, look: Look) -> SignedIn:
        token, now = look.token, self._seconds()
        try:
            principal, subject = principal_of(look.claims, self._rules), subject_of(token.claims, self._rules)
        except NotAllowed as error:
            refusal = NotAllowedHere(str(error))
            refusal.attempted_user = error.username or None
            raise refusal from None
        except (names.Unfit, ClaimsElsewhere) as error:
            raise ProviderMisconfigured(f"{self._client.service}: {error}") from None
        refresh = min(self._settings.refresh, SOON) if look.kept.stale_since else self._settings.refresh
        return SignedIn(
            principal,
            token.issuer,
            subject,
            token.sid,
            factors_of(token.claims, frozenset(self._settings.second_factor_acr)),
            token.authenticated,
            look.kept.written(),
            now + refresh if refresh and look.kept.refresh_token else 0.0,
            self._settings.lifetime,
        )
