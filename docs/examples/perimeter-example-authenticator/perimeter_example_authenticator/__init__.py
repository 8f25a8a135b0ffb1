"""Two plug-ins for Perimeter: an authenticator for API keys, and an augmenter that gives roles by the prefix of a name."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import attrs
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.plugin import IPlugin
from zope.interface import implementer

from perimeter.auth.text import unfit_for_name
from perimeter.config.language.datatypes import TEXT, file_path, list_of
from perimeter.config.language.option import option, options_of
from perimeter.config.language.section import Section
from perimeter.config.language.settings import Settings, read
from perimeter.errors import StartupError
from perimeter.model import AuthenticationRequest, BearerCredentials, Credentials, Principal, Recollection
from perimeter.plugin.augmenter import IAugmenter, IAugmenterFactory
from perimeter.plugin.authenticator import IAuthenticatorFactory, IRunningAuthenticator, ISchemes, Scheme
from perimeter.plugin.services import AuthServices

_log = Logger()

POLL_INTERVAL = 1.0
"""Seconds between two looks at the file."""


@attrs.frozen
class Holder:
    """Who holds a key."""

    user: str
    roles: tuple[str, ...]


def read_keys(path: Path) -> dict[str, Holder]:
    """The holders by the hash of their key. Raises `StartupError`, which names the line."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise StartupError(f"{path}: cannot be read: {type(error).__name__}") from None
    holders = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        digest, _, names = line.partition(" ")
        user, *roles = (name.strip() for name in names.split(","))
        if len(digest) != 64 or not user or unfit_for_name(names):
            raise StartupError(f"{path}:{number}: expected SHA-256 user[,role ...]")
        holders[digest.lower()] = Holder(user, tuple(role for role in roles if role))
    return holders


@implementer(IRunningAuthenticator, ISchemes)
class KeyAuthenticator:
    """Knows the holders of keys. ``holders`` are those that the file had when the section was read."""

    # Bearer: tokens that the gateway has not issued; passwords never come here. Recall: an API token of the gateway ends when its
    # owner holds no key any more, and loses the roles that its owner loses.
    schemes = (Scheme.BEARER, Scheme.RECALL)

    def __init__(self, name: str, realm: str, path: Path, holders: dict[str, Holder], services: AuthServices) -> None:
        self.name = name
        self.realm = realm
        self._path = path
        self._offload = services.offload
        self._holders = holders
        self._changed: Callable[[], None] = lambda: None
        self._poll = LoopingCall(self._look)
        self._poll.clock = services.reactor

    def start(self, changed: Callable[[], None]) -> None:
        """Look at the file from now on. A StartupError raised here would stop the start, or the reload."""
        self._changed = changed
        self._poll.start(POLL_INTERVAL, now=False)

    def stop(self) -> None:
        """Stop looking at the file. This must not fail: an exception is only logged."""
        if self._poll.running:
            self._poll.stop()

    async def _look(self) -> None:
        try:
            holders = await self._offload.run(read_keys, self._path)
        except Exception as error:
            _log.error("{error}; the keys read before stay in force", error=error)
            return
        if holders != self._holders:
            self._holders = holders
            self._changed()  # what was remembered of the old ones is forgotten

    async def authenticate(self, credentials: Credentials, request: AuthenticationRequest) -> Principal | None:
        """The holder of the key; None for a token that is not a key of this file, so that the next authenticator is asked."""
        if isinstance(credentials, Recollection):
            return self._recall(credentials.username)
        if not isinstance(credentials, BearerCredentials):
            return None
        digest = sha256(credentials.token.encode("ascii")).hexdigest()
        for known, holder in self._holders.items():
            if hmac.compare_digest(known, digest):
                request.explain(f"the key belongs to {holder.user}")
                return Principal(holder.user, self.realm, holder.roles, self.name)
        return None

    def _recall(self, username: str) -> Principal | None:
        """The user as the file has it now; None for one who holds no key any more."""
        holder = next((one for one in self._holders.values() if one.user == username), None)
        return None if holder is None else Principal(holder.user, self.realm, holder.roles, self.name)


@attrs.frozen
class KeySettings(Settings):
    """The options of ``type = api-keys``. ``holders`` is what the file held when the section was read."""

    path: Path = option(file_path("file"), "the keys, a line each: SHA-256 of the key, user and roles")
    holders: dict[str, Holder] = attrs.field(factory=dict, repr=False)


@implementer(IPlugin, IAuthenticatorFactory)
class KeyFactory:
    """``type = api-keys``."""

    kind = "api-keys"
    options = options_of(KeySettings)

    def parse(self, section: Section) -> KeySettings:
        """Reads the file here, because `build` must not block. Faults are reported on the section, with its file and line."""
        settings = read(section, KeySettings)
        if section.faulty("path"):
            return settings
        try:
            return attrs.evolve(settings, holders=read_keys(settings.path))
        except StartupError as error:
            section.problem("path", str(error))
            return settings

    def build(self, name: str, realm: str, settings: KeySettings, services: AuthServices) -> KeyAuthenticator:
        """The authenticator."""
        return KeyAuthenticator(name, realm, settings.path, settings.holders, services)


@attrs.frozen
class PrefixSettings(Settings):
    """The options of ``type = name-prefix``."""

    prefix: str = option(TEXT, "users whose name begins like this get the roles")
    add_roles: tuple[str, ...] = option(list_of(TEXT), "the roles")


@implementer(IAugmenter)
class PrefixAugmenter:
    """Gives roles to the users of its realm whose name has a prefix."""

    def __init__(self, name: str, realm: str, settings: PrefixSettings) -> None:
        self.name = name
        self.realm = realm
        self._settings = settings

    async def augment(self, principal: Principal, request: AuthenticationRequest) -> Principal:
        """``principal`` with the roles added; an augmenter takes nothing away."""
        if not principal.username.startswith(self._settings.prefix):
            return principal
        return attrs.evolve(principal, roles=tuple(dict.fromkeys((*principal.roles, *self._settings.add_roles))))

    def stop(self) -> None:
        """There is nothing to stop."""


@implementer(IPlugin, IAugmenterFactory)
class PrefixFactory:
    """``type = name-prefix``."""

    kind = "name-prefix"
    options = options_of(PrefixSettings)
    by_roles = False  # it looks at names alone, so it need not work after the others

    def parse(self, section: Section) -> PrefixSettings:
        """The options of the section."""
        return read(section, PrefixSettings)

    def build(self, name: str, realm: str, settings: PrefixSettings, services: AuthServices) -> PrefixAugmenter:
        """The augmenter."""
        return PrefixAugmenter(name, realm, settings)
