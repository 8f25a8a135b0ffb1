"""``type = ldap``: users of a directory, found by a search, verified by a bind, with roles from their groups.

A login has four steps: search for the user's entry, bind as that entry with the password, take the name in the directory's
spelling, search for the groups. To a client, "no such user" looks the same as "wrong password" (attack 29).
"""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.plugin import IPlugin
from zope.interface import implementer

from perimeter.auth.kinds.ldap import names
from perimeter.auth.kinds.ldap.roles import Roles
from perimeter.auth.kinds.ldap.settings import LdapSettings, Tls
from perimeter.auth.kinds.ldap.users import Explain, User, Users
from perimeter.config.language.option import options_of
from perimeter.config.language.section import Section
from perimeter.config.language.settings import read
from perimeter.errors import Rejected, Unavailable
from perimeter.fair_queue import timed_out
from perimeter.model import AuthenticationRequest, BasicCredentials, Credentials, Principal, Recollection
from perimeter.net.contexts import ClientTLS
from perimeter.plugin.authenticator import (
    IAuthenticatorFactory,
    ICanonicalNames,
    IDecoyLogin,
    IDirectoryRoles,
    IProbe,
    IRunningAuthenticator,
    ISchemes,
    Scheme,
)
from perimeter.plugin.services import AuthServices, IBuildsInThread

if TYPE_CHECKING:
    from perimeter.auth.kinds.ldap.directory import LdapDirectory

_log = Logger()

REMEMBERED_COSTS = 64
"""Refused binds whose durations are kept, so that unknown users take the same time."""


@implementer(IRunningAuthenticator, ICanonicalNames, ISchemes, IDecoyLogin, IProbe)
class LdapAuthenticator:
    """Knows the users of one directory."""

    schemes = (Scheme.BASIC, Scheme.RECALL)

    def __init__(self, name: str, realm: str, settings: LdapSettings, reactor: Any, directory: LdapDirectory) -> None:
        self.name = name
        self.realm = realm
        self._settings = settings
        self._reactor = reactor
        self._directory = directory
        self._users = Users(settings, directory, f"Authenticator {name}")
        self._roles = Roles(settings, directory.search)
        #: seconds that the last binds with a wrong password took
        self._costs: deque[float] = deque(maxlen=REMEMBERED_COSTS)

    def start(self, changed: Callable[[], None]) -> None:
        """There is nothing to start: connections are opened when needed, and a directory reports no changes."""

    def stop(self) -> None:
        """Close the connections."""
        self._directory.close()

    async def authenticate(self, credentials: Credentials, request: AuthenticationRequest) -> Principal | None:
        """The user with this name and password; None for a name that the directory does not have. See `IAuthenticator`."""
        explain = self._logged(request.explain) if self._settings.debug else request.explain
        if isinstance(credentials, Recollection):
            login = Deferred.fromCoroutine(self._recall(credentials.username, explain))
        elif not isinstance(credentials, BasicCredentials):
            return None
        elif not credentials.password:
            # RFC 4513, section 5.1.2: a directory takes it for an anonymous bind, which succeeds (attack 32).
            raise Rejected("an empty password")
        else:
            login = Deferred.fromCoroutine(self._login(names.checked(credentials.username), credentials.password, explain))
        login.addTimeout(self._settings.timeout, self._reactor, timed_out(f"the directory of {self.name}"))
        try:
            return await login
        except (Rejected, Unavailable) as refusal:
            explain(f"{refusal.reason}: {refusal.detail}")
            raise

    async def decoy(self, request: AuthenticationRequest) -> None:
        """See `IDecoyLogin`: the search and the bind of an unknown user."""
        silent = AuthenticationRequest(request.address)  # a step of another authenticator's login is not explained
        await self.authenticate(BasicCredentials(f"nobody-{secrets.token_hex(8)}", secrets.token_urlsafe(12)), silent)

    async def probe(self) -> None:
        """See `IProbe`."""
        await self._directory.probe()

    def canonical_name(self, username: str) -> str:
        """The one spelling by which wrong passwords are counted; see `ICanonicalNames`."""
        return self._users.canonical_name(username)

    def _logged(self, inner: Explain) -> Explain:
        """Like ``inner``, and logs each step."""

        def explain(step: str) -> None:
            _log.info("Authenticator {name}: {step}", name=self.name, step=step)
            inner(step)

        return explain

    # -- the four steps

    async def _login(self, username: str, password: str, explain: Explain) -> Principal | None:
        login = self._users.login_name(username)
        if login is None:
            explain("the name is of another domain")
            return None
        user = await self._users.by_login(login, explain)
        if user is None:
            await self._pretend(explain)
            return None
        began = self._reactor.seconds()
        explain(f"bind as {user.entry.dn}")
        try:
            await self._directory.check_password(user.entry.dn, password)
        except Rejected:
            self._costs.append(self._reactor.seconds() - began)
            raise
        principal = await self._principal(user, explain)
        explain(f"{principal.username} is in, with roles: {', '.join(principal.roles) or 'none'}")
        return principal

    async def _recall(self, username: str, explain: Explain) -> Principal | None:
        """The user called ``username`` in the directory's spelling: the result of a login, without its bind."""
        user = await self._users.by_name(username, explain)
        if user is None or (self._settings.active_directory and names.account_closed(user.entry, self._reactor.seconds())):
            return None
        principal = await self._principal(user, explain)
        return principal if principal.username == username else None

    async def _principal(self, user: User, explain: Explain) -> Principal:
        username = await self._users.name_of(user, explain)
        roles = await self._roles.of(user.entry, username, explain)
        return Principal(username, self.realm, roles, self.name, self._users.attributes_of(user))

    async def _pretend(self, explain: Explain) -> None:
        """Spend for an unknown user what a wrong password costs: a bind, and the time that one took recently (attack 29)."""
        settings = self._settings
        began = self._reactor.seconds()
        nobody = f"{settings.user_rdn_attribute}=nobody-{secrets.token_hex(8)},{settings.user_base_dn}"
        explain("bind as a user that does not exist, to take the time of a wrong password")
        try:
            # With another password: the one of this login may belong to a user of the next authenticator.
            await self._directory.check_password(nobody, secrets.token_urlsafe(12))
        except Rejected:
            pass
        else:
            raise Unavailable("the directory accepts any bind")
        if self._costs:
            # A directory computes no hash for a missing entry, so its answer may come sooner.
            missing = secrets.choice(self._costs) - (self._reactor.seconds() - began)
            if missing > 0:
                await deferLater(self._reactor, missing)


