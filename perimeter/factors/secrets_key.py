"""The key that seals the secrets of second factors: ``secrets.key`` in the state directory (AES-256-GCM, NIST SP 800-38D).

A copy of ``state.db`` alone opens no secret: the key is not in it.
"""

from __future__ import annotations

import hmac
import os
import secrets
import stat
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Final

from perimeter.descriptors import system_reason
from perimeter.errors import StartupError

NAME: Final = "secrets.key"
LENGTH: Final = 32
"""Bytes of the key."""

_NONCE: Final = 12


class Unopened(ValueError):
    """The bytes were sealed with another key or for another purpose, or were changed."""


class SecretsKey:
    """A key of `LENGTH` bytes, which never shows in a repr."""

    __slots__ = ("_key",)

    def __init__(self, key: bytes) -> None:
        if len(key) != LENGTH:
            raise ValueError(f"a key has {LENGTH} bytes")
        self._key = key

    @classmethod
    def open(cls, state_dir: Path) -> SecretsKey:
        """The key of a state directory, which is made if there is none. Blocks. Raises `StartupError`."""
        path = state_dir / NAME
        try:
            if not os.path.lexists(path):
                _make(path)
            return cls(_read(path))
        except OSError as error:
            raise StartupError(f"{path}: cannot be used: {system_reason(error)}") from None

    def seal(self, secret: bytes, purpose: str) -> bytes:
        """``secret`` sealed for ``purpose``: only `unseal` with the same one opens it."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        nonce = secrets.token_bytes(_NONCE)
        return nonce + AESGCM(self._key).encrypt(nonce, secret, purpose.encode("utf-8"))

    def unseal(self, sealed: bytes, purpose: str) -> bytes:
        """The secret that `seal` made ``sealed`` of. Raises `Unopened`."""
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        try:
            return AESGCM(self._key).decrypt(sealed[:_NONCE], sealed[_NONCE:], purpose.encode("utf-8"))
        except (InvalidTag, ValueError):
            raise Unopened("not sealed with this key for this purpose") from None

    def derive(self, *parts: bytes) -> bytes:
        """32 bytes that cannot be computed without the key: always the same ones for the same ``parts``."""
        spelled = b"".join(b"%d:%b" % (len(part), part) for part in parts)
        return hmac.digest(self._key, b"perimeter derived secret 1\0" + spelled, sha256)


def _make(path: Path) -> None:
    """Write a new key: whole, or not at all, and never over one that another process has made meanwhile."""
    beside = path.with_name(f".{NAME}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(LENGTH))
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(beside, path)
    finally:
        beside.unlink()


def _read(path: Path) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise StartupError(f"{path}: not a regular file")
        if status.st_uid != os.geteuid():
            raise StartupError(f"{path}: belongs to user {status.st_uid}, not to user {os.geteuid()} who runs this")
        if stat.S_IMODE(status.st_mode) & 0o077:
            raise StartupError(f"{path}: others may read or write it (chmod 600 {path})")
        key = file.read(LENGTH + 1)
    if len(key) != LENGTH:
        raise StartupError(f"{path}: damaged (not {LENGTH} bytes); restore it: without it no second factor can be checked")
    return key
