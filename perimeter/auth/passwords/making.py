"""Makes the stored form of a password, and knows which stored forms are not as good as a new one. Slow: call it in a thread."""

from __future__ import annotations

import base64
import os
import re

from perimeter.auth.passwords.formats import PasswordFormatError
from perimeter.auth.passwords.schemes import BCRYPT_LIMIT, Argon2, PasswordHash, Variant, scrypt

SCHEMES = ("argon2id", "bcrypt", "scrypt")
"""The schemes of `make`."""

# RFC 9106, section 4: the second recommended set, for machines that cannot spare 2 GiB. Memory is in KiB.
_PASSES, _MEMORY, _LANES = 3, 65536, 4
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def good_as_new(stored: PasswordHash) -> bool:
    """Whether ``stored`` protects its password as well as argon2id does that `make` makes."""
    return (
        isinstance(stored, Argon2)
        and stored.variant is Variant.ID
        and stored.memory >= _MEMORY
        and stored.memory * stored.passes >= _MEMORY * _PASSES
    )


def make(password: str, scheme: str = "argon2id") -> str:
    """A new stored form of ``password``; ``scheme`` is one of `SCHEMES`. Takes a few tenths of a second.

    Raises `PasswordFormatError` for a password that could never be verified: empty, with control characters (RFC 7617, section 2,
    lets no client send them) or, with bcrypt, of more than 72 bytes.
    """
    if not password or _CONTROL.search(password):
        raise PasswordFormatError("a password cannot be empty or hold control characters")
    try:
        data = password.encode("utf-8")
    except UnicodeEncodeError:
        raise PasswordFormatError("a password has to be text in the terminal's encoding") from None
    if scheme == "argon2id":
        import argon2.low_level  # here: commands read realm files and make nothing

        hashed = argon2.low_level.hash_secret(data, os.urandom(16), _PASSES, _MEMORY, _LANES, 32, argon2.low_level.Type.ID)
        return hashed.decode("ascii")
    if scheme == "bcrypt":
        if len(data) > BCRYPT_LIMIT:
            raise PasswordFormatError(f"bcrypt looks at {BCRYPT_LIMIT} bytes of a password only, and this one has {len(data)}")
        import bcrypt

        return bcrypt.hashpw(data, bcrypt.gensalt(12)).decode("ascii")
    if scheme == "scrypt":
        salt = os.urandom(16)
        digest = scrypt(data, salt, 16, 8, 2, 32)
        salt_text, digest_text = (base64.b64encode(part).decode("ascii").rstrip("=") for part in (salt, digest))
        return f"$scrypt$ln=16,r=8,p=2${salt_text}${digest_text}"
    raise PasswordFormatError(f"no scheme {scheme} (known: {', '.join(SCHEMES)})")
