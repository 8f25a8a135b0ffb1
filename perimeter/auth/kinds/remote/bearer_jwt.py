"""``type = jwt``: tokens that another issuer has signed, with keys that it publishes as a JWK set."""

from __future__ import annotations

import attrs
from twisted.plugin import IPlugin
from zope.interface import implementer

from perimeter.auth.kinds.remote.authenticator import TokenAuthenticator
from perimeter.auth.kinds.remote.jwt_options import KEY_CACHE, NAMES_OR_ALL, JwtJudge, JwtSettings
from perimeter.config.language.datatypes import duration
from perimeter.config.language.option import option, options_of
from perimeter.config.language.section import Section
from perimeter.config.language.settings import read
from perimeter.plugin.authenticator import IAuthenticatorFactory
from perimeter.plugin.services import AuthServices, IBuildsInThread

REMEMBER = 60.0
"""Seconds that a verdict is remembered; less if the token expires sooner or the issuer changes its keys."""


@attrs.frozen(kw_only=True)
class BearerJwtSettings(JwtSettings):
    """``type = jwt``. Issuer and audience must be set, if only to ``*``."""

    issuer: tuple[str, ...] = option(NAMES_OR_ALL, "accepted values of `iss`; `*`: any that these keys sign")
    audience: tuple[str, ...] = option(NAMES_OR_ALL, "accepted values of `aud`; `*`: tokens for any audience")
    key_cache: float = option(duration(), KEY_CACHE, default="10m", name="cache")


@implementer(IPlugin, IAuthenticatorFactory, IBuildsInThread)
class BearerJwtFactory:
    """``type = jwt``."""

    kind = "jwt"
    options = options_of(BearerJwtSettings)

    def parse(self, section: Section) -> BearerJwtSettings:
        """See `IAuthenticatorFactory`."""
        return read(section, BearerJwtSettings)

    def build(self, name: str, realm: str, settings: BearerJwtSettings, services: AuthServices) -> TokenAuthenticator:
        """Fetches nothing yet. Raises `StartupError` if the CA certificates cannot be used."""
        client = settings.client(f"the issuer of {name}", services)
        judge = JwtJudge(name, realm, settings, client, services.reactor)
        authenticator = TokenAuthenticator(name, realm, judge, REMEMBER, services)
        judge.on_change(authenticator.forget)
        return authenticator
