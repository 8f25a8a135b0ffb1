"""``type = introspection``: tokens about which their issuer answers questions (RFC 7662), such as opaque access tokens.

The service answers ``active: false`` for every token that it does not vouch for, so that means "not mine", as an answer for
another audience does. If the service does not know the gateway (401), that says nothing about the token: "could not decide". What
the service says of a token, good or bad, is remembered, so that a token causes few questions.
"""

from __future__ import annotations

from collections.abc import Iterable
from secrets import token_urlsafe
from typing import TYPE_CHECKING, Any, Final

import attrs
from twisted.internet.interfaces import IReactorTime
from twisted.plugin import IPlugin
from zope.interface import implementer

from perimeter.auth.kinds.remote import names
from perimeter.auth.kinds.remote.authenticator import Explain, TokenAuthenticator
from perimeter.auth.kinds.remote.exchange import active
from perimeter.auth.kinds.remote.jwt_options import NAMES_OR_ALL, ClaimSettings
from perimeter.auth.kinds.remote.settings import cache
from perimeter.config.language.datatypes import TEXT, list_of
from perimeter.config.language.net_types import URL
from perimeter.config.language.option import option, options_of
from perimeter.config.language.section import Section
from perimeter.config.language.settings import read
from perimeter.errors import InvalidToken
from perimeter.oidc.client_identity import ClientIdentity
from perimeter.oidc.client_method import ClientMethod
from perimeter.oidc.urls import is_secure
from perimeter.plugin.authenticator import IAuthenticatorFactory
from perimeter.plugin.services import AuthServices, IBuildsInThread

if TYPE_CHECKING:
    from perimeter.auth.kinds.remote.judge import Expectations
    from perimeter.auth.kinds.remote.memory import Vouched
    from perimeter.web_client.client import RemoteAnswer, RemoteClient

REFUSALS: Final = 10.0
"""Seconds for which it is remembered that the service does not vouch for a token."""

_ABOUT_THE_TOKEN: Final = ("active", "token_type", "token_use")
"""Members that describe the token and not its user: they do not become attributes."""


@attrs.frozen(kw_only=True)
class IntrospectionSettings(ClientIdentity, ClaimSettings):
    """``type = introspection``. ``cache`` is in seconds."""

    introspection_uri: str = option(URL, "introspection endpoint of the issuer (RFC 7662): https, or http to a loopback address")
    audience: tuple[str, ...] = option(
        NAMES_OR_ALL, "accepted values of `aud`; `*`: tokens for any audience, if the answer has `token_type`"
    )
    username_claim: tuple[str, ...] = option(
        list_of(TEXT), "members that may name the user; the first one present counts", default="username, sub"
    )
    cache: float = cache("how long a user is remembered, at most until the token expires")

    def urls(self) -> Iterable[str]:
        """See `RemoteSettings.urls`."""
        return (self.introspection_uri,)

    def check(self, section: Section) -> None:
        """See `Settings.check`."""
        super().check(section)
        its = attrs.fields(IntrospectionSettings)
        if not section.faulty(its.introspection_uri) and not is_secure(self.introspection_uri):
            section.problem(its.introspection_uri, "expected an https URL; http is accepted for a loopback address alone")
        if self.method is ClientMethod.NONE and not section.faulty(its.client_auth):
            section.problem(its.client_secret, "is needed, or client_key: a provider answers only clients that authenticate")

    @property
    def proof_audience(self) -> str:
        """The audience of assertions (``private_key_jwt``): the issuer, or the endpoint if the issuer is not known."""
        return self.introspection_uri if self.issuer == ("*",) or len(self.issuer) > 1 else self.issuer[0]


class Unfit(Exception):
    """A token is active, and is none that admits a user here; the text says why."""


