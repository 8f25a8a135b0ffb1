"""``type = openid-offline`` and ``type = ecmwf-token-generator``: long-lived tokens, exchanged for access tokens.

Whoever issued a token says whether it is good and exchanges it; what comes back is judged as ``type = jwt`` judges a token.

"Not mine" is what the issuer says of a token that it does not know (``active: false``, or ``invalid_grant``). That it does not
know the gateway (401, ``invalid_client``) says nothing of the token: "could not tell".
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING
from urllib.parse import quote, quote_plus

import attrs
from twisted.plugin import IPlugin
from zope.interface import implementer

from perimeter.auth.kinds.remote.authenticator import Tell, TokenAuthenticator
from perimeter.auth.kinds.remote.jwt_options import JwtJudge, JwtOptions, JwtSettings
from perimeter.auth.kinds.remote.settings import CA_CERTIFICATE, RemoteSettings, cache, remote, url
from perimeter.config.language.datatypes import SECRET, TEXT
from perimeter.config.language.option import Option
from perimeter.errors import InvalidToken, Unavailable, Undecided
from perimeter.plugin.authenticator import IBuildsInThread
from perimeter.plugin.services import AuthServices

if TYPE_CHECKING:
    from perimeter.auth.kinds.remote.memory import Vouched
    from perimeter.config.language.section import Section
    from perimeter.web_client.client import RemoteAnswer, RemoteClient


def access_token(answer: RemoteAnswer) -> str | None:
    """The access token in the answer to an exchange; None where the long-lived one is refused (RFC 6749, section 5.2)."""
    if answer.status == 200:
        token = answer.members().get("access_token")
        if not isinstance(token, str) or not token:
            raise Unavailable(f"{answer.service} gave no access token")
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


async def _judged(token: str, judge: JwtJudge, tell: Tell, service: str) -> Vouched:
    """Who holds the access token that the issuer itself has just given: a fault of it is the issuer's, not the client's."""
    try:
        vouched = await judge.vouch(token, tell)
    except InvalidToken as error:
        raise Undecided(f"{service} gave an access token that is no good: {error.detail}") from None
    if vouched is None:
        raise Undecided(f"{service} gave an access token that is not for this authenticator, or not signed with its keys")
    return vouched


# -- openid-offline


@attrs.frozen
class OfflineSettings:
    """As the options have it; ``iam_realm`` is "" where it is the authenticator's own."""

    iam_url: str
    iam_realm: str
    public_client_id: str
    private_client_id: str
    private_client_secret: str = attrs.field(repr=False)
    remember: float
    jwt: JwtSettings
    remote: RemoteSettings


class OfflineTokens:
    """Offline tokens of a Keycloak (or of any OpenID provider with its addresses)."""

    def __init__(self, client: RemoteClient, realm: str, settings: OfflineSettings, judge: JwtJudge) -> None:
        iam_realm = quote(settings.iam_realm or realm, safe="")
        self._endpoint = f"{settings.iam_url.rstrip('/')}/realms/{iam_realm}/protocol/openid-connect/token"
        self._client = client
        self._settings = settings
        self._judge = judge
        # RFC 6749, section 2.3.1: both halves are form-encoded before they are joined.
        pair = f"{quote_plus(settings.private_client_id)}:{quote_plus(settings.private_client_secret)}"
        self._authorization = "Basic " + base64.b64encode(pair.encode()).decode("ascii")

    async def vouch(self, token: str, tell: Tell) -> Vouched | None:
        """See `perimeter.auth.kinds.remote.authenticator.TokenService`."""
        form = {"token": token, "token_type_hint": "refresh_token"}
        answer = await self._client.post(f"{self._endpoint}/introspect", authorization=self._authorization, data=form)
        if not active(answer) or "offline_access" not in _words(answer.members().get("scope")):
            tell("the token is not an active one with the scope offline_access")
            return None
        form = {"grant_type": "refresh_token", "refresh_token": token}
        settings = self._settings
        if settings.public_client_id == settings.private_client_id:
            exchanged = await self._client.post(self._endpoint, authorization=self._authorization, data=form)
        else:
            # The client that the token was issued to asks, as itself: providers refuse two clients in one request.
            form["client_id"] = settings.public_client_id
            exchanged = await self._client.post(self._endpoint, data=form)
        found = access_token(exchanged)
        if found is None:
            tell("the token is refused when it is to be exchanged")
            return None
        return await _judged(found, self._judge, tell, self._client.service)


def _words(value: object) -> list[str]:
    return value.split() if isinstance(value, str) else []


_OFFLINE_JWT = JwtOptions(strict=False, keys="key_cache")
_IAM_URL = url("iam_url", "of Keycloak, without `/realms/…`", required=True)
_IAM_REALM = Option("iam_realm", TEXT, "Keycloak's name for the realm; not set: that of `realm`")
_PUBLIC_ID = Option("public_client_id", TEXT, "the client that offline tokens are issued to", required=True)
_PRIVATE_ID = Option("private_client_id", TEXT, "the client that may introspect them", required=True)
_PRIVATE_SECRET = Option("private_client_secret", SECRET, "its secret", required=True)
_OFFLINE_CACHE = cache("60s", "how long a user is not asked for again; ends sooner with the access token")


