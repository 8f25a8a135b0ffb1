"""The key of the site: it seals secrets (AES-256-GCM, NIST SP 800-38D), and further keys are derived from it.

One machine has it in ``secrets.key`` in the state directory. Machines that share one state derive it from the lines of
``cluster_secret`` (HKDF-SHA-256, RFC 5869), which is the same file on all of them: the first line seals, every line opens.

A copy of the state alone opens no secret: the key is not in it.
"""

from __future__ import annotations

import hmac
import os
import re
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

SHORTEST_LINE: Final = 32
"""Characters of a line of ``cluster_secret``."""

MOST_LINES: Final = 8
"""Lines of ``cluster_secret`` that are not empty and not a comment."""

_NONCE: Final = 12
_SALT: Final = b"perimeter site key 1"
_ADVICE: Final = "this makes a line: head -c 48 /dev/urandom | base64"

_OF_MACHINE: Final = f"{NAME}:"
"""The beginning of a line with the bytes of the ``secrets.key`` that a machine had before it joined."""

_DIGITS: Final = re.compile(rf"[0-9A-Fa-f]{{{2 * LENGTH}}}")


class Unopened(ValueError):
    """The bytes were sealed with another key or for another purpose, or were changed."""


class SecretsKey:
    """Keys of `LENGTH` bytes, which never show in a repr: the first one seals, each of them opens."""

    __slots__ = ("_keys",)

    def __init__(self, first: bytes, *others: bytes) -> None:
        self._keys = (first, *others)
        if any(len(key) != LENGTH for key in self._keys):
            raise ValueError(f"a key has {LENGTH} bytes")

    @classmethod
    def open(cls, state_dir: Path, cluster_secret: str = "") -> SecretsKey:
        """The key of the text ``cluster_secret``; without one that of a state directory, which is made if there is none.

        A ``secrets.key`` from before the machine joined the others opens what it has sealed. Blocks. Raises `StartupError`, and
        ValueError as `cluster_keys`.
        """
        path = state_dir / NAME
        try:
            exists = os.path.lexists(path)
            if cluster_secret:
                return cls(*dict.fromkeys((*cluster_keys(cluster_secret), *((_read(path),) if exists else ()))))
            if not exists:
                _make(path)
            return cls(_read(path))
        except OSError as error:
            raise StartupError(f"{path}: cannot be used: {system_reason(error)}") from None

    def seal(self, secret: bytes, purpose: str) -> bytes:
        """``secret`` sealed with the first key for ``purpose``: only `unseal` with the same one opens it."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        nonce = secrets.token_bytes(_NONCE)
        return nonce + AESGCM(self._keys[0]).encrypt(nonce, secret, purpose.encode("utf-8"))

    def unseal(self, sealed: bytes, purpose: str) -> bytes:
        """The secret that `seal` made ``sealed`` of, with any of the keys. Raises `Unopened`."""
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        for key in self._keys:
            with suppress(InvalidTag, ValueError):
                return AESGCM(key).decrypt(sealed[:_NONCE], sealed[_NONCE:], purpose.encode("utf-8"))
        raise Unopened("not sealed with this key for this purpose")

    def derive(self, *parts: bytes) -> bytes:
        """32 bytes that cannot be computed without the first key: always the same ones for the same ``parts``."""
        return self.derive_all(*parts)[0]

    def derive_all(self, *parts: bytes) -> tuple[bytes, ...]:
        """As `derive`, for each of the keys: the first makes something, and all of them recognize it."""
        spelled = b"perimeter derived secret 1\0" + b"".join(b"%d:%b" % (len(part), part) for part in parts)
        return tuple(hmac.digest(key, spelled, sha256) for key in self._keys)


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


def cluster_keys(text: str) -> tuple[bytes, ...]:
    """The keys of the lines of ``cluster_secret``; empty lines and comments (``#``) do not count.

    Raises ValueError, which says what is wrong with which line, and quotes none.
    """
    keys = []
    for number, line in enumerate(text.split("\n"), 1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        if not (stripped.isascii() and stripped.isprintable()):
            raise ValueError(f"line {number} is not printable ASCII")
        if len(stripped) < SHORTEST_LINE:
            raise ValueError(f"line {number} has fewer than {SHORTEST_LINE} characters ({_ADVICE})")
        if stripped.startswith(_OF_MACHINE) and not _DIGITS.fullmatch(stripped.removeprefix(_OF_MACHINE)):
            raise ValueError(f"line {number} has not {2 * LENGTH} hexadecimal digits after {_OF_MACHINE}")
        keys.append(_line_key(stripped))
    if not keys:
        raise ValueError(f"no line has a secret ({_ADVICE})")
    if len(keys) > MOST_LINES:
        raise ValueError(f"more than {MOST_LINES} lines have a secret")
    if len(set(keys)) != len(keys):
        raise ValueError("two lines are the same")
    return tuple(keys)


def _line_key(line: str) -> bytes:
    """The key of a line: HKDF with one block of output, or the bytes that the line spells."""
    if line.startswith(_OF_MACHINE):
        return bytes.fromhex(line.removeprefix(_OF_MACHINE))
    return hmac.digest(hmac.digest(_SALT, line.encode("ascii"), sha256), b"\1", sha256)
