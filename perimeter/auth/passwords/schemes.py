"""The forms in which a realm file may keep a password: one frozen class each, with the same interface.

``verify(password)`` compares in constant time and never raises for anything that a client can send. Two hashes have the same
``cost`` if and only if verifying them takes the same work. ``decoy()`` is a hash of the same cost that matches no password, made
without hashing: unknown users are verified against it (attack 29).

Call these in a thread: the good schemes are slow on purpose. `perimeter.auth.passwords.formats` parses them.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
from typing import Protocol

import argon2.low_level
import attrs
import bcrypt
from argon2.exceptions import VerifyMismatchError

from perimeter.auth.passwords.des_crypt import des_crypt

Cost = tuple[str | int, ...]

BCRYPT_LIMIT = 72
"""Bytes of a password that bcrypt reads. Longer passwords are refused and never truncated, here and when one is made."""

_BCRYPT_ALPHABET = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


class PasswordHash(Protocol):
    """A stored password."""

    @property
    def scheme(self) -> str:
        """Its name in messages."""

    @property
    def legacy(self) -> bool:
        """Whether it protects too little: plain text, an encoding, or a fast hash."""

    @property
    def cost(self) -> Cost:
        """Equal for hashes that take the same work."""

    def verify(self, password: str) -> bool:
        """Whether this is the password."""

    def decoy(self) -> PasswordHash:
        """A hash of the same cost that no password fits."""


def latin1(password: str) -> bytes:
    """``password`` as Reactor's forms hash it: ISO-8859-1.

    A password with other characters is encoded as UTF-8. Java would encode each of them as ``?``, so that such passwords would
    match one another.
    """
    try:
        return password.encode("iso-8859-1")
    except UnicodeEncodeError:
        return _utf8(password)


def _utf8(password: str) -> bytes:
    return password.encode("utf-8", "surrogatepass")


@attrs.frozen
class Argon2id:
    """RFC 9106. ``encoded`` is the whole ``$argon2id$…`` text."""

    encoded: str = attrs.field(repr=False)
    memory: int
    passes: int
    lanes: int
    scheme = "argon2id"
    legacy = False

    @property
    def cost(self) -> Cost:
        """Memory, passes and lanes decide."""
        return ("argon2id", self.memory, self.passes, self.lanes)

    def verify(self, password: str) -> bool:
        """Compared inside libargon2, in constant time."""
        try:
            return argon2.low_level.verify_secret(self.encoded.encode("ascii"), _utf8(password), argon2.low_level.Type.ID)
        except VerifyMismatchError:  # anything else (no memory) is "could not decide", not "wrong"
            return False

    def decoy(self) -> Argon2id:
        """The same parameters with a random salt and hash."""
        head = self.encoded.rsplit("$", 2)[0]
        salt, digest = (base64.b64encode(os.urandom(size)).decode("ascii").rstrip("=") for size in (16, 32))
        return attrs.evolve(self, encoded=f"{head}${salt}${digest}")


@attrs.frozen
class Bcrypt:
    """``encoded`` is the whole ``$2b$…`` text."""

    encoded: str = attrs.field(repr=False)
    rounds: int
    scheme = "bcrypt"
    legacy = False

    @property
    def cost(self) -> Cost:
        """The rounds decide."""
        return ("bcrypt", self.rounds)

    def verify(self, password: str) -> bool:
        """False for a password over `BCRYPT_LIMIT`, after the same work: its truncated form would match other passwords too."""
        data = _utf8(password)
        # Implementations in C stop at a NUL. This library does not, but the hash may come from one that did.
        fits = len(data) <= BCRYPT_LIMIT and b"\0" not in data
        return bcrypt.checkpw(data[:BCRYPT_LIMIT], self.encoded.encode("ascii")) and fits

    def decoy(self) -> Bcrypt:
        """The same rounds with a random salt and hash."""
        letters = [secrets.choice(_BCRYPT_ALPHABET) for _ in range(53)]
        letters[21] = secrets.choice(".Oeu")  # the salt is 128 bits: only two of this letter's six count
        return attrs.evolve(self, encoded=f"$2b${self.rounds:02}${''.join(letters)}")


@attrs.frozen
class Scrypt:
    """RFC 7914. ``log_n`` is the binary logarithm of N."""

    log_n: int
    r: int
    p: int
    salt: bytes = attrs.field(repr=False)
    digest: bytes = attrs.field(repr=False)
    scheme = "scrypt"
    legacy = False

    @property
    def cost(self) -> Cost:
        """N, r and p decide."""
        return ("scrypt", self.log_n, self.r, self.p)

    def verify(self, password: str) -> bool:
        """Computed by OpenSSL, compared in constant time. HMAC pads its key with NULs: one at the end would not count."""
        data = _utf8(password)
        digest = scrypt(data, self.salt, self.log_n, self.r, self.p, len(self.digest))
        return hmac.compare_digest(digest, self.digest) and b"\0" not in data

    def decoy(self) -> Scrypt:
        """The same parameters with a random salt and hash."""
        return attrs.evolve(self, salt=os.urandom(len(self.salt)), digest=os.urandom(len(self.digest)))


def scrypt(password: bytes, salt: bytes, log_n: int, r: int, p: int, length: int) -> bytes:
    """``length`` bytes of scrypt, with as much memory allowed as these parameters need."""
    memory = 128 * r * ((1 << log_n) + p + 2)
    return hashlib.scrypt(password, salt=salt, n=1 << log_n, r=r, p=p, dklen=length, maxmem=memory + (1 << 20))


@attrs.frozen
class Md5:
    """Reactor's ``MD5:``: the bare MD5 of the password."""

    digest: bytes = attrs.field(repr=False)
    scheme = "MD5"
    legacy = True

    @property
    def cost(self) -> Cost:
        """All alike."""
        return ("MD5",)

    def verify(self, password: str) -> bool:
        """Compared in constant time."""
        digest = hashlib.md5(latin1(password), usedforsecurity=False).digest()
        return hmac.compare_digest(digest, self.digest)

    def decoy(self) -> Md5:
        """A random digest."""
        return Md5(os.urandom(16))