def _share(name: str, option: str, limit: int, services: AuthServices) -> int:
    """This worker's part of the connections that ``option`` allows for all workers together."""
    share = services.share(limit)
    if share * services.workers != limit:
        _log.warn(
            "Authenticator {name}: {option} = {limit} is divided among {workers} workers: each has {share}, all together {total}",
            name=name,
            option=option,
            limit=limit,
            workers=services.workers,
            share=share,
            total=share * services.workers,
            counted=True,
        )
    return share


@implementer(IPlugin, IAuthenticatorFactory, IBuildsInThread, IDirectoryRoles)
class LdapFactory:
    """``type = ldap``."""

    kind = "ldap"
    options = options_of(LdapSettings)

    def any_case(self, settings: Any) -> bool:
        """See `IDirectoryRoles`."""
        return True

    def parse(self, section: Section) -> LdapSettings:
        """See `IAuthenticatorFactory`."""
        return read(section, LdapSettings)

    def build(self, name: str, realm: str, settings: LdapSettings, services: AuthServices) -> LdapAuthenticator:
        """Asks no server yet. Raises `StartupError` if the CA certificates cannot be used."""
        # Every `twistd` imports all plug-ins; ldaptor's messages are imported only by a site that uses them.
        from perimeter.auth.kinds.ldap.directory import LdapDirectory
        from perimeter.auth.kinds.ldap.opening import Address

        reactor: Any = services.reactor
        addresses = []
        for host, port in settings.servers:
            tls = None if settings.tls is Tls.NONE else ClientTLS(settings.server_name or host, settings.ca_certificate, alpn=())
            addresses.append(Address(host, port, tls, settings.tls is Tls.STARTTLS))
        directory = LdapDirectory(
            name,
            addresses,
            settings.bind_dn,
            settings.bind_password,
            reactor,
            timeout=settings.server_timeout,
            rest=settings.rest,
            search_connections=_share(name, "search_connections", settings.search_connections, services),
            bind_connections=_share(name, "bind_connections", settings.bind_connections, services),
        )
        if settings.tls is Tls.NONE:
            _log.warn(
                "Authenticator {name}: tls = none: passwords go to {hosts} in plain text; set tls = starttls or ldaps",
                name=name,
                hosts=", ".join(host for host, _ in settings.servers),
                counted=True,
            )
        return LdapAuthenticator(name, realm, settings, reactor, directory)
