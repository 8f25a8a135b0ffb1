"""Reads the text of a stored password into a value that verifies it, and makes such texts from passwords.

The good forms; after a comma the rest of the line may follow (commas within a hash are part of its grammar)::

    $argon2id$v=19$m=65536,t=3,p=4$SALT$HASH       {argon2id}$argon2id$…
    $2b$12$…  $2a$…  $2y$…                         {bcrypt}$2b$12$…
    $scrypt$ln=16,r=8,p=2$SALT$HASH                {scrypt}$scrypt$…     {scrypt}$HEX$SALT$HASH (Spring's)

The old forms end at the first comma: ``OBF:``, ``MD5:``, ``CRYPT:`` (case-sensitive), ``{plain}…`` and any other text, which is
the password itself. Text that looks like an unknown hash (``$6$…``, ``{SSHA}…``) is refused: as plain text, the hash would be
the password.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
from collections.abc import Callable

import argon2.low_level
import bcrypt

from perimeter.auth.passwords.des_crypt import available
from perimeter.auth.passwords.schemes import BCRYPT_LIMIT, Argon2id, Bcrypt, DesCrypt, Md5, PasswordHash, Plain, Scrypt, scrypt
from perimeter.auth.text import decode_either, trim
from perimeter.errors import PerimeterError

# The highest cost of verifying one password: about two seconds, and memory that four threads can use at the same time.
MAX_ARGON2_MEMORY = 1 << 20  # KiB
MAX_ARGON2_WORK = 1 << 22  # KiB times passes
MAX_ARGON2_LANES = 64
MAX_BCRYPT_ROUNDS = 15
MAX_SCRYPT_MEMORY = 1 << 28  # bytes: 128 * r * N
MAX_SCRYPT_WORK = 1 << 30  # bytes: 128 * r * N * p

SCHEMES = ("argon2id", "bcrypt", "scrypt")
"""The schemes of `make`."""

_B64 = "[A-Za-z0-9+/]+"
_NUMBER = "[1-9][0-9]{0,9}"
_ARGON2ID = re.compile(rf"\$argon2id\$v=(16|19)\$m=({_NUMBER}),t=({_NUMBER}),p=({_NUMBER})\$({_B64})\$({_B64})", re.ASCII)
_BCRYPT = re.compile(r"\$2[aby]\$(\d\d)\$([./A-Za-z0-9]{22})([./A-Za-z0-9]{31})", re.ASCII)
_SCRYPT = re.compile(rf"\$scrypt\$ln=({_NUMBER}),r=({_NUMBER}),p=({_NUMBER})\$({_B64}={{0,2}})\$({_B64}={{0,2}})", re.ASCII)
_SPRING_SCRYPT = re.compile(rf"\$([0-9a-f]{{1,8}})\$({_B64}={{0,2}})\$({_B64}={{0,2}})", re.ASCII)
_PREFIX = re.compile(r"\{([A-Za-z0-9_.-]+)\}")
_LOOKS_HASHED = re.compile(r"\$[A-Za-z0-9_.-]+\$")
_CRYPT = re.compile(r"[./A-Za-z0-9]{13}")
_OBF = re.compile(r"(?:[0-9a-z]{4}|U[0-9a-z]{4})+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class PasswordFormatError(PerimeterError):
    """A stored password that cannot be used, or a password that cannot be stored. The text says why, and shows no part of it."""


def take(text: str) -> tuple[PasswordHash, str]:
    """The stored password at the start of ``text``, and the rest: "", or a comma and more text.

    Raises `PasswordFormatError`.
    """
    prefix = _PREFIX.match(text)
    word = prefix.group(1).lower() if prefix else ""
    body = text[prefix.end() :] if prefix else text
    if word == "plain":
        return _take_old(body, _plain)
    if word:
        return _take_good(word, body)
    for scheme, start in (("argon2id", "$argon2id$"), ("bcrypt", "$2"), ("scrypt", "$scrypt$")):
        if body.startswith(start) and _LOOKS_HASHED.match(body):
            return _take_good(scheme, body)
    if _LOOKS_HASHED.match(body):
        raise PasswordFormatError("a hash of an unknown kind (write {plain} before a plain-text password that begins like this)")
    for start, parse in (("OBF:", _obf), ("MD5:", _md5), ("CRYPT:", _crypt)):
        if body.startswith(start):
            return _take_old(body[len(start) :], parse)
    return _take_old(body, _plain)


def _take_old(body: str, parse: Callable[[str], PasswordHash]) -> tuple[PasswordHash, str]:
    value, comma, rest = body.partition(",")
    return parse(trim(value)), comma + rest


def _take_good(scheme: str, body: str) -> tuple[PasswordHash, str]:
    for name, pattern, parse in _GOOD:
        match = pattern.match(body) if name == scheme else None
        if match is not None:
            rest = trim(body[match.end() :])
            if rest and not rest.startswith(","):
                raise PasswordFormatError(f"something other than a comma after the {scheme} hash")
            return parse(match), rest
    if scheme in SCHEMES:
        raise PasswordFormatError(f"not a well-formed {scheme} hash")
    # The message does not repeat the word, which may be the beginning of a plain-text password.
    raise PasswordFormatError("in an unknown {scheme} (known: {argon2id}, {bcrypt}, {scrypt}, and {plain} for plain text)")


def _argon2id(match: re.Match[str]) -> PasswordHash:
    memory, passes, lanes = (int(match.group(index)) for index in (2, 3, 4))
    salt, digest = _unbase64(match.group(5)), _unbase64(match.group(6))
    if not 1 <= lanes <= MAX_ARGON2_LANES or passes < 1 or memory < 8 * lanes:
        raise PasswordFormatError("argon2id parameters that cannot be (m is at least 8 times p, t and p at least 1)")
    if memory > MAX_ARGON2_MEMORY or memory * passes > MAX_ARGON2_WORK:
        raise PasswordFormatError("argon2id parameters that cost too much (m at most 1048576, m times t at most 4194304)")
    if not 8 <= len(salt) <= 64 or not 16 <= len(digest) <= 64:
        raise PasswordFormatError("an argon2id salt or hash of the wrong length (8 to 64 and 16 to 64 bytes)")
    return Argon2id(match.group(0), memory, passes, lanes)


def _bcrypt(match: re.Match[str]) -> PasswordHash:
    rounds = int(match.group(1))
    if not 4 <= rounds <= MAX_BCRYPT_ROUNDS:
        raise PasswordFormatError(f"bcrypt with a cost outside 4 to {MAX_BCRYPT_ROUNDS}")
    if match.group(2)[-1] not in ".Oeu":
        raise PasswordFormatError("a bcrypt salt with bits that do not count")
    return Bcrypt(match.group(0), rounds)


def _scrypt(match: re.Match[str]) -> PasswordHash:
    log_n, r, p = (int(match.group(index)) for index in (1, 2, 3))
    return _bounded_scrypt(log_n, r, p, match.group(4), match.group(5))


def _spring_scrypt(match: re.Match[str]) -> PasswordHash:
    """Spring Security's SCryptPasswordEncoder: log2 N, r and p in one hexadecimal number."""
    number = int(match.group(1), 16)
    return _bounded_scrypt(number >> 16, number >> 8 & 0xFF, number & 0xFF, match.group(2), match.group(3))