@attrs.frozen
class DesCrypt:
    """Reactor's ``CRYPT:``: traditional DES crypt. ``encoded`` is its 13 characters."""

    encoded: str = attrs.field(repr=False)
    scheme = "CRYPT"
    legacy = True

    @property
    def cost(self) -> Cost:
        """All alike."""
        return ("CRYPT",)

    def verify(self, password: str) -> bool:
        """Compared in constant time. Only eight characters count: that is what this scheme is."""
        data = latin1(password)
        fits = b"\0" not in data
        digest = des_crypt(data.replace(b"\0", b"?"), self.encoded[:2].encode("ascii"))
        return hmac.compare_digest(digest, self.encoded.encode("ascii")) and fits

    def decoy(self) -> DesCrypt:
        """The same salt and a result that DES crypt does not give: the low bits of its last letter are zero."""
        return DesCrypt(self.encoded[:2] + "z" * 11)


@attrs.frozen
class Plain:
    """A password in plain text, or in Reactor's ``OBF:``, an encoding of it; ``scheme`` says which."""

    password: str = attrs.field(repr=False)
    scheme: str = "plain text"
    legacy = True

    @property
    def cost(self) -> Cost:
        """All alike."""
        return ("plain",)

    def verify(self, password: str) -> bool:
        """Digests are compared, so that the time does not even show the length of the password."""
        mine, theirs = (hashlib.sha256(_utf8(text)).digest() for text in (self.password, password))
        return hmac.compare_digest(mine, theirs)

    def decoy(self) -> Plain:
        """A random text."""
        return attrs.evolve(self, password=secrets.token_hex(32))
