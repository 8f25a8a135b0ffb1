"""``type = trusted-header``: a proxy in front has authenticated the user and says who it is, in a header field.

It is believed by the address of the connection itself, which no header can move; from anywhere else the field means nothing. On
its way to a service it is dropped, whoever sent it (attacks 8 and 12).
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING

import attrs
from twisted.plugin import IPlugin
from zope.interface import implementer

from perimeter.auth.text import decode_either, local_part, unfit_for_name
from perimeter.config.language.datatypes import TEXT, list_of, optional
from perimeter.config.language.net_types import HEADER_NAME, NETWORK, Network
from perimeter.config.language.option import Option
from perimeter.errors import Rejected
from perimeter.model import AuthenticationRequest, ConnectionCredentials, Credentials, HeaderBlock, Principal
from perimeter.plugin.authenticator import IAuthenticator, IAuthenticatorFactory, IReadsFields, ISchemes
from perimeter.plugin.services import AuthServices

if TYPE_CHECKING:
    from perimeter.config.language.section import Section


@attrs.frozen
class TrustedHeaderSettings:
    """``header`` and ``roles_header`` are names of fields; the latter is "" where there is none."""

    header: str
    networks: tuple[Network, ...]
    roles_header: str = ""
    domain: str = ""


@implementer(IAuthenticator, ISchemes, IReadsFields)
class TrustedHeaderAuthenticator:
    """Believes what peers of certain networks say of their users."""

    schemes = ("header",)

    def __init__(self, name: str, realm: str, settings: TrustedHeaderSettings) -> None:
        self.name = name
        self.realm = realm
        self._settings = settings
        self._header = settings.header.lower().encode("ascii")
        self._roles_header = settings.roles_header.lower().encode("ascii")
        self.fields = tuple(field for field in (self._header, self._roles_header) if field)

    async def authenticate(self, credentials: Credentials, request: AuthenticationRequest) -> Principal | None:
        """The user; None from any other peer, and where the field is absent or empty."""
        headers = request.headers
        if not isinstance(credentials, ConnectionCredentials) or headers is None or not self._trusted(request.peer):
            return None
        name = self._one(headers, self._header)
        if not name:
            return None
        settings = self._settings
        user = local_part(name, settings.domain) if settings.domain else name
        if not user or unfit_for_name(user):
            raise Rejected(f"{settings.header} holds no name of a user here")
        roles = (role.strip(" \t") for role in self._one(headers, self._roles_header).split(","))
        return Principal(user, self.realm, tuple(dict.fromkeys(role for role in roles if role)), self.name)

    def _trusted(self, peer: str) -> bool:
        if not peer:
            return False
        address = ip_address(peer)
        return any(address.version == network.version and address in network for network in self._settings.networks)

    def _one(self, headers: HeaderBlock, field: bytes) -> str:
        """The value of a field, "" where it is absent. Two of them are one too many to believe."""
        values = headers.get_all(field) if field else []
        if len(values) > 1:
            raise Rejected(f"{field.decode('ascii')} came {len(values)} times")
        text = decode_either(values[0]) if values else ""
        if unfit_for_name(text):
            raise Rejected(f"{field.decode('ascii')} holds control characters")
        return text


_HEADER = Option("header", HEADER_NAME, "the field with the user's name", "X-Remote-User")
_NETWORKS = Option("networks", list_of(NETWORK), "the peers that are believed, by the address of their connection", required=True)
_ROLES_HEADER = Option("roles_header", optional(HEADER_NAME), "the field with the roles, separated by commas; not set: no roles")
_DOMAIN = Option("domain", TEXT, "`user@domain` is `user`, and nobody of another domain is let in")


@implementer(IPlugin, IAuthenticatorFactory)
class TrustedHeaderFactory:
    """``type = trusted-header``."""

    kind = "trusted-header"
    options = (_HEADER, _NETWORKS, _ROLES_HEADER, _DOMAIN)

    def parse(self, section: Section) -> TrustedHeaderSettings:
        """Who is believed has to be said."""
        roles_header = section.value(_ROLES_HEADER) or ""
        settings = TrustedHeaderSettings(section.value(_HEADER), section.value(_NETWORKS), roles_header, section.value(_DOMAIN))
        for option, name in (("header", settings.header), ("roles_header", roles_header)):
            if name.lower() == "x-auth-realm":
                section.problem(option, "X-Auth-Realm narrows the realms of a request, and can say nothing else")
        if roles_header and roles_header.lower() == settings.header.lower():
            section.problem("roles_header", "is the same as header")
        if any(not network.prefixlen for network in settings.networks):
            section.problem("networks", "would believe everybody")
        return settings

    def build(self, name: str, realm: str, settings: TrustedHeaderSettings, services: AuthServices) -> TrustedHeaderAuthenticator:
        """The authenticator."""
        return TrustedHeaderAuthenticator(name, realm, settings)
