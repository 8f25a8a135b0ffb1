"""``type = kerberos``: the user has a Kerberos ticket for the gateway, and sends it as ``Authorization: Negotiate`` (RFC 4559).

The gateway verifies a ticket with its own key, which is in a keytab, and asks no server. It expects the ticket in one message,
and sends none back. A ticket contains no roles: an augmenter finds them.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.plugin import IPlugin
from zope.interface import implementer

from perimeter.auth.kinds.kerberos.acceptor import Acceptor, load_gssapi
from perimeter.auth.kinds.kerberos.names import user_of
from perimeter.auth.kinds.kerberos.settings import KerberosSettings, LetterCase
from perimeter.config.language.option import options_of
from perimeter.config.language.section import Section
from perimeter.config.language.settings import read
from perimeter.errors import StartupError, Unavailable
from perimeter.model import AuthenticationRequest, Credentials, NegotiateCredentials, Principal, Recollection
from perimeter.offload import Offload
from perimeter.plugin.authenticator import IAuthenticator, IAuthenticatorFactory, IProbe, ISchemes, Scheme
from perimeter.plugin.services import AuthServices, IBuildsInThread


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
