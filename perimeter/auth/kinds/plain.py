"""``type = plain``: users in the configuration itself, one per line as in a realm file.

Passwords may be hashed as there, and should be. Even those in plain text are compared in constant time, and who is not there
takes as long as who is (attack 29), because all of that is `perimeter.auth.passwords.users`'.
"""

from __future__ import annotations

from pathlib import Path

import attrs
from twisted.logger import Logger
from twisted.plugin import IPlugin
from zope.interface import implementer

from perimeter.auth.kinds import listed
from perimeter.auth.passwords.users import RealmFileError, Users, read_users
from perimeter.config.language.datatypes import BadValue, Datatype
from perimeter.config.language.option import option, options_of
from perimeter.config.language.section import Section
from perimeter.config.language.settings import Settings, read
from perimeter.model import AuthenticationRequest, Credentials, Principal
from perimeter.offload import Offload
from perimeter.plugin.authenticator import IAuthenticator, IAuthenticatorFactory, IDecoyLogin, ISchemes
from perimeter.plugin.services import AuthServices, IBuildsInThread

_log = Logger()


@implementer(IAuthenticator, ISchemes, IDecoyLogin)
class PlainAuthenticator:
    """Knows ``users``."""

    schemes = listed.SCHEMES

    def __init__(self, name: str, realm: str, users: Users, offload: Offload) -> None:
        self.name = name
        self.realm = realm
        self._users = users
        self._offload = offload

    async def authenticate(self, credentials: Credentials, request: AuthenticationRequest) -> Principal | None:
        """See `perimeter.auth.kinds.listed`."""
        return await listed.authenticate(self._users, self, credentials, request, self._offload, lambda _: self.name)

    async def decoy(self, request: AuthenticationRequest) -> None:
        """See `IDecoyLogin`."""
        await listed.decoy(self._users, self._offload)


def _users(text: str, base: Path) -> Users:
    try:
        return read_users(text.encode(), "users", in_file=False)
    except RealmFileError as error:
        # its name for the file stands before its message, which contains no password
        raise BadValue(str(error).removeprefix("users:").strip(), complete=True) from None


@attrs.frozen
class PlainSettings(Settings):
    """``type = plain``."""

    users: Users = option(
        Datatype("secret", _users, Users({}, ()), secret=True),
        "one user per line, as in a realm file: `username: password[,role ...]`; the password should be hashed",
    )


@implementer(IPlugin, IAuthenticatorFactory, IBuildsInThread)
class PlainFactory:
    """``type = plain``."""

    kind = "plain"
    options = options_of(PlainSettings)

    def parse(self, section: Section) -> PlainSettings:
        """See `IAuthenticatorFactory`."""
        return read(section, PlainSettings)

    def build(self, name: str, realm: str, settings: PlainSettings, services: AuthServices) -> PlainAuthenticator:
        """The authenticator. Logs the warnings about its users."""
        for warning in settings.users.warnings:
            _log.warn("Authenticator {name}: {finding}", name=name, finding=warning)
        return PlainAuthenticator(name, realm, settings.users, services.offload)
