"""The file of the signing keys: its permissions, its format, and how it is written.

Several processes may use one file: a process that changes it holds the lock from before reading until after writing.
`perimeter.tokens.keyring` uses the keys and decides when to replace them.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import stat
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import attrs

from perimeter.descriptors import system_reason
from perimeter.errors import StartupError
from perimeter.strict_json import decode
from perimeter.tokens.jwk import BadKey, Jwk, load_jwk, thumbprint

NAME: Final = "keyring.json"
_LOCK: Final = "keyring.lock"
_VERSION: Final = 1
_MAX_SIZE: Final = 1024 * 1024


class KeyState(StrEnum):
    """The life of a signing key: published, then signing, then only verifying the tokens that it has signed."""

    NEXT = "next"
    SIGNING = "signing"
    RETIRED = "retired"


@attrs.frozen
class KeyEntry:
    """A key and its life, in epoch seconds.

    ``activated`` is when it began to sign: None while it is published for the time after. ``retired`` is when it ceased
    to: from then on there is only its public half.
    """

    jwk: Jwk
    created: float
    activated: float | None = None
    retired: float | None = None

    @property
    def state(self) -> KeyState:
        """Where in its life the key is."""
        if self.retired is not None:
            return KeyState.RETIRED
        return KeyState.NEXT if self.activated is None else KeyState.SIGNING


@attrs.frozen
class KeySet:
    """The keys of a site, and their place among its earlier and later keys if several machines share them.

    ``epoch`` counts how often all keys were discarded, ``number`` each change; both are 0 on a machine that shares no keys.
    """

    entries: tuple[KeyEntry, ...] = ()
    epoch: int = 0
    number: int = 0

    @property
    def order(self) -> tuple[int, int]:
        """The later set of keys has the higher one."""
        return self.epoch, self.number


Version = tuple[int, int, int, int]
"""Device, inode, time of the last change in nanoseconds, and size."""


class KeyFile:
    """``keyring.json`` in a state directory. Every method may block, and raises `StartupError` with one line that says why."""

    def __init__(self, state_dir: Path) -> None:
        self._dir = state_dir
        self.path = state_dir / NAME

    def prepare(self) -> None:
        """Make the directory (0700) if there is none, and refuse one in which others could replace the file."""
        try:
            self._dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            status = self._dir.stat()
        except FileExistsError:
            raise StartupError(f"state_dir {self._dir}: not a directory") from None
        except OSError as error:
            raise StartupError(f"state_dir {self._dir}: cannot be used: {system_reason(error)}") from None
        if status.st_uid not in (os.geteuid(), 0):
            raise StartupError(f"state_dir {self._dir}: belongs to user {status.st_uid}, not to user {os.geteuid()}")
        if stat.S_IMODE(status.st_mode) & 0o022:
            raise StartupError(f"state_dir {self._dir}: others may write to it (chmod 700 {self._dir})")
        if not os.access(self._dir, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids):
            raise StartupError(f"state_dir {self._dir}: not writable")

    def version(self) -> Version | None:
        """A value that changes whenever the file is replaced or written; None if there is no file."""
        try:
            status = os.stat(self.path, follow_symlinks=False)
        except OSError:
            return None
        return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the file against changes by other processes and other threads."""
        try:
            # a file of its own: the keyring itself is replaced whenever it is written
            lock = os.open(self._dir / _LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StartupError(f"state_dir {self._dir}: cannot be used: {system_reason(error)}") from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def read(self) -> KeySet | None:
        """The keys, or None if there is no file. A file that cannot be trusted or understood is an error."""
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StartupError(f"{self.path}: cannot be read ({system_reason(error)})") from None
        try:
            self._check_owner(os.fstat(descriptor))
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                text = file.read(_MAX_SIZE + 1)
        except OSError as error:
            raise StartupError(f"{self.path}: cannot be read ({system_reason(error)})") from None
        finally:
            os.close(descriptor)
        if len(text) > _MAX_SIZE:
            raise StartupError(f"{self.path}: not a keyring (larger than {_MAX_SIZE} bytes)")
        try:
            return parse_keys(decode(text))
        except ValueError:
            raise StartupError(f"{self.path}: damaged (not JSON); restore it, or move it away to begin with new keys") from None
        except BadKey as error:
            raise StartupError(f"{self.path}: damaged ({error}); restore it, or move it away to begin with new keys") from None

    def _check_owner(self, status: os.stat_result) -> None:
        if not stat.S_ISREG(status.st_mode):
            raise StartupError(f"{self.path}: not a regular file")
        if status.st_uid != os.geteuid():
            raise StartupError(f"{self.path}: belongs to user {status.st_uid}, not to user {os.geteuid()} who runs this")
        if stat.S_IMODE(status.st_mode) & 0o077:
            raise StartupError(f"{self.path}: others may read or write it (chmod 600 {self.path})")

    def write(self, keys: KeySet) -> None:
        """Replace the file; after a crash at any moment there is the old file or the new one. The caller holds the lock."""
        beside = self.path.with_suffix(".json.new")
        try:
            beside.unlink(missing_ok=True)
            descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "w") as file:
                json.dump(write_keys(keys), file, indent=1)
                file.flush()
                os.fsync(descriptor)
            beside.replace(self.path)
            directory = os.open(self._dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)
        except OSError as error:
            raise StartupError(f"{self.path}: cannot be written ({system_reason(error)})") from None


