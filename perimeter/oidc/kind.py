"""``type = oidc``: an OpenID provider (OpenID Connect Core 1.0, the authorization code flow of section 3.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.plugin import IPlugin
from zope.interface import implementer

from perimeter.config.language.option import options_of
from perimeter.config.language.section import Section
from perimeter.oidc.openid_settings import OidcSettings
from perimeter.oidc.settings import read_client
from perimeter.plugin.redirect import IProviderFactory
from perimeter.plugin.services import AuthServices, IBuildsInThread

if TYPE_CHECKING:
    from perimeter.oidc.provider import OidcProvider


@implementer(IPlugin, IProviderFactory, IBuildsInThread)
class OidcFactory:
    """``type = oidc``."""

    kind = "oidc"
    options = options_of(OidcSettings)

    def parse(self, section: Section) -> OidcSettings:
        """See `IProviderFactory`."""
        return read_client(section, OidcSettings)

    def build(self, name: str, realm: str, settings: OidcSettings, services: AuthServices) -> OidcProvider:
        """Asks nothing yet. Raises `StartupError` if the CA certificates cannot be used."""
        from perimeter.oidc.provider import OidcProvider

        return OidcProvider(name, realm, settings, settings.client(f"the provider {name}", services), services.reactor)
