"""``rehash = yes``: writes a better hash of a password into the realm file after its user has logged in with it.

A login never waits for this and never fails by it. Hashes of several users that are ready at the same time are written together.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import attrs
from twisted.logger import Logger
from twisted.python.failure import Failure

from perimeter.auth.passwords.formats import PasswordFormatError
from perimeter.auth.passwords.making import good_as_new, make
from perimeter.auth.passwords.rewriting import NotRewritten, rewrite
from perimeter.auth.passwords.schemes import PasswordHash
from perimeter.auth.passwords.users import RealmFileError, User, read_users, with_passwords
from perimeter.errors import Unavailable
from perimeter.offload import Offload

_log = Logger()


@attrs.frozen
class Written:
    """The SHA-256 of the file's contents before and after passwords were replaced, and the names of the users."""

    before: bytes
    after: bytes
    names: tuple[str, ...]


@attrs.frozen
class _Ready:
    """A new hash, and the one whose place it takes."""

    old: PasswordHash = attrs.field(repr=False)
    hashed: str = attrs.field(repr=False)


def _write(path: Path, ready: dict[str, _Ready]) -> Written | None:
    """Replace what has not changed since the logins; None if that is nothing. Blocks. Raises `NotRewritten`."""
    digests: list[bytes] = []
    names: list[str] = []

    def change(data: bytes) -> bytes:
        users = read_users(data, str(path)).by_name
        current = {name: one.hashed for name, one in ready.items() if name in users and users[name].password == one.old}
        names.extend(current)
        changed = with_passwords(data, str(path), current)
        digests.extend((sha256(data).digest(), sha256(changed).digest()))
        return changed

    try:
        rewrite(path, change)
    except (RealmFileError, ValueError) as error:
        raise NotRewritten(str(error)) from None
    return Written(digests[0], digests[1], tuple(names)) if names else None


class Rehash:
    """Improves the passwords in ``path``, in threads of ``offload``. ``written`` is called when the file has changed."""

    def __init__(self, path: Path, offload: Offload, written: Callable[[Written], None]) -> None:
        self._path = path
        self._offload = offload
        self._written = written
        #: users whose new hash is being computed, and those whose hash is to be written
        self._hashing: set[str] = set()
        self._ready: dict[str, _Ready] = {}
        self._writing = False
        self._complaint = ""

    def logged_in(self, user: User, password: str) -> None:
        """``password`` is the user's: make and write a better hash of it, unless the one in the file is good."""
        name = user.name
        if good_as_new(user.password) or name in self._hashing or name in self._ready:
            return
        self._hashing.add(name)
        made = self._offload.run(make, password)
        made.addBoth(self._made, user)

    def _made(self, result: str | Failure, user: User) -> None:
        self._hashing.discard(user.name)
        if isinstance(result, Failure):
            self._complain(result)
            return
        self._ready[user.name] = _Ready(user.password, result)
        self._next()

    def _next(self) -> None:
        if self._writing or not self._ready:
            return
        self._writing = True
        ready, self._ready = self._ready, {}
        self._offload.run(_write, self._path, ready).addBoth(self._done)

    def _done(self, result: Written | Failure | None) -> None:
        self._writing = False
        if isinstance(result, Failure):
            self._complain(result)
        elif result is not None:
            self._complaint = ""
            _log.info("{path}: {count} password(s) are kept as argon2id now", path=str(self._path), count=len(result.names))
            self._written(result)
        self._next()

    def _complain(self, failure: Failure) -> None:
        """Log why a password stays as it was: once for each cause, not for each login."""
        if failure.check(Unavailable):  # many logins at once, or the gateway stops: the next login is soon enough
            return
        if not failure.check(NotRewritten, PasswordFormatError):
            _log.failure("passwords in {path} cannot be rehashed", failure, path=str(self._path))
            return
        complaint = failure.getErrorMessage()
        if complaint != self._complaint:
            self._complaint = complaint
            _log.warn(
                "{path}: a password stays as it was, though rehash = yes: {complaint}", path=str(self._path), complaint=complaint
            )