def _bounded_scrypt(log_n: int, r: int, p: int, salt_text: str, digest_text: str) -> PasswordHash:
    if not 1 <= log_n <= 31 or r < 1 or p < 1:
        raise PasswordFormatError("scrypt parameters that cannot be (N is 2 to 2^31, r and p at least 1)")
    if 128 * r << log_n > MAX_SCRYPT_MEMORY or (128 * r << log_n) * p > MAX_SCRYPT_WORK:
        raise PasswordFormatError("scrypt parameters that cost too much (128 r N at most 256 MiB, times p at most 1 GiB)")
    salt, digest = _unbase64(salt_text), _unbase64(digest_text)
    if not 8 <= len(salt) <= 128 or not 16 <= len(digest) <= 128:
        raise PasswordFormatError("a scrypt salt or hash of the wrong length (8 to 128 and 16 to 128 bytes)")
    return Scrypt(log_n, r, p, salt, digest)


#: The grammars of a scheme are tried in this order.
_GOOD: tuple[tuple[str, re.Pattern[str], Callable[[re.Match[str]], PasswordHash]], ...] = (
    ("argon2id", _ARGON2ID, _argon2id),
    ("bcrypt", _BCRYPT, _bcrypt),
    ("scrypt", _SCRYPT, _scrypt),
    ("scrypt", _SPRING_SCRYPT, _spring_scrypt),
)


