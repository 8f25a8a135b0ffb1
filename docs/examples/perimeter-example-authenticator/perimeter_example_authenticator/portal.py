"""A plug-in for Perimeter: people sign in at a portal, which sends them back with a signed ticket."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from urllib.parse import urlencode

import attrs
from twisted.plugin import IPlugin
from zope.interface import implementer

from perimeter.config.language.datatypes import SECRET, TEXT
from perimeter.config.language.net_types import URL
from perimeter.config.language.option import option, options_of
from perimeter.config.language.section import Section
from perimeter.config.language.settings import Settings, read
from perimeter.errors import ProviderDenied, Rejected
from perimeter.model import Principal
from perimeter.plugin.redirect import Flow, IProviderFactory, IRedirectAuthenticator, SignedIn
from perimeter.plugin.services import AuthServices


def signature(secret: str, state: str, user: str) -> str:
    """What the portal signs its answer with: HMAC-SHA256, in hexadecimal digits."""
    return hmac.new(secret.encode(), f"{state}\n{user}".encode(), "sha256").hexdigest()


@attrs.frozen
class PortalSettings(Settings):
    """The options of ``type = portal``."""

    url: str = option(URL, "the portal's sign-in page")
    secret: str = option(SECRET, "the secret that the portal signs its answers with")
    title: str = option(TEXT, "the button says: Sign in with `title`", default="the portal")


@implementer(IRedirectAuthenticator)
class Portal:
    """Sends the browser to the portal with ``return`` and ``state``; it comes back with ``state``, ``user`` and ``signature``."""

    def __init__(self, name: str, realm: str, settings: PortalSettings) -> None:
        self.name = name
        self.realm = realm
        self.title = settings.title
        self._settings = settings

    async def begin(self, flow: Flow) -> str:
        """The URL of the portal's page."""
        return f"{self._settings.url}?{urlencode({'return': flow.redirect_uri, 'state': flow.state})}"

    async def complete(self, parameters: Mapping[str, str], flow: Flow) -> SignedIn:
        """The user. The signature covers the state of this flow, so an answer of another flow is refused."""
        user = parameters.get("user", "")
        if not user:
            raise ProviderDenied("the portal has sent no user")
        expected = signature(self._settings.secret, flow.state, user)
        if not hmac.compare_digest(parameters.get("signature", "").encode(), expected.encode()):
            raise Rejected("the signature of the portal's answer is wrong")
        return SignedIn(Principal(user, self.realm), issuer=self._settings.url, subject=user)


@implementer(IPlugin, IProviderFactory)
class PortalFactory:
    """``type = portal``."""

    kind = "portal"
    options = options_of(PortalSettings)

    def parse(self, section: Section) -> PortalSettings:
        """The options of the section."""
        return read(section, PortalSettings)

    def build(self, name: str, realm: str, settings: PortalSettings, services: AuthServices) -> Portal:
        """The provider."""
        return Portal(name, realm, settings)
