"""``type = trusted-header``: a proxy in front of the gateway has authenticated the user and names the user in a header.

The header counts only if the address of the connection itself, which no header can change, is in a trusted network. It is never
forwarded to a service, no matter which client sent it (attacks 8 and 12).
"""

from __future__ import annotations

import attrs
from twisted.plugin import IPlugin
from zope.interface import implementer

from perimeter.auth.text import decode_either, local_part, unfit_for_name
from perimeter.config.language.datatypes import TEXT, list_of, optional
from perimeter.config.language.net_types import HEADER_NAME, PEER_NETWORK, PeerNetwork, UnixPeers, in_networks
from perimeter.config.language.option import option, options_of
from perimeter.config.language.section import Section
from perimeter.config.language.settings import Settings, read
from perimeter.errors import Rejected
from perimeter.model import AuthenticationRequest, ConnectionCredentials, Credentials, HeaderBlock, Principal
from perimeter.plugin.authenticator import IAuthenticator, IAuthenticatorFactory, IReadsFields, ISchemes, Scheme
from perimeter.plugin.services import AuthServices, IBuildsInThread


@attrs.frozen(kw_only=True)
class TrustedHeaderSettings(Settings):
    """``type = trusted-header``. ``roles_header`` is None if roles are not taken from a header."""

    header: str = option(HEADER_NAME, "the header with the user's name", default="X-Remote-User")
    networks: tuple[PeerNetwork, ...] = option(
        list_of(PEER_NETWORK), "the trusted peers, by the address of their connection; `unix:`: all clients of unix sockets"
    )
    roles_header: str | None = option(
        optional(HEADER_NAME), "the header with the roles, separated by commas; not set: no roles", default=""
    )
    domain: str = option(TEXT, "`user@domain` is `user`; users of other domains are refused", default="")

    def check(self, section: Section) -> None:
        """See `Settings.check`."""
        for name, header in (("header", self.header), ("roles_header", self.roles_header or "")):
            if header.lower() == "x-auth-realm":
                section.problem(name, "X-Auth-Realm narrows the realms of a request and cannot have a second meaning")
        if self.roles_header and self.roles_header.lower() == self.header.lower():
            section.problem("roles_header", "is the same as header")
        if any(not isinstance(network, UnixPeers) and not network.prefixlen for network in self.networks):
            section.problem("networks", "would trust every peer")


@implementer(IAuthenticator, ISchemes, IReadsFields)
class TrustedHeaderAuthenticator:
    """Takes the user's name and roles from headers that peers in certain networks set."""

    schemes = (Scheme.HEADER,)

    def __init__(self, name: str, realm: str, settings: TrustedHeaderSettings) -> None:
        self.name = name
        self.realm = realm
        self._settings = settings
        self._header = settings.header.lower().encode("ascii")
        self._roles_header = (settings.roles_header or "").lower().encode("ascii")
        self.fields = tuple(field for field in (self._header, self._roles_header) if field)

    async def authenticate(self, credentials: Credentials, request: AuthenticationRequest) -> Principal | None:
        """The user; None from any other peer, and if the header is absent or empty."""
        headers = request.headers
        if not isinstance(credentials, ConnectionCredentials) or headers is None or not self._trusted(request.peer):
            return None
        name = self._one(headers, self._header)
        if not name:
            return None
        settings = self._settings
        user = local_part(name, settings.domain) if settings.domain else name
        if not user or unfit_for_name(user):
            raise Rejected(f"{settings.header} does not hold a valid user name")
        roles = (role.strip(" \t") for role in self._one(headers, self._roles_header).split(","))
        return Principal(user, self.realm, tuple(dict.fromkeys(role for role in roles if role)), self.name)

    def _trusted(self, peer: str) -> bool:
        return bool(peer) and in_networks(peer, self._settings.networks)

    def _one(self, headers: HeaderBlock, field: bytes) -> str:
        """The value of a header, "" if it is absent. Raises `Rejected` if it occurs twice."""
        values = headers.get_all(field) if field else []
        if len(values) > 1:
            raise Rejected(f"{field.decode('ascii')} came {len(values)} times")
        text = decode_either(values[0]) if values else ""
        if unfit_for_name(text):
            raise Rejected(f"{field.decode('ascii')} holds control characters")
        return text


@implementer(IPlugin, IAuthenticatorFactory, IBuildsInThread)
class TrustedHeaderFactory:
    """``type = trusted-header``."""

    kind = "trusted-header"
    options = options_of(TrustedHeaderSettings)

    def parse(self, section: Section) -> TrustedHeaderSettings:
        """See `IAuthenticatorFactory`."""
        return read(section, TrustedHeaderSettings)

    def build(self, name: str, realm: str, settings: TrustedHeaderSettings, services: AuthServices) -> TrustedHeaderAuthenticator:
        """The authenticator."""
        return TrustedHeaderAuthenticator(name, realm, settings)