def _plain(text: str) -> PasswordHash:
    if not text:
        raise PasswordFormatError("an empty password")
    return Plain(text)


def _md5(text: str) -> PasswordHash:
    if re.fullmatch(r"[0-9A-Fa-f]{32}", text) is None:
        raise PasswordFormatError("MD5: without 32 hexadecimal digits")
    return Md5(bytes.fromhex(text))


def _crypt(text: str) -> PasswordHash:
    if _CRYPT.fullmatch(text) is None:
        raise PasswordFormatError("CRYPT: without the 13 characters of DES crypt")
    if not available():
        raise PasswordFormatError("CRYPT: on a system whose libcrypt has no DES crypt")
    return DesCrypt(text)


def _obf(text: str) -> PasswordHash:
    """Jetty's obfuscation: each byte, mixed with its mirror, as four base-36 digits; ``U`` marks one that is kept as it is."""
    if _OBF.fullmatch(text) is None:
        raise PasswordFormatError("OBF: that is not groups of four letters and digits")
    data = bytearray()
    for group in re.findall(r"U?[0-9a-z]{4}", text):
        value = int(group.lstrip("U"), 36)
        byte = value >> 8 if group[0] == "U" else (value // 256 + value % 256 - 254) // 2
        if not 0 <= byte <= 255:
            raise PasswordFormatError("OBF: with a group that stands for no byte")
        data.append(byte)
    # Jetty encodes as UTF-8; its older versions, and other programs, as ISO-8859-1.
    return Plain(decode_either(bytes(data)), "OBF")


def _unbase64(text: str) -> bytes:
    bare = text.rstrip("=")
    try:
        data = base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True)
    except binascii.Error:
        raise PasswordFormatError("a hash with broken base64") from None
    # libargon2 refuses unused bits that are set. They are reported now and not at the first login.
    if base64.b64encode(data).decode("ascii").rstrip("=") != bare:
        raise PasswordFormatError("a hash with broken base64")
    return data


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
        # RFC 9106, section 4: the second recommended set, for machines that cannot spare 2 GiB.
        hashed = argon2.low_level.hash_secret(data, os.urandom(16), 3, 65536, 4, 32, argon2.low_level.Type.ID)
        return hashed.decode("ascii")
    if scheme == "bcrypt":
        if len(data) > BCRYPT_LIMIT:
            raise PasswordFormatError(f"bcrypt looks at {BCRYPT_LIMIT} bytes of a password only, and this one has {len(data)}")
        return bcrypt.hashpw(data, bcrypt.gensalt(12)).decode("ascii")
    if scheme == "scrypt":
        salt = os.urandom(16)
        digest = scrypt(data, salt, 16, 8, 2, 32)
        salt_text, digest_text = (base64.b64encode(part).decode("ascii").rstrip("=") for part in (salt, digest))
        return f"$scrypt$ln=16,r=8,p=2${salt_text}${digest_text}"
    raise PasswordFormatError(f"no scheme {scheme} (known: {', '.join(SCHEMES)})")
