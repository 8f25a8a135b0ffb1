"""Digests of passwords as directories and frameworks keep them, and PBKDF2. See `perimeter.auth.passwords.schemes`."""

from __future__ import annotations

import hashlib
import hmac
import os

import attrs

from perimeter.auth.passwords.crypt_schemes import ENOUGH_ROUNDS
from perimeter.auth.passwords.schemes import Cost, Fixed, latin1, utf8


@attrs.frozen
class Digest(Fixed):
    """One pass of a hash function over the password and a ``salt`` (RFC 2307 and its kin); ``scheme`` is as it is written.

    ``from_reactor`` marks Reactor's ``MD5:``, which hashes passwords in ISO-8859-1.
    """

    scheme: str
    function: str
    digest: bytes = attrs.field(repr=False)
    salt: bytes = attrs.field(default=b"", repr=False)
    from_reactor: bool = False
    legacy = True

    @property
    def cost(self) -> Cost:
        """The function decides."""
        return ("digest", self.function)

    def verify(self, password: str) -> bool:
        """Compared in constant time."""
        data = latin1(password) if self.from_reactor else utf8(password)
        digest = hashlib.new(self.function, data + self.salt, usedforsecurity=False).digest()
        return hmac.compare_digest(digest, self.digest)

    def decoy(self, rounds: int = 0) -> Digest:
        """A random digest."""
        return attrs.evolve(self, digest=os.urandom(len(self.digest)), salt=os.urandom(len(self.salt)))


@attrs.frozen
class Pbkdf2:
    """RFC 8018, section 5.2, with HMAC and ``function``; ``rounds`` is its iteration count."""

    function: str
    rounds: int
    salt: bytes = attrs.field(repr=False)
    digest: bytes = attrs.field(repr=False)
    least_rounds = 1

    @property
    def scheme(self) -> str:
        """With its function."""
        return f"PBKDF2-{self.function.upper()}"

    @property
    def legacy(self) -> bool:
        """Few rounds protect too little."""
        return self.rounds < ENOUGH_ROUNDS

    @property
    def cost(self) -> Cost:
        """The function and the number of blocks decide, and then the rounds."""
        return ("pbkdf2", self.function, -(-len(self.digest) // hashlib.new(self.function).digest_size))

    def verify(self, password: str) -> bool:
        """Compared in constant time. HMAC pads its key with NULs: one at the end would not count."""
        data = utf8(password)
        digest = hashlib.pbkdf2_hmac(self.function, data, self.salt, self.rounds, len(self.digest))
        return hmac.compare_digest(digest, self.digest) and b"\0" not in data

    def decoy(self, rounds: int = 0) -> Pbkdf2:
        """A random salt and digest."""
        salt, digest = os.urandom(len(self.salt)), os.urandom(len(self.digest))
        return attrs.evolve(self, rounds=rounds or self.rounds, salt=salt, digest=digest)