def write_keys(keys: KeySet) -> dict[str, Any]:
    """``keys`` as a JSON document, with the private halves of those that sign or will sign."""
    order = {"epoch": keys.epoch, "number": keys.number} if keys.number else {}
    return {"version": _VERSION, **order, "keys": [_written(entry) for entry in keys.entries]}


def _written(entry: KeyEntry) -> dict[str, Any]:
    return {
        "created": entry.created,
        "activated": entry.activated,
        "retired": entry.retired,
        "jwk": entry.jwk.members(private=entry.retired is None),
    }


def parse_keys(document: object) -> KeySet:
    """The keys of which `write_keys` made ``document``. Raises `BadKey`."""
    if not isinstance(document, dict) or document.get("version") != _VERSION or not isinstance(document.get("keys"), list):
        raise BadKey(f"not a keyring of version {_VERSION}")
    entries = tuple(_entry(one) for one in document["keys"])
    if len({entry.jwk.kid for entry in entries}) != len(entries):
        raise BadKey("two keys have the same name (kid)")
    states = [entry.state for entry in entries]
    if states.count(KeyState.SIGNING) > 1 or states.count(KeyState.NEXT) > 1:
        raise BadKey("two keys want to sign")
    epoch, number = (document.get(name, 0) for name in ("epoch", "number"))
    if not all(isinstance(one, int) and not isinstance(one, bool) and 0 <= one < 2**53 for one in (epoch, number)):
        raise BadKey("the number of the keys is not a whole number")
    return KeySet(entries, epoch, number)


def _entry(data: object) -> KeyEntry:
    if not isinstance(data, dict):
        raise BadKey("a key is not a JSON object")
    times = [data.get(name) for name in ("created", "activated", "retired")]
    for time in times:
        if time is not None and (isinstance(time, bool) or not isinstance(time, int | float) or not 0 <= time < 2**53):
            raise BadKey("a time of a key is not a number of seconds")
    created, activated, retired = times
    if created is None or (retired is not None and activated is None):
        raise BadKey("a key does not say when its life began")
    jwk = load_jwk(data.get("jwk"), private=retired is None)
    # Names are thumbprints, so a key that was changed by accident does not match its name.
    if jwk.kid != thumbprint(jwk.members()):
        raise BadKey("a key does not have the name (kid) of its numbers")
    return KeyEntry(jwk, created, activated, retired)
