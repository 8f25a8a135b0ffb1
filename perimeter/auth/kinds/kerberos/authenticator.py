"""``type = kerberos``: the user has a Kerberos ticket for the gateway, and sends it as ``Authorization: Negotiate`` (RFC 4559).

The gateway verifies a ticket with its own key, which is in a keytab, and asks no server. It expects the ticket in one message,
and sends none back. A ticket contains no roles: an augmenter finds them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path

import attrs
from twisted.plugin import IPlugin
from zope.interface import implementer

from perimeter.auth.kinds.kerberos.acceptor import Acceptor, load_gssapi
from perimeter.auth.kinds.kerberos.names import user_of
from perimeter.config.language.datatypes import BadValue, Datatype, file_path, list_of, one_of
from perimeter.config.language.name_types import NAME
from perimeter.config.language.option import option, options_of
from perimeter.config.language.section import Section
from perimeter.config.language.settings import Settings, read
from perimeter.errors import StartupError, Unavailable
from perimeter.model import AuthenticationRequest, Credentials, NegotiateCredentials, Principal, Recollection
from perimeter.offload import Offload
from perimeter.plugin.authenticator import IAuthenticator, IAuthenticatorFactory, IProbe, ISchemes, Scheme
from perimeter.plugin.services import AuthServices, IBuildsInThread


class LetterCase(StrEnum):
    """How the letters of principals become those of user names."""

    LOWER = "lower"
    EXACT = "exact"


_REALM_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*")
_SERVICE_NAME = re.compile(r"[A-Za-z0-9_-]+/[A-Za-z0-9][A-Za-z0-9.-]*(@[A-Za-z0-9][A-Za-z0-9.-]*)?")


def _realm(text: str, base: Path) -> str:
    if not _REALM_NAME.fullmatch(text):
        raise BadValue("expected the name of a Kerberos realm, such as EXAMPLE.ORG", text.rpartition("@")[2])
    return text


def _service(text: str, base: Path) -> str:
    if not _SERVICE_NAME.fullmatch(text):
        raise BadValue("expected a service such as HTTP/gateway.example.org")
    return text


_REALM: Datatype[str] = Datatype("Kerberos realm", _realm, "")
_SERVICE: Datatype[str] = Datatype("service", _service, "")


@attrs.frozen(kw_only=True)
class KerberosSettings(Settings):
    """``type = kerberos``."""

    keytab: Path = option(file_path("file"), "keytab with the gateway's own key; it is read for each ticket")
    kerberos_realm: str = option(
        _REALM, "the Kerberos realm of the users, such as `EXAMPLE.ORG`: `joe@EXAMPLE.ORG` is `joe`; others are refused"
    )
    service: str = option(
        _SERVICE,
        "the service that tickets must be for, such as `HTTP/gateway.example.org`; not set: any that has a key in the keytab",
        default="",
    )
    letter_case: LetterCase = option(
        one_of(LetterCase),
        "`lower`: user names are in lower case, because `JOE` and `joe` are one user of Active Directory; `exact`: they are two",
        default="lower",
    )
    roles: tuple[str, ...] = option(list_of(NAME), "roles of every user; augmenters add others", default="")

    @property
    def principal(self) -> str:
        """The service with its realm; "" for any."""
        return self.service if "@" in self.service or not self.service else f"{self.service}@{self.kerberos_realm}"


@implementer(IAuthenticator, ISchemes, IProbe)
class KerberosAuthenticator:
    """Verifies tickets with ``acceptor``, in a thread of ``threads``. ``seconds`` gives the time since the epoch."""

    schemes = (Scheme.NEGOTIATE, Scheme.RECALL)

    def __init__(
        self,
        name: str,
        realm: str,
        settings: KerberosSettings,
        acceptor: Acceptor,
        threads: Offload,
        seconds: Callable[[], float],
    ) -> None:
        self.name = name
        self.realm = realm
        self._settings = settings
        self._acceptor = acceptor
        self._threads = threads
        self._seconds = seconds

    async def authenticate(self, credentials: Credentials, request: AuthenticationRequest) -> Principal | None:
        """The user whose ticket it is; None for other credentials. See `IAuthenticator`.

        The owner of an API token is known by name alone: only a directory could say whether they still exist, and its augmenter
        gives the roles that they have now.
        """
        settings = self._settings
        if isinstance(credentials, Recollection):
            return Principal(credentials.username, self.realm, settings.roles, self.name)
        if not isinstance(credentials, NegotiateCredentials):
            return None
        ticket = await self._threads.run(self._acceptor.accept, credentials.token)
        request.explain(f"the ticket is that of {ticket.principal!r}, for {ticket.seconds:.0f} s")
        user = user_of(ticket.principal, settings.kerberos_realm, lower=settings.letter_case is LetterCase.LOWER)
        return Principal(user, self.realm, settings.roles, self.name, until=self._seconds() + ticket.seconds)

    async def probe(self) -> None:
        """See `IProbe`: read the keytab."""
        await self._threads.run(self._acceptor.check)


@implementer(IPlugin, IAuthenticatorFactory, IBuildsInThread)
class KerberosFactory:
    """``type = kerberos``."""

    kind = "kerberos"
    options = options_of(KerberosSettings)

    def parse(self, section: Section) -> KerberosSettings:
        """See `IAuthenticatorFactory`."""
        return read(section, KerberosSettings)

    def build(self, name: str, realm: str, settings: KerberosSettings, services: AuthServices) -> KerberosAuthenticator:
        """Raises `StartupError` without ``gssapi``, and for a keytab that cannot be used."""
        acceptor = Acceptor(settings.keytab, settings.principal, load_gssapi())
        try:
            acceptor.check()
        except Unavailable as error:
            raise StartupError(f"{settings.keytab}: {error.detail}") from None
        return KerberosAuthenticator(name, realm, settings, acceptor, services.blocking, services.reactor.seconds)
