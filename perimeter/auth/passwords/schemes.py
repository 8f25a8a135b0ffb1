"""The forms in which a realm file may keep a password: one frozen class each, with the same interface.

``verify(password)`` compares in constant time and never raises for anything that a client can send. Two hashes have the same
``cost`` if and only if verifying them takes the same work, apart from their ``rounds``: the work is proportional to these.
``decoy()`` is a hash of the same cost that matches no password, made without hashing: unknown users are verified against it
(attack 29). A decoy may have another number of rounds, so that it makes up for what a hash lacks to the dearest of its cost.

Call these in a thread: the good schemes are slow on purpose. `perimeter.auth.passwords.formats` parses them. The crypt(3) family
is in `perimeter.auth.passwords.crypt_schemes`, plain digests and PBKDF2 in `perimeter.auth.passwords.digest_schemes`.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
from enum import StrEnum
from typing import Protocol

import attrs

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
        """Equal for hashes that take the same work, apart from their rounds."""

    @property
    def rounds(self) -> int:
        """How many rounds it takes; 0 where the cost tells all."""

    @property
    def least_rounds(self) -> int:
        """The lowest number of rounds that a decoy can have."""

    def verify(self, password: str) -> bool:
        """Whether this is the password."""

    def decoy(self, rounds: int = 0) -> PasswordHash:
        """A hash of the same cost that no password fits, with ``rounds`` rounds (0: its own)."""


@attrs.frozen
class Fixed:
    """The base of schemes whose cost tells all."""

    rounds = 0
    least_rounds = 0


def latin1(password: str) -> bytes:
    """``password`` as Reactor's forms hash it: ISO-8859-1.

    A password with other characters is encoded as UTF-8. Java would encode each of them as ``?``, so that such passwords would
    match one another.
    """
    try:
        return password.encode("iso-8859-1")
    except UnicodeEncodeError:
        return utf8(password)


def utf8(password: str) -> bytes:
    """``password`` as all other forms hash it. Never raises."""
    return password.encode("utf-8", "surrogatepass")


class Variant(StrEnum):
    """The variants of Argon2, by the first word of their hashes."""

    ID = "argon2id"
    I = "argon2i"  # noqa: E741
    D = "argon2d"


@attrs.frozen
class Argon2(Fixed):
    """RFC 9106. ``encoded`` is the whole ``$argon2id$…`` text."""

    encoded: str = attrs.field(repr=False)
    variant: Variant
    memory: int
    passes: int
    lanes: int
    legacy = False

    @property
    def scheme(self) -> str:
        """The variant."""
        return str(self.variant)

    @property
    def cost(self) -> Cost:
        """Variant, memory, passes and lanes decide."""
        return (self.scheme, self.memory, self.passes, self.lanes)

    def verify(self, password: str) -> bool:
        """Compared inside libargon2, in constant time."""
        import argon2.low_level  # here: commands read realm files and verify nothing
        from argon2.exceptions import VerifyMismatchError

        try:
            kind = argon2.low_level.Type[self.variant.name]
            return argon2.low_level.verify_secret(self.encoded.encode("ascii"), utf8(password), kind)
        except VerifyMismatchError:  # anything else (no memory) is "could not decide", not "wrong"
            return False

    def decoy(self, rounds: int = 0) -> Argon2:
        """The same parameters with a random salt and hash."""
        head = self.encoded.rsplit("$", 2)[0]
        salt, digest = (base64.b64encode(os.urandom(size)).decode("ascii").rstrip("=") for size in (16, 32))
        return attrs.evolve(self, encoded=f"{head}${salt}${digest}")


class BcryptKey(StrEnum):
    """What bcrypt is given of a password."""

    AS_IT_IS = "as it is"
    REPEATED = "repeated"
    """The password without a NUL after it, over and over: ``$2$``, the first version."""
    SHA256 = "sha256"
    """The hexadecimal SHA-256 of the password: Django's ``bcrypt_sha256``."""


@attrs.frozen
class Bcrypt(Fixed):
    """``encoded`` is the whole text, with ``$2b$`` as its beginning whatever it was written with."""

    encoded: str = attrs.field(repr=False)
    rounds_log2: int
    key: BcryptKey = BcryptKey.AS_IT_IS
    scheme = "bcrypt"

    @property
    def legacy(self) -> bool:
        """With ``$2$`` a password fits as well that is another one several times."""
        return self.key is BcryptKey.REPEATED

    @property
    def cost(self) -> Cost:
        """The rounds decide."""
        return ("bcrypt", self.rounds_log2)

    def verify(self, password: str) -> bool:
        """False for a password over `BCRYPT_LIMIT`, after the same work: its truncated form would match other passwords too."""
        data = utf8(password)
        import bcrypt  # here: commands read realm files and verify nothing

        # Implementations in C stop at a NUL. This library does not, but the hash may come from one that did.
        fits = b"\0" not in data
        if self.key is BcryptKey.SHA256:
            data = hashlib.sha256(data).hexdigest().encode("ascii")
        elif self.key is BcryptKey.REPEATED and data:
            fits = fits and len(data) <= BCRYPT_LIMIT
            data *= BCRYPT_LIMIT // len(data) + 1
        else:
            fits = fits and len(data) <= BCRYPT_LIMIT
        return bcrypt.checkpw(data[:BCRYPT_LIMIT], self.encoded.encode("ascii")) and fits

    def decoy(self, rounds: int = 0) -> Bcrypt:
        """The same rounds with a random salt and hash."""
        letters = [secrets.choice(_BCRYPT_ALPHABET) for _ in range(53)]
        letters[21] = secrets.choice(".Oeu")  # the salt is 128 bits: only two of this letter's six count
        return attrs.evolve(self, encoded=f"$2b${self.rounds_log2:02}${''.join(letters)}")


@attrs.frozen
class Scrypt(Fixed):
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
        data = utf8(password)
        digest = scrypt(data, self.salt, self.log_n, self.r, self.p, len(self.digest))
        return hmac.compare_digest(digest, self.digest) and b"\0" not in data

    def decoy(self, rounds: int = 0) -> Scrypt:
        """The same parameters with a random salt and hash."""
        return attrs.evolve(self, salt=os.urandom(len(self.salt)), digest=os.urandom(len(self.digest)))


def scrypt(password: bytes, salt: bytes, log_n: int, r: int, p: int, length: int) -> bytes:
    """``length`` bytes of scrypt, with as much memory allowed as these parameters need."""
    memory = 128 * r * ((1 << log_n) + p + 2)
    return hashlib.scrypt(password, salt=salt, n=1 << log_n, r=r, p=p, dklen=length, maxmem=memory + (1 << 20))


@attrs.frozen
class Plain(Fixed):
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
        mine, theirs = (hashlib.sha256(utf8(text)).digest() for text in (self.password, password))
        return hmac.compare_digest(mine, theirs)

    def decoy(self, rounds: int = 0) -> Plain:
        """A random text."""
        return attrs.evolve(self, password=secrets.token_hex(32))
