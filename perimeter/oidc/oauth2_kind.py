"""``type = oauth2``: a provider with OAuth 2.0 alone, such as GitHub. An endpoint of its own says who the user is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.plugin import IPlugin
from zope.interface import implementer

from perimeter.config.language.option import options_of
from perimeter.config.language.section import Section
from perimeter.oidc.oauth2_settings import OAuth2Settings
from perimeter.oidc.settings import read_client
from perimeter.plugin.redirect import IProviderFactory
from perimeter.plugin.services import AuthServices, IBuildsInThread

if TYPE_CHECKING:
    from perimeter.oidc.oauth2 import OAuth2Provider


@implementer(IPlugin, IProviderFactory, IBuildsInThread)
class OAuth2Factory:
    """``type = oauth2``."""

    kind = "oauth2"
    options = options_of(OAuth2Settings)

    def parse(self, section: Section) -> OAuth2Settings:
        """See `IProviderFactory`."""
        return read_client(section, OAuth2Settings)

    def build(self, name: str, realm: str, settings: OAuth2Settings, services: AuthServices) -> OAuth2Provider:
        """Asks nothing yet. Raises `StartupError` if the CA certificates cannot be used."""
        from perimeter.oidc.oauth2 import OAuth2Provider

        return OAuth2Provider(name, realm, settings, settings.client(f"the provider {name}", services), services.reactor)
