"""``type = openid-offline`` and ``type = ecmwf-token-generator``: long-lived tokens, exchanged for access tokens.

The issuer of a token says whether it is valid, and exchanges it; the result is judged as ``type = jwt`` judges a token.

If the issuer does not know a token (``active: false``, or ``invalid_grant``), the answer is "not mine". If it does not know the
gateway (401, ``invalid_client``), that says nothing about the token: "could not decide".
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING
from urllib.parse import quote

import attrs
from twisted.plugin import IPlugin
from zope.interface import implementer

from perimeter.auth.kinds.remote.authenticator import Explain, TokenAuthenticator
from perimeter.auth.kinds.remote.jwt_options import JwtJudge, JwtSettings
from perimeter.auth.kinds.remote.settings import cache
from perimeter.config.language.datatypes import SECRET, TEXT
from perimeter.config.language.net_types import URL
from perimeter.config.language.option import option, options_of
from perimeter.config.language.section import Section
from perimeter.config.language.settings import read
from perimeter.errors import InvalidToken, Unavailable, Undecided
from perimeter.plugin.authenticator import IAuthenticatorFactory
from perimeter.plugin.services import AuthServices, IBuildsInThread

if TYPE_CHECKING:
    from perimeter.auth.kinds.remote.memory import Vouched
    from perimeter.web_client.client import RemoteAnswer, RemoteClient


def access_token(answer: RemoteAnswer) -> str | None:
    """The access token in the answer to an exchange; None if the long-lived token is refused (RFC 6749, section 5.2)."""
    if answer.status == 200:
        token = answer.members().get("access_token")
        if not isinstance(token, str) or not token:
            raise Unavailable(f"{answer.service} returned no access token")
        return token
    if answer.status in (400, 401) and answer.members().get("error") == "invalid_grant":
        return None
    raise answer.unexpected()


def active(answer: RemoteAnswer) -> bool:
    """Whether a token is good (RFC 7662, section 2.2)."""
    if answer.status != 200:
        raise answer.unexpected()
    found = answer.members().get("active")
    if not isinstance(found, bool):
        raise Unavailable(f"{answer.service} does not say whether the token is active")
    return found


async def _judged(token: str, judge: JwtJudge, explain: Explain, service: str) -> Vouched:
    """Who holds the access token that the issuer has just returned: a fault of it is the issuer's and not the client's."""
    try:
        vouched = await judge.vouch(token, explain)
    except InvalidToken as error:
        raise Undecided(f"{service} returned an access token that is not valid: {error.detail}") from None
    if vouched is None:
        raise Undecided(f"{service} returned an access token that is not for this authenticator, or not signed with its keys")
    return vouched


# -- openid-offline


@attrs.frozen(kw_only=True)
class OfflineSettings(JwtSettings):
    """``type = openid-offline``. ``iam_realm`` is "" if it is the authenticator's realm; ``cache`` is in seconds."""

    iam_url: str = option(URL, "URL of Keycloak, without `/realms/…`")
    iam_realm: str = option(TEXT, "name of the realm in Keycloak; not set: that of `realm`", default="")
    public_client_id: str = option(TEXT, "client to which offline tokens are issued")
    private_client_id: str = option(TEXT, "client that may introspect them")
    private_client_secret: str = option(SECRET, "secret of `private_client_id`")
    cache: float = cache("how long a user is remembered, at most until the access token expires")

    def urls(self) -> Iterable[str]:
        """See `RemoteSettings.urls`."""
        return (self.iam_url, self.cert_uri)


class OfflineTokens:
    """Offline tokens of a Keycloak (or of any OpenID provider with its addresses)."""

    def __init__(self, client: RemoteClient, realm: str, settings: OfflineSettings, judge: JwtJudge) -> None:
        from perimeter.web_client.client import client_basic

        iam_realm = quote(settings.iam_realm or realm, safe="")
        self._endpoint = f"{settings.iam_url.rstrip('/')}/realms/{iam_realm}/protocol/openid-connect/token"
        self._client = client
        self._settings = settings
        self._judge = judge
        self._authorization = client_basic(settings.private_client_id, settings.private_client_secret)

    async def vouch(self, token: str, explain: Explain) -> Vouched | None:
        """See `perimeter.auth.kinds.remote.authenticator.TokenService`."""
        form = {"token": token, "token_type_hint": "refresh_token"}
        answer = await self._client.post(f"{self._endpoint}/introspect", authorization=self._authorization, data=form)
        if not active(answer) or "offline_access" not in _words(answer.members().get("scope")):
            explain("the token is not an active one with the scope offline_access")
            return None
        form = {"grant_type": "refresh_token", "refresh_token": token}
        settings = self._settings
        if settings.public_client_id == settings.private_client_id:
            exchanged = await self._client.post(self._endpoint, authorization=self._authorization, data=form)
        else:
            # The exchange names the client to which the token was issued: providers refuse two clients in one request.
            form["client_id"] = settings.public_client_id
            exchanged = await self._client.post(self._endpoint, data=form)
        found = access_token(exchanged)
        if found is None:
            explain("the token is refused when it is to be exchanged")
            return None
        return await _judged(found, self._judge, explain, self._client.service)


