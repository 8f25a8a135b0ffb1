"""An authenticator for Perimeter that knows API keys by their hashes, in a file that is read again when it changes."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.plugin import IPlugin
from zope.interface import implementer

from perimeter.auth.text import unfit_for_name
from perimeter.config.language.datatypes import file_path
from perimeter.config.language.option import option, options_of
from perimeter.config.language.settings import Settings, read
from perimeter.errors import StartupError
from perimeter.model import AuthenticationRequest, BearerCredentials, Credentials, Principal
from perimeter.plugin.authenticator import IAuthenticatorFactory, IRunningAuthenticator, ISchemes
from perimeter.plugin.services import AuthServices

if TYPE_CHECKING:
    from perimeter.config.language.section import Section

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
    """Knows the holders of keys."""

    # Only Bearer tokens that are none of the gateway's own come here, and no password ever does.
    schemes = ("bearer",)

    def __init__(self, name: str, realm: str, path: Path, services: AuthServices) -> None:
        self.name = name
        self.realm = realm
        self._path = path
        self._offload = services.offload
        self._holders = read_keys(path)  # at the start it may block: nobody is served yet
        self._changed: Callable[[], None] = lambda: None
        self._poll = LoopingCall(self._look)
        self._poll.clock = services.reactor

    def start(self, changed: Callable[[], None]) -> None:
        """Look at the file from now on."""
        self._changed = changed
        self._poll.start(POLL_INTERVAL, now=False)

    def stop(self) -> None:
        """Look no more."""
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
        """The holder of the key; None for a token that is no key of ours, so that the next authenticator is asked."""
        if not isinstance(credentials, BearerCredentials):
            return None
        digest = sha256(credentials.token.encode("ascii")).hexdigest()
        for known, holder in self._holders.items():
            if hmac.compare_digest(known, digest):
                request.explain(f"the key is that of {holder.user}")
                return Principal(holder.user, self.realm, holder.roles, self.name)
        return None


@attrs.frozen
class KeySettings(Settings):
    """The options of ``type = api-keys``."""

    path: Path = option(file_path("file"), "file with the keys, one per line: SHA-256 of the key, user and roles")


@implementer(IPlugin, IAuthenticatorFactory)
class KeyFactory:
    """``type = api-keys``."""

    kind = "api-keys"
    options = options_of(KeySettings)

    def parse(self, section: Section) -> KeySettings:
        """Faults are reported on the section, with file and line; nothing is raised."""
        return read(section, KeySettings)

    def build(self, name: str, realm: str, settings: KeySettings, services: AuthServices) -> KeyAuthenticator:
        """Raises `StartupError` if the file cannot be used."""
        return KeyAuthenticator(name, realm, settings.path, services)
