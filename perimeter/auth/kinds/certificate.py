"""``type = certificate``: the user is who the client's certificate says. Mutual TLS, with ``client_ca`` of the listener.

The chain was verified by OpenSSL before anything here sees the certificate; what is left is which of its names is the user's. A
certificate with two of that kind is refused rather than read in one of two ways.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
from cryptography import x509
from cryptography.x509.oid import NameOID, ObjectIdentifier
from twisted.plugin import IPlugin
from zope.interface import implementer

from perimeter.auth.text import local_part, unfit_for_name
from perimeter.config.language.datatypes import TEXT, choice, list_of, optional
from perimeter.config.language.option import Option
from perimeter.errors import Rejected
from perimeter.model import AuthenticationRequest, ConnectionCredentials, Credentials, Principal
from perimeter.plugin.authenticator import IAuthenticator, IBuildsInThread, ISchemes
from perimeter.plugin.services import AuthServices

if TYPE_CHECKING:
    from perimeter.config.language.section import Section

SOURCES = ("subject-cn", "subject-dn", "san-email", "san-dns", "san-uri", "san-upn")

_UPN = ObjectIdentifier("1.3.6.1.4.1.311.20.2.3")
_UTF8_STRING = 0x0C


@attrs.frozen
class CertificateSettings:
    """``source`` is one of `SOURCES`; ``issuer`` None is any CA of the listener; ``units_are_roles`` takes OU as roles."""

    source: str
    domain: str = ""
    issuer: x509.Name | None = None
    roles: tuple[str, ...] = ()
    units_are_roles: bool = False


def names_in(certificate: x509.Certificate, source: str) -> list[str]:
    """The names of one kind in a certificate. Raises ValueError where it cannot be read."""
    if source == "subject-dn":
        return [certificate.subject.rfc4514_string()] if list(certificate.subject) else []
    if source == "subject-cn":
        return [str(one.value) for one in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    try:
        san = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    if source == "san-upn":
        return [_utf8_string(one.value) for one in san if isinstance(one, x509.OtherName) and one.type_id == _UPN]
    if source == "san-email":
        return san.get_values_for_type(x509.RFC822Name)
    if source == "san-dns":
        return san.get_values_for_type(x509.DNSName)
    return san.get_values_for_type(x509.UniformResourceIdentifier)


def _utf8_string(der: bytes) -> str:
    """A DER UTF8String (X.690, section 8.21). Longer ones than a name can be are refused."""
    if len(der) < 2 or der[0] != _UTF8_STRING or der[1] != len(der) - 2 or der[1] > 127:
        raise ValueError("a user principal name that is no UTF8String")
    return der[2:].decode("utf-8")


@implementer(IAuthenticator, ISchemes)
class CertificateAuthenticator:
    """Reads the user off a client certificate."""

    schemes = ("certificate",)

    def __init__(self, name: str, realm: str, settings: CertificateSettings) -> None:
        self.name = name
        self.realm = realm
        self._settings = settings

    async def authenticate(self, credentials: Credentials, request: AuthenticationRequest) -> Principal | None:
        """The user; None without a certificate, and for one of another issuer or without a name of the kind."""
        certificate = request.certificate
        if not isinstance(credentials, ConnectionCredentials) or certificate is None:
            return None
        settings = self._settings
        if settings.issuer is not None and certificate.issuer != settings.issuer:
            return None
        try:
            names = names_in(certificate, settings.source)
        except ValueError:
            raise Rejected("the client certificate cannot be read") from None
        if not names:
            request.explain(f"the client certificate has no {settings.source}")
            return None
        if len(names) > 1:
            raise Rejected(f"the client certificate has {len(names)} names of the kind {settings.source}")
        name = local_part(names[0], settings.domain) if settings.domain else names[0]
        if not name or unfit_for_name(name):
            raise Rejected(f"the {settings.source} of the client certificate is no name of a user here")
        return Principal(name, self.realm, self._roles(certificate), self.name)

    def _roles(self, certificate: x509.Certificate) -> tuple[str, ...]:
        roles = list(self._settings.roles)
        if self._settings.units_are_roles:
            roles += [str(one.value) for one in certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATIONAL_UNIT_NAME)]
        return tuple(dict.fromkeys(role for role in roles if role and not unfit_for_name(role)))


_USERNAME = Option("username", choice(*SOURCES), "which name of the certificate is the user's", "subject-cn")
_DOMAIN = Option(
    "domain", TEXT, "with `san-email` and `san-upn`: `user@domain` is `user`, and nobody of another domain is let in"
)
_ISSUER = Option("issuer", TEXT, "the issuer (RFC 4514) of the certificates that count; not set: any CA of `client_ca`")
_ROLES = Option("roles", list_of(TEXT), "that every user has")
_ROLES_FROM = Option("roles_from", optional(choice("ou")), "`ou`: the organisational units of the subject are roles too")


@implementer(IPlugin, IBuildsInThread)
class CertificateFactory:
    """``type = certificate``."""

    kind = "certificate"
    options = (_USERNAME, _DOMAIN, _ISSUER, _ROLES, _ROLES_FROM)

    def parse(self, section: Section) -> CertificateSettings:
        """All of them are optional."""
        settings = CertificateSettings(
            source=section.value(_USERNAME),
            domain=section.value(_DOMAIN),
            roles=section.value(_ROLES),
            units_are_roles=section.value(_ROLES_FROM) == "ou",
        )
        if settings.domain and settings.source not in ("san-email", "san-upn"):
            section.problem("domain", "goes with username = san-email or san-upn only")
        text = section.value(_ISSUER)
        if text:
            try:
                return attrs.evolve(settings, issuer=x509.Name.from_rfc4514_string(text))
            except ValueError:
                section.problem("issuer", "expected a distinguished name such as CN=Users CA,O=Example")
        return settings

    def build(self, name: str, realm: str, settings: CertificateSettings, services: AuthServices) -> CertificateAuthenticator:
        """The authenticator."""
        return CertificateAuthenticator(name, realm, settings)