def _words(value: object) -> list[str]:
    return value.split() if isinstance(value, str) else []


@implementer(IPlugin, IAuthenticatorFactory, IBuildsInThread)
class OpenIdOfflineFactory:
    """``type = openid-offline``."""

    kind = "openid-offline"
    options = options_of(OfflineSettings)

    def parse(self, section: Section) -> OfflineSettings:
        """See `IAuthenticatorFactory`."""
        return read(section, OfflineSettings)

    def build(self, name: str, realm: str, settings: OfflineSettings, services: AuthServices) -> TokenAuthenticator:
        """Asks no service yet. Raises `StartupError` if the CA certificates cannot be used."""
        client = settings.client(f"the OpenID provider of {name}", services)
        judge = JwtJudge(name, realm, settings, client, services.reactor)
        tokens = OfflineTokens(client, realm, settings, judge)
        return _authenticator(name, realm, tokens, judge, settings.cache, services)


# -- ecmwf-token-generator


@attrs.frozen(kw_only=True)
class GeneratorSettings(JwtSettings):
    """``type = ecmwf-token-generator``. Both questions begin with ``token_generator_url``; ``cache`` is in seconds."""

    token_generator_url: str = option(URL, "URL of the token generator")
    client_id: str = option(TEXT, "the gateway's client name at the token generator")
    client_secret: str = option(SECRET, "secret of `client_id`")
    cache: float = cache("how long a user is remembered, at most until the access token expires")

    def urls(self) -> Iterable[str]:
        """See `RemoteSettings.urls`."""
        return (self.token_generator_url, self.cert_uri)


class GeneratedTokens:
    """Tokens of ECMWF's token generator, a service in front of a Keycloak."""

    def __init__(self, client: RemoteClient, settings: GeneratorSettings, judge: JwtJudge) -> None:
        self._url = settings.token_generator_url.rstrip("/")
        self._client = client
        self._settings = settings
        self._judge = judge

    async def vouch(self, token: str, explain: Explain) -> Vouched | None:
        """See `perimeter.auth.kinds.remote.authenticator.TokenService`."""
        settings = self._settings
        question = {"token": token, "client_id": settings.client_id}
        if not active(await self._client.post(f"{self._url}/validate-token", json=question)):
            explain("the token generator does not know the token, or not any more")
            return None
        question = {"client_id": settings.client_id, "client_secret": settings.client_secret, "refresh_token": token}
        found = access_token(await self._client.post(f"{self._url}/admin/refresh-access-token", json=question))
        if found is None:
            explain("the token is refused when it is to be exchanged")
            return None
        return await _judged(found, self._judge, explain, self._client.service)


@implementer(IPlugin, IAuthenticatorFactory, IBuildsInThread)
class EcmwfTokenGeneratorFactory:
    """``type = ecmwf-token-generator``."""

    kind = "ecmwf-token-generator"
    options = options_of(GeneratorSettings)

    def parse(self, section: Section) -> GeneratorSettings:
        """See `IAuthenticatorFactory`."""
        return read(section, GeneratorSettings)

    def build(self, name: str, realm: str, settings: GeneratorSettings, services: AuthServices) -> TokenAuthenticator:
        """Asks no service yet. Raises `StartupError` if the CA certificates cannot be used."""
        client = settings.client(f"the token generator of {name}", services)
        judge = JwtJudge(name, realm, settings, client, services.reactor)
        return _authenticator(name, realm, GeneratedTokens(client, settings, judge), judge, settings.cache, services)


def _authenticator(
    name: str,
    realm: str,
    tokens: OfflineTokens | GeneratedTokens,
    judge: JwtJudge,
    remember: float,
    services: AuthServices,
) -> TokenAuthenticator:
    authenticator = TokenAuthenticator(name, realm, tokens, remember, services)
    judge.on_change(authenticator.forget)
    return authenticator
