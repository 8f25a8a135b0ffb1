"""``type = plain``: users in the configuration itself, a line each as in a realm file.

Passwords may be hashed as there, and should be. Even those in plain text are compared in constant time, and who is not there
takes as long as who is (attack 29), because all of that is `perimeter.auth.passwords.users`'.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.logger import Logger
from twisted.plugin import IPlugin
from zope.interface import implementer

from perimeter.auth.kinds import listed
from perimeter.auth.passwords.users import RealmFileError, Users, read_users
from perimeter.config.language.datatypes import SECRET
from perimeter.config.language.option import Option
from perimeter.model import AuthenticationRequest, Credentials, Principal
from perimeter.offload import Offload
from perimeter.plugin.authenticator import IAuthenticator, IBuildsInThread, IDecoyLogin, ISchemes
from perimeter.plugin.services import AuthServices

if TYPE_CHECKING:
    from perimeter.config.language.section import Section

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


_USERS = Option(
    "users",
    SECRET,
    "a line each, as in a realm file: `username: password[,role ...]`, the password preferably hashed",
    required=True,
)


@implementer(IPlugin, IBuildsInThread)
class PlainFactory:
    """``type = plain``."""

    kind = "plain"
    options = (_USERS,)

    def parse(self, section: Section) -> Users:
        """The one option, ``users``."""
        text = section.value(_USERS)
        try:
            return read_users(text.encode(), "users")
        except RealmFileError as error:
            # its name for the file stands before its message, which holds no password
            section.problem("users", str(error).removeprefix("users:").strip())
            return Users({}, ())

    def build(self, name: str, realm: str, settings: Users, services: AuthServices) -> PlainAuthenticator:
        """The authenticator, after a warning for each thing that is wrong with the users."""
        for warning in settings.warnings:
            _log.warn("Authenticator {name}: {finding}", name=name, finding=warning)
        return PlainAuthenticator(name, realm, settings, services.offload)