@implementer(IPlugin, IBuildsInThread)
class OpenIdOfflineFactory:
    """``type = openid-offline``."""

    kind = "openid-offline"
    options = (
        _IAM_URL,
        _IAM_REALM,
        _PUBLIC_ID,
        _PRIVATE_ID,
        _PRIVATE_SECRET,
        _OFFLINE_CACHE,
        *_OFFLINE_JWT.all,
        CA_CERTIFICATE,
    )

    def parse(self, section: Section) -> OfflineSettings:
        """All addresses and clients are needed."""
        jwt, iam_url = _OFFLINE_JWT.read(section), section.value(_IAM_URL)
        return OfflineSettings(
            iam_url=iam_url,
            iam_realm=section.value(_IAM_REALM),
            public_client_id=section.value(_PUBLIC_ID),
            private_client_id=section.value(_PRIVATE_ID),
            private_client_secret=section.value(_PRIVATE_SECRET),
            remember=section.value(_OFFLINE_CACHE),
            jwt=jwt,
            remote=remote(section, iam_url, jwt.cert_uri),
        )

    def build(self, name: str, realm: str, settings: OfflineSettings, services: AuthServices) -> TokenAuthenticator:
        """Asks nobody yet. Raises `StartupError` where the CA certificates cannot be used."""
        client = settings.remote.client(f"the OpenID provider of {name}", services)
        judge = JwtJudge(name, realm, settings.jwt, client, services.reactor)
        tokens = OfflineTokens(client, realm, settings, judge)
        return _authenticator(name, realm, tokens, judge, settings.remember, services)


# -- ecmwf-token-generator


@attrs.frozen
class GeneratorSettings:
    """``token_generator_url`` is what both of its addresses begin with."""

    token_generator_url: str
    client_id: str
    client_secret: str = attrs.field(repr=False)
    remember: float
    jwt: JwtSettings
    remote: RemoteSettings


class GeneratedTokens:
    """Tokens of ECMWF's token generator, a service in front of a Keycloak."""

    def __init__(self, client: RemoteClient, settings: GeneratorSettings, judge: JwtJudge) -> None:
        self._url = settings.token_generator_url.rstrip("/")
        self._client = client
        self._settings = settings
        self._judge = judge

    async def vouch(self, token: str, tell: Tell) -> Vouched | None:
        """See `perimeter.auth.kinds.remote.authenticator.TokenService`."""
        settings = self._settings
        question = {"token": token, "client_id": settings.client_id}
        if not active(await self._client.post(f"{self._url}/validate-token", json=question)):
            tell("the token generator does not know the token, or not any more")
            return None
        question = {"client_id": settings.client_id, "client_secret": settings.client_secret, "refresh_token": token}
        found = access_token(await self._client.post(f"{self._url}/admin/refresh-access-token", json=question))
        if found is None:
            tell("the token is refused when it is to be exchanged")
            return None
        return await _judged(found, self._judge, tell, self._client.service)


_GENERATOR_JWT = JwtOptions(strict=False, keys="key_cache")
_GENERATOR_URL = url("token_generator_url", "of the token generator", required=True)
_CLIENT_ID = Option("client_id", TEXT, "the gateway's name there", required=True)
_CLIENT_SECRET = Option("client_secret", SECRET, "its secret", required=True)
_GENERATOR_CACHE = cache("60s", "how long a user is not asked for again; ends sooner with the access token")


@implementer(IPlugin, IBuildsInThread)
class EcmwfTokenGeneratorFactory:
    """``type = ecmwf-token-generator``."""

    kind = "ecmwf-token-generator"
    options = (_GENERATOR_URL, _CLIENT_ID, _CLIENT_SECRET, _GENERATOR_CACHE, *_GENERATOR_JWT.all, CA_CERTIFICATE)

    def parse(self, section: Section) -> GeneratorSettings:
        """The addresses and the client are needed."""
        jwt, generator = _GENERATOR_JWT.read(section), section.value(_GENERATOR_URL)
        return GeneratorSettings(
            token_generator_url=generator,
            client_id=section.value(_CLIENT_ID),
            client_secret=section.value(_CLIENT_SECRET),
            remember=section.value(_GENERATOR_CACHE),
            jwt=jwt,
            remote=remote(section, generator, jwt.cert_uri),
        )

    def build(self, name: str, realm: str, settings: GeneratorSettings, services: AuthServices) -> TokenAuthenticator:
        """Asks nobody yet. Raises `StartupError` where the CA certificates cannot be used."""
        client = settings.remote.client(f"the token generator of {name}", services)
        judge = JwtJudge(name, realm, settings.jwt, client, services.reactor)
        return _authenticator(name, realm, GeneratedTokens(client, settings, judge), judge, settings.remember, services)


def _authenticator(
    name: str,
    realm: str,
    tokens: OfflineTokens | GeneratedTokens,
    judge: JwtJudge,
    remember: float,
    services: AuthServices,
) -> TokenAuthenticator:
    authenticator = TokenAuthenticator(name, realm, tokens, remember, services.reactor)
    judge.on_change(authenticator.forget)
    return authenticator
