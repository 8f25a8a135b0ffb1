"""``type = realmfile``: users in a file that is read again whenever it changes.

A thread looks at the file once a second. A version that cannot be read or is broken changes nothing and is logged once, and so is
the removal of the file. `perimeter.auth.passwords.users` reads its contents.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from time import time_ns
from typing import TYPE_CHECKING

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.plugin import IPlugin
from twisted.python.failure import Failure
from zope.interface import implementer

from perimeter.auth.kinds import listed
from perimeter.auth.passwords.rehash import Rehash, Written
from perimeter.auth.passwords.users import RealmFileError, User, Users, read_users
from perimeter.config.language.datatypes import BOOLEAN, file_path
from perimeter.config.language.option import option, options_of
from perimeter.config.language.section import Section
from perimeter.config.language.settings import Settings, read
from perimeter.descriptors import system_reason
from perimeter.errors import Unavailable
from perimeter.model import AuthenticationRequest, Credentials, Principal
from perimeter.offload import Offload
from perimeter.plugin.authenticator import IAuthenticatorFactory, IDecoyLogin, IProbe, IRunningAuthenticator, ISchemes
from perimeter.plugin.services import AuthServices, IBuildsInThread

if TYPE_CHECKING:
    from twisted.internet.task import LoopingCall

__all__ = ["RealmFileAuthenticator", "RealmFileError", "RealmFileFactory", "RealmFileSettings"]

_log = Logger()

POLL_INTERVAL = 1.0
"""Seconds between two looks at the file."""

MAX_SIZE = 16 << 20
"""Bytes; enough for some hundred thousand users."""

# A file may be written twice within one tick of the file system's clock. Until it is older than this, its stamp proves nothing.
_SETTLED_NS = 2_000_000_000

Stamp = tuple[int, int, int, int, int]


@attrs.frozen
class _Version:
    """What a look at the file found. If ``users`` is None, ``error`` says why. ``stamp`` is None if there is no file."""

    stamp: Stamp | None
    settled: bool
    digest: bytes
    users: Users | None
    error: RealmFileError | None


def _stamp(status: os.stat_result) -> Stamp:
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _read(path: Path, known: _Version | None) -> _Version:
    """The file as it is now, or ``known`` itself if nothing has changed. Blocks."""
    stamp: Stamp | None = None
    digest = b""
    settled = True
    try:
        status = os.stat(path)
        stamp = _stamp(status)
        if known is not None and known.stamp == stamp and known.settled:
            return known
        settled = time_ns() - max(status.st_mtime_ns, status.st_ctime_ns) > _SETTLED_NS
        data = contents(path)
        digest = sha256(data).digest()
        if known is not None and known.digest == digest and known.users is not None:
            return attrs.evolve(known, stamp=stamp, settled=settled)
        return _Version(stamp, settled, digest, read_users(data, str(path)), None)
    except OSError as error:
        return _Version(stamp, settled, digest, None, RealmFileError(str(path), 0, system_reason(error)))
    except RealmFileError as error:
        return _Version(stamp, settled, digest, None, error)


def contents(path: Path) -> bytes:
    """The bytes of a realm file. Blocks. Raises OSError and `RealmFileError`."""
    # Without O_NONBLOCK a FIFO at this path would block the thread for ever.
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise RealmFileError(str(path), 0, "not a regular file")
        data = file.read(MAX_SIZE + 1)
    if len(data) > MAX_SIZE:
        raise RealmFileError(str(path), 0, f"larger than {MAX_SIZE >> 20} MiB")
    return data


def _nothing(user: User, password: str) -> None:
    """Without ``rehash``."""


@implementer(IRunningAuthenticator, ISchemes, IDecoyLogin, IProbe)
class RealmFileAuthenticator:
    """Knows the users of one realm file. Blocks while it reads the file; raises `RealmFileError` if it cannot be used."""

    schemes = listed.SCHEMES

    def __init__(
        self, name: str, realm: str, path: Path, reactor: IReactorTime, offload: Offload, *, rehash: bool = False
    ) -> None:
        self.name = name
        self.realm = realm
        self._path = path
        self._offload = offload
        version = _read(path, None)
        if version.users is None:
            raise version.error or RealmFileError(str(path), 0, "cannot be read")
        self._seen = version
        self._users: Users = version.users
        if rehash and not os.access(path.resolve().parent, os.W_OK):
            _log.warn("{path}: rehash = yes has no effect, because its directory cannot be written to", path=str(path))
        #: SHA-256 of the contents that the gateway has written since it last read them -> that of those before
        self._own: dict[bytes, bytes] = {}
        self._rehash = Rehash(path, offload, self._rehashed) if rehash else None
        self._changed: Callable[[], None] = lambda: None
        self._reactor = reactor
        self._poll: LoopingCall | None = None
        self._warn()

    @property
    def warnings(self) -> tuple[str, ...]:
        """Warnings about the file in use."""
        return self._users.warnings

    def start(self, changed: Callable[[], None]) -> None:
        """Look at the file from now on, and call ``changed`` when its users have changed."""
        self._changed = changed
        if self._poll is None:
            from twisted.internet.task import LoopingCall  # imports a reactor, which perimeter check does not need

            self._poll = LoopingCall(self.look)
            self._poll.clock = self._reactor
            self._poll.start(POLL_INTERVAL, now=False)

    def stop(self) -> None:
        """Stop looking at the file."""
        self._changed = lambda: None
        poll, self._poll = self._poll, None
        if poll is not None and poll.running:
            poll.stop()

    def look(self) -> Deferred[None]:
        """Look at the file once. The next look waits for this one: a file system that hangs blocks one thread, not all."""
        return self._offload.run(_read, self._path, self._seen).addCallbacks(self._looked, self._could_not_look)

    def _looked(self, version: _Version) -> None:
        before, self._seen = self._seen, version
        if version.users is None:
            # Logged once for each change: while the stamp and the reason stay the same, there is nothing new to log.
            if before.users is not None or (before.stamp, str(before.error)) != (version.stamp, str(version.error)):
                _log.error("{error}; the users read before stay in force", error=version.error)
        elif version.users is not self._users:
            self._users = version.users
            if self._only_rehashed(before.digest, version.digest):
                return
            _log.info("Read {path}: {count} users", path=str(self._path), count=len(version.users.by_name))
            self._warn()
            self._changed()

    def _only_rehashed(self, before: bytes, after: bytes) -> bool:
        """Whether all that has happened to the file in between is what the gateway itself has written."""
        while after != before and after in self._own:
            after = self._own[after]
        self._own.clear()
        return after == before

    def _rehashed(self, written: Written) -> None:
        """Read what the gateway itself has written. Users, passwords and roles are the same, so that nothing is forgotten."""
        self._own[written.after] = written.before
        self.look()

    def _could_not_look(self, failure: Failure) -> None:
        """The queue is full or the gateway stops: the next look is soon enough. Anything else is a bug; polling goes on."""
        if not failure.check(Unavailable):
            _log.failure("Could not look at {path}", failure, path=str(self._path))

    def _warn(self) -> None:
        for warning in self._users.warnings:
            _log.warn("{finding}", finding=warning)  # an event with "warning" in it is Python's own to Twisted

    async def authenticate(self, credentials: Credentials, request: AuthenticationRequest) -> Principal | None:
        """See `perimeter.auth.kinds.listed`."""
        logged_in = _nothing if self._rehash is None else self._rehash.logged_in
        return await listed.authenticate(self._users, self, credentials, request, self._offload, self._place, logged_in)

    async def probe(self) -> None:
        """See `IProbe`: whether the users in use are those of the file."""
        if self._seen.users is None:
            raise Unavailable(f"{self._seen.error}; the users read before stay in force")

    async def decoy(self, request: AuthenticationRequest) -> None:
        """See `IDecoyLogin`."""
        await listed.decoy(self._users, self._offload)

    def _place(self, user: User | None) -> str:
        return str(self._path) if user is None else f"{self._path}, line {user.line},"


@attrs.frozen
class RealmFileSettings(Settings):
    """``path`` is absolute."""

    path: Path = option(
        file_path("file"), "file with one user per line: `username: password[,role ...]`; it is read again when it changes"
    )
    rehash: bool = option(
        BOOLEAN,
        "`yes` replaces a password that is not kept as argon2id by its argon2id hash when its user logs in; the gateway then has "
        "to be able to write to the directory of the file",
        default="no",
    )


@implementer(IPlugin, IAuthenticatorFactory, IBuildsInThread)
class RealmFileFactory:
    """``type = realmfile``."""

    kind = "realmfile"
    options = options_of(RealmFileSettings)

    def parse(self, section: Section) -> RealmFileSettings:
        """See `IAuthenticatorFactory`."""
        return read(section, RealmFileSettings)

    def build(self, name: str, realm: str, settings: RealmFileSettings, services: AuthServices) -> RealmFileAuthenticator:
        """Reads the file. Raises `RealmFileError`."""
        return RealmFileAuthenticator(name, realm, settings.path, services.reactor, services.offload, rehash=settings.rehash)
