"""``type = jwt``: tokens that another issuer has signed, with keys that it publishes as a JWK set."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
from twisted.plugin import IPlugin
from zope.interface import implementer

from perimeter.auth.kinds.remote.authenticator import TokenAuthenticator
from perimeter.auth.kinds.remote.jwt_options import JwtJudge, JwtOptions, JwtSettings
from perimeter.auth.kinds.remote.settings import CA_CERTIFICATE, RemoteSettings, remote
from perimeter.plugin.authenticator import IBuildsInThread
from perimeter.plugin.services import AuthServices

if TYPE_CHECKING:
    from perimeter.config.language.section import Section

REMEMBER = 60.0
"""Seconds that a verdict spares the signature; it ends sooner with the token, or when the issuer has other keys."""


@attrs.frozen
class BearerJwtSettings:
    """How to judge, and how to fetch the keys."""

    jwt: JwtSettings
    remote: RemoteSettings


_OPTIONS = JwtOptions(strict=True, keys="cache")


@implementer(IPlugin, IBuildsInThread)
class BearerJwtFactory:
    """``type = jwt``."""

    kind = "jwt"
    options = (*_OPTIONS.all, CA_CERTIFICATE)

    def parse(self, section: Section) -> BearerJwtSettings:
        """``cert_uri``, ``issuer`` and ``audience`` are needed."""
        settings = _OPTIONS.read(section)
        return BearerJwtSettings(settings, remote(section, settings.cert_uri))

    def build(self, name: str, realm: str, settings: BearerJwtSettings, services: AuthServices) -> TokenAuthenticator:
        """Fetches nothing yet. Raises `StartupError` where the CA certificates cannot be used."""
        client = settings.remote.client(f"the issuer of {name}", services)
        judge = JwtJudge(name, realm, settings.jwt, client, services.reactor)
        authenticator = TokenAuthenticator(name, realm, judge, REMEMBER, services.reactor)
        judge.on_change(authenticator.forget)
        return authenticator
