"""Hashes of the crypt(3) family, as in passwd, shadow and htpasswd files. See `perimeter.auth.passwords.schemes`."""

from __future__ import annotations

import hmac
import secrets
from enum import StrEnum

import attrs

from perimeter.auth.passwords.schemes import Cost, Fixed, latin1, utf8
from perimeter.auth.passwords.system_crypt import DES, LONGEST_KEY, crypt

ENOUGH_ROUNDS = 100_000
"""Rounds of ``$5$`` and ``$6$`` (and of PBKDF2) from which on a hash protects its password well enough."""

LEAST_SHA_ROUNDS = 1000
"""The lowest number of rounds of ``$5$`` and ``$6$``."""

_ALPHABET = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


class Family(StrEnum):
    """The schemes, by the prefix of their hashes."""

    DES = DES
    MD5 = "$1$"
    SHA256 = "$5$"
    SHA512 = "$6$"
    YESCRYPT = "$y$"


_NAMES = {
    Family.DES: "CRYPT",
    Family.MD5: "$1$ (MD5 crypt)",
    Family.SHA256: "$5$ (SHA-256 crypt)",
    Family.SHA512: "$6$ (SHA-512 crypt)",
    Family.YESCRYPT: "yescrypt",
}


def _fitting(data: bytes) -> tuple[bytes, bool]:
    """What crypt(3) can be given of a password, and whether that is all of it. The work is the same, or hardly less."""
    usable = data.replace(b"\0", b"?")[:LONGEST_KEY]
    return usable, usable == data


def _letters(count: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(count))


@attrs.frozen
class Crypt:
    """A hash that the C library computes. ``encoded`` is the whole text; its last part, after ``salt_end``, is the digest.

    ``rounds`` is 0 except with ``$5$`` and ``$6$``. ``parameters`` are yescrypt's. ``from_reactor`` marks the ``CRYPT:`` of
    Reactor, which hashes passwords in ISO-8859-1.
    """

    encoded: str = attrs.field(repr=False)
    family: Family
    salt_end: int
    rounds: int = 0
    parameters: str = ""
    from_reactor: bool = False

    @property
    def scheme(self) -> str:
        """The name of the family."""
        return _NAMES[self.family]

    @property
    def legacy(self) -> bool:
        """All but yescrypt and many rounds of SHA."""
        return self.family is not Family.YESCRYPT and self.rounds < ENOUGH_ROUNDS

    @property
    def cost(self) -> Cost:
        """Scheme and parameters decide, and then the rounds."""
        return ("crypt", self.family, self.parameters)

    @property
    def least_rounds(self) -> int:
        """That of the specification."""
        return LEAST_SHA_ROUNDS if self.rounds else 0

    def verify(self, password: str) -> bool:
        """Compared in constant time. With DES only eight characters count: that is what this scheme is."""
        key, fits = _fitting(latin1(password) if self.from_reactor else utf8(password))
        stored = self.encoded.encode("ascii")
        return hmac.compare_digest(crypt(key, stored, self.family), stored) and fits

    def decoy(self, rounds: int = 0) -> Crypt:
        """The same parameters with a digest that the scheme does not give: the spare bits of its last letter are set."""
        head = self.encoded[: self.salt_end]
        rounds = rounds or self.rounds
        if self.rounds:
            head = f"{self.family}rounds={rounds}${_letters(16)}$"
        elif self.family is not Family.DES and self.family is not Family.YESCRYPT:
            head = f"{self.family}{_letters(8)}$"
        digest = _letters(len(self.encoded) - self.salt_end - 1) + "z"
        return attrs.evolve(self, encoded=head + digest, salt_end=len(head), rounds=rounds)


@attrs.frozen
class Apr1(Fixed):
    """Apache's variant of MD5 crypt, which crypt(3) does not have. ``encoded`` is the whole ``$apr1$…`` text."""

    encoded: str = attrs.field(repr=False)
    scheme = "$apr1$ (Apache's MD5)"
    legacy = True

    @property
    def cost(self) -> Cost:
        """All alike."""
        return ("apr1",)

    def verify(self, password: str) -> bool:
        """Compared in constant time, by libpass."""
        # Every `twistd` imports all plug-ins; libpass is imported only by a site that has such a hash.
        from passlib.handlers.md5_crypt import apr_md5_crypt

        key, fits = _fitting(utf8(password))
        return bool(apr_md5_crypt.verify(key, self.encoded)) and fits

    def decoy(self, rounds: int = 0) -> Apr1:
        """A random salt and a digest that the scheme does not give."""
        return Apr1(f"$apr1${_letters(8)}${_letters(21)}z")
