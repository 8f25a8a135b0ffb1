"""``type = certificate``: the client's certificate names the user. Mutual TLS, with ``client_ca`` of the listener.

OpenSSL has verified the chain before the certificate arrives here; this module finds the user's name in it. A certificate with
two names of the configured kind is ambiguous and refused.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path

import attrs
from cryptography import x509
from cryptography.x509.oid import NameOID
from twisted.plugin import IPlugin
from zope.interface import implementer

from perimeter.auth.certificate_names import CertificateName, names_in
from perimeter.auth.text import local_part, unfit_for_name
from perimeter.config.language.datatypes import TEXT, BadValue, Datatype, list_of, one_of, optional
from perimeter.config.language.name_types import NAME
from perimeter.config.language.option import option, options_of
from perimeter.config.language.section import Section
from perimeter.config.language.settings import Settings, read
from perimeter.errors import Rejected
from perimeter.model import AuthenticationRequest, ConnectionCredentials, Credentials, Principal
from perimeter.plugin.authenticator import IAuthenticator, IAuthenticatorFactory, ISchemes, Scheme
from perimeter.plugin.services import AuthServices, IBuildsInThread


class RolesFrom(StrEnum):
    """The parts of a certificate that can give roles."""

    UNITS = "ou"


def _distinguished_name(text: str, base: Path) -> x509.Name:
    try:
        return x509.Name.from_rfc4514_string(text)
    except ValueError:
        raise BadValue("expected a distinguished name such as CN=Users CA,O=Example", complete=True) from None


_ISSUER: Datatype[x509.Name | None] = Datatype("text", _distinguished_name, None)


@attrs.frozen
class CertificateSettings(Settings):
    """``type = certificate``."""

    source: CertificateName = option(
        one_of(CertificateName), "which name of the certificate is the user's", default="subject-cn", name="username"
    )
    domain: str = option(
        TEXT, "with `san-email` and `san-upn`: `user@domain` is `user`; users of other domains are refused", default=""
    )
    issuer: x509.Name | None = option(
        _ISSUER, "the issuer (RFC 4514) of the certificates that count; not set: any CA of `client_ca`", default=""
    )
    roles: tuple[str, ...] = option(list_of(NAME), "roles of every user", default="")
    roles_from: RolesFrom | None = option(
        optional(one_of(RolesFrom)), "`ou`: the organisational units of the subject are roles too", default=""
    )

    def check(self, section: Section) -> None:
        """See `Settings.check`."""
        if self.domain and self.source not in (CertificateName.SAN_EMAIL, CertificateName.SAN_UPN):
            section.problem("domain", "is only allowed with username = san-email or san-upn")


@implementer(IAuthenticator, ISchemes)
class CertificateAuthenticator:
    """Takes the user's name from a client certificate."""

    schemes = (Scheme.CERTIFICATE,)

    def __init__(self, name: str, realm: str, settings: CertificateSettings, seconds: Callable[[], float] = time.time) -> None:
        self.name = name
        self.realm = realm
        self._settings = settings
        self._seconds = seconds

    async def authenticate(self, credentials: Credentials, request: AuthenticationRequest) -> Principal | None:
        """The user; None without a certificate, with one of another issuer, and with one that has no name of the kind."""
        certificate = request.certificate
        if not isinstance(credentials, ConnectionCredentials) or certificate is None:
            return None
        settings = self._settings
        if settings.issuer is not None and certificate.issuer != settings.issuer:
            return None
        until = certificate.not_valid_after_utc.timestamp()
        if self._seconds() >= until:  # it was valid when the connection was made
            raise Rejected("the client certificate has expired")
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
            raise Rejected(f"the {settings.source} of the client certificate is not a valid user name")
        return Principal(name, self.realm, self._roles(certificate), self.name, until=until)

    def _roles(self, certificate: x509.Certificate) -> tuple[str, ...]:
        roles = list(self._settings.roles)
        if self._settings.roles_from is RolesFrom.UNITS:
            roles += [str(one.value) for one in certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATIONAL_UNIT_NAME)]
        return tuple(dict.fromkeys(role for role in roles if role and not unfit_for_name(role)))


@implementer(IPlugin, IAuthenticatorFactory, IBuildsInThread)
class CertificateFactory:
    """``type = certificate``."""

    kind = "certificate"
    options = options_of(CertificateSettings)

    def parse(self, section: Section) -> CertificateSettings:
        """See `IAuthenticatorFactory`."""
        return read(section, CertificateSettings)

    def build(self, name: str, realm: str, settings: CertificateSettings, services: AuthServices) -> CertificateAuthenticator:
        """The authenticator."""
        return CertificateAuthenticator(name, realm, settings, services.reactor.seconds)