def introspected(members: dict[str, Any], expected: Expectations, now: float) -> Vouched:
    """Who holds an active token, from the ``members`` of the answer (RFC 7662, section 2.2). Raises `Unfit`.

    Services answer about refresh tokens too. They are recognised by the type of the token; an answer without one must name an
    audience of the configuration, which a refresh token does not have.
    """
    from perimeter.auth.kinds.remote import judge
    from perimeter.auth.kinds.remote.memory import Vouched

    if not judge.meant_for(members, expected.issuers, expected.audiences):
        raise Unfit("the token is for another audience or issuer")
    if not _is_access_token(members, judge.ANY in expected.audiences):
        raise Unfit("the token is not an access token, or it is bound to a key")
    claims = {name: value for name, value in members.items() if name not in _ABOUT_THE_TOKEN}
    try:
        return Vouched(judge.principal_of(claims, expected), _expiry(members, now))
    except names.Unfit as error:
        raise Unfit(str(error)) from None
    except InvalidToken as error:
        raise Unfit(f"the token is not valid now: {error.detail}") from None


def _is_access_token(members: dict[str, Any], any_audience: bool) -> bool:
    """Whether a token is an access token, and is not bound to a key, of which the gateway would have to see a proof."""
    from perimeter.auth.kinds.remote import judge

    kind, use = members.get("token_type"), members.get("token_use", "access_token")
    bearer = not any_audience if kind is None else isinstance(kind, str) and kind.lower() == "bearer"
    return bearer and use in ("access_token", "access") and not judge.has_other_purpose(members) and judge.BINDING not in members


def _expiry(members: dict[str, Any], now: float) -> float | None:
    """When the token expires, if the service says so. Raises `InvalidToken` for a token that is not valid now."""
    from perimeter.tokens.jwt import check_times

    if "exp" in members:
        return check_times(members, now)
    check_times({**members, "exp": now + 1}, now)
    return None


class IntrospectedTokens:
    """The tokens of a service that answers questions about them."""

    def __init__(
        self, client: RemoteClient, settings: IntrospectionSettings, expected: Expectations, clock: IReactorTime
    ) -> None:
        self._client = client
        self._url = settings.introspection_uri
        self._authentication = settings.authentication()
        self._audience = settings.proof_audience
        self._expected = expected
        self._seconds = clock.seconds

    async def _ask(self, token: str) -> RemoteAnswer:
        proof = self._authentication.proof(self._audience, self._seconds())
        form = {**proof.form, "token": token, "token_type_hint": "access_token"}
        return await self._client.post(self._url, authorization=proof.authorization, data=form)

    async def probe(self) -> None:
        """See `perimeter.plugin.authenticator.IProbe`. Asks about a token that does not exist."""
        active(await self._ask(token_urlsafe(16)))

    async def vouch(self, token: str, explain: Explain) -> Vouched | None:
        """See `perimeter.auth.kinds.remote.authenticator.TokenService`."""
        answer = await self._ask(token)
        if not active(answer):
            explain(f"{self._client.service} does not vouch for the token")
            return None
        try:
            return introspected(answer.members(), self._expected, self._seconds())
        except Unfit as error:
            explain(str(error))
            return None


@implementer(IPlugin, IAuthenticatorFactory, IBuildsInThread)
class IntrospectionFactory:
    """``type = introspection``."""

    kind = "introspection"
    options = options_of(IntrospectionSettings)

    def parse(self, section: Section) -> IntrospectionSettings:
        """See `IAuthenticatorFactory`."""
        return read(section, IntrospectionSettings)

    def build(self, name: str, realm: str, settings: IntrospectionSettings, services: AuthServices) -> TokenAuthenticator:
        """Asks no service yet. Raises `StartupError` if the CA certificates cannot be used."""
        client = settings.client(f"the issuer of {name}", services)
        tokens = IntrospectedTokens(client, settings, settings.expected(name, realm), services.reactor)
        return TokenAuthenticator(name, realm, tokens, settings.cache, services, refusals=REFUSALS)
