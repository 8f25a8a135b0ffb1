"""The forms of stored hashes: how each is recognised, read and bounded.

::

    $argon2id$v=19$m=65536,t=3,p=4$SALT$HASH     {ARGON2}$argon2i$…               argon2$argon2id$… (Django's)
    $2b$12$…  $2a$…  $2y$…  $2$…                 {BCRYPT}$2b$…  {CRYPT}$2y$…      bcrypt$$2b$…  bcrypt_sha256$$2b$…
    $scrypt$ln=16,r=8,p=2$SALT$HASH              {scrypt}$HEX$SALT$HASH (Spring)  scrypt$N$SALT$r$p$HASH
    $pbkdf2-sha256$ROUNDS$SALT$HASH              {PBKDF2-SHA256}ROUNDS$SALT$HASH  pbkdf2_sha256$ROUNDS$SALT$HASH
    $5$rounds=5000$SALT$HASH  $6$…  $1$…  $y$…   {CRYPT}$6$…  {CRYPT}DES
    $apr1$SALT$HASH                              {SHA}  {SSHA}  {SHA256}  {SSHA512}  {MD5}  {SMD5} …
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Callable, Iterator

import attrs

from perimeter.auth.passwords.crypt_schemes import LEAST_SHA_ROUNDS, Apr1, Crypt, Family
from perimeter.auth.passwords.digest_schemes import Digest, Pbkdf2
from perimeter.auth.passwords.schemes import Argon2, Bcrypt, BcryptKey, PasswordHash, Scrypt, Variant
from perimeter.auth.passwords.system_crypt import available
from perimeter.errors import PerimeterError

# The highest cost of verifying one password: about two seconds, and memory that four threads can use at the same time.
MAX_ARGON2_MEMORY = 1 << 20  # KiB
MAX_ARGON2_WORK = 1 << 22  # KiB times passes
MAX_ARGON2_LANES = 64
MAX_BCRYPT_ROUNDS = 15
MAX_SCRYPT_MEMORY = 1 << 28  # bytes: 128 * r * N
MAX_SCRYPT_WORK = 1 << 30  # bytes: 128 * r * N * p
MAX_ROUNDS = 5_000_000  # of $5$, $6$ and PBKDF2
MAX_YESCRYPT_LOG_N = 16

_SHA_ROUNDS = 5000  # of $5$ and $6$ where the hash names none

_B64 = "[A-Za-z0-9+/]+"
_PADDED = f"{_B64}={{0,2}}"
_ADAPTED = "[A-Za-z0-9./+]+"  # passlib's base64: . for +, without padding
_CRYPT64 = "[./A-Za-z0-9]"
_NUMBER = "[1-9][0-9]{0,9}"


_Parse = Callable[["re.Match[str]"], PasswordHash]


class PasswordFormatError(PerimeterError):
    """A stored password that cannot be used, or a password that cannot be stored. The text says why, and shows no part of it."""


@attrs.frozen
class Form:
    """One way to write a hash of ``scheme``.

    A text is of this form if ``begins`` matches, or if one of ``words`` stands in braces before it. A text of the form has to
    match ``pattern``; ``parse`` makes the value of it or raises `PasswordFormatError`.
    """

    scheme: str
    pattern: re.Pattern[str]
    parse: _Parse
    words: frozenset[str]
    begins: re.Pattern[str] | None = None


def _form(scheme: str, begins: str, pattern: str, parse: _Parse, words: tuple[str, ...] = ()) -> Form:
    compiled = re.compile(begins, re.ASCII) if begins else None
    return Form(scheme, re.compile(pattern, re.ASCII), parse, frozenset(words), compiled)


def _argon2(match: re.Match[str]) -> PasswordHash:
    encoded = match["encoded"]
    memory, passes, lanes = int(match["m"]), int(match["t"]), int(match["p"])
    salt, digest = unbase64(match["salt"]), unbase64(match["digest"])
    if not 1 <= lanes <= MAX_ARGON2_LANES or passes < 1 or memory < 8 * lanes:
        raise PasswordFormatError("argon2 parameters that cannot be (m is at least 8 times p, t and p at least 1)")
    if memory > MAX_ARGON2_MEMORY or memory * passes > MAX_ARGON2_WORK:
        raise PasswordFormatError("argon2 parameters that cost too much (m at most 1048576, m times t at most 4194304)")
    if not 8 <= len(salt) <= 64 or not 16 <= len(digest) <= 64:
        raise PasswordFormatError("an argon2 salt or hash of the wrong length (8 to 64 and 16 to 64 bytes)")
    return Argon2(encoded, Variant(match["variant"]), memory, passes, lanes)


def _bcrypt(match: re.Match[str]) -> PasswordHash:
    rounds = int(match["rounds"])
    if not 4 <= rounds <= MAX_BCRYPT_ROUNDS:
        raise PasswordFormatError(f"bcrypt with a cost outside 4 to {MAX_BCRYPT_ROUNDS}")
    if match["salt"][-1] not in ".Oeu":
        raise PasswordFormatError("a bcrypt salt with bits that do not count")
    key = BcryptKey.SHA256 if match["django"] else BcryptKey.AS_IT_IS if match["version"] else BcryptKey.REPEATED
    return Bcrypt(f"$2b${match['rounds']}${match['salt']}{match['digest']}", rounds, key)


def _scrypt(match: re.Match[str]) -> PasswordHash:
    return _bounded_scrypt(int(match["ln"]), int(match["r"]), int(match["p"]), unbase64(match["salt"]), match["digest"])


def _spring_scrypt(match: re.Match[str]) -> PasswordHash:
    """Spring Security's SCryptPasswordEncoder: log2 N, r and p in one hexadecimal number."""
    number = int(match["number"], 16)
    return _bounded_scrypt(number >> 16, number >> 8 & 0xFF, number & 0xFF, unbase64(match["salt"]), match["digest"])


def _django_scrypt(match: re.Match[str]) -> PasswordHash:
    """N as it is, and the salt as text."""
    n = int(match["n"])
    log_n = n.bit_length() - 1
    if n != 1 << log_n:
        raise PasswordFormatError("scrypt parameters that cannot be (N is a power of 2)")
    return _bounded_scrypt(log_n, int(match["r"]), int(match["p"]), match["salt"].encode("ascii"), match["digest"])


def _bounded_scrypt(log_n: int, r: int, p: int, salt: bytes, digest_text: str) -> PasswordHash:
    if not 1 <= log_n <= 31 or r < 1 or p < 1:
        raise PasswordFormatError("scrypt parameters that cannot be (N is 2 to 2^31, r and p at least 1)")
    if 128 * r << log_n > MAX_SCRYPT_MEMORY or (128 * r << log_n) * p > MAX_SCRYPT_WORK:
        raise PasswordFormatError("scrypt parameters that cost too much (128 r N at most 256 MiB, times p at most 1 GiB)")
    digest = unbase64(digest_text)
    if not 8 <= len(salt) <= 128 or not 16 <= len(digest) <= 128:
        raise PasswordFormatError("a scrypt salt or hash of the wrong length (8 to 128 and 16 to 128 bytes)")
    return Scrypt(log_n, r, p, salt, digest)


def _pbkdf2(function: str, *, salt_is_text: bool) -> _Parse:
    def parse(match: re.Match[str]) -> PasswordHash:
        salt = match["salt"].encode("ascii") if salt_is_text else unbase64(match["salt"].replace(".", "+"))
        rounds, digest = int(match["rounds"]), unbase64(match["digest"].replace(".", "+"))
        if rounds > MAX_ROUNDS:
            raise PasswordFormatError(f"PBKDF2 with more than {MAX_ROUNDS} rounds")
        if not 1 <= len(salt) <= 128 or not 16 <= len(digest) <= hashlib.new(function).digest_size:
            raise PasswordFormatError(
                "a PBKDF2 salt or hash of the wrong length (1 to 128 bytes, and 16 to those of its function)"
            )
        return Pbkdf2(function, rounds, salt, digest)

    return parse


def _crypt(family: Family) -> _Parse:
    def parse(match: re.Match[str]) -> PasswordHash:
        _require(family)
        return Crypt(match.group(), family, match.start("digest") - match.start())

    return parse


def _sha_crypt(family: Family) -> _Parse:
    def parse(match: re.Match[str]) -> PasswordHash:
        rounds = int(match["rounds"] or _SHA_ROUNDS)
        if not LEAST_SHA_ROUNDS <= rounds <= MAX_ROUNDS:
            raise PasswordFormatError(f"a hash of {family} with rounds outside {LEAST_SHA_ROUNDS} to {MAX_ROUNDS}")
        _require(family)
        return Crypt(match.group(), family, match.start("digest") - match.start(), rounds)

    return parse


def _yescrypt(match: re.Match[str]) -> PasswordHash:
    """The parameters that libxcrypt's crypt_gensalt writes: j (the flavour), log2 N - 1 and r - 1, one letter each."""
    log_n = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ".index(match["n"]) + 1
    if log_n > MAX_YESCRYPT_LOG_N:
        raise PasswordFormatError("yescrypt parameters that cost too much (N at most 65536)")
    _require(Family.YESCRYPT)
    return Crypt(match.group(), Family.YESCRYPT, match.start("digest") - match.start(), parameters=match["parameters"])


def _require(family: Family) -> None:
    if not available(family):
        raise PasswordFormatError(f"a hash of {family or 'DES crypt'} on a system whose libcrypt does not have it")


def _apr1(match: re.Match[str]) -> PasswordHash:
    return Apr1(match.group())


def _digest(function: str, salted: bool, word: str) -> _Parse:
    size = hashlib.new(function, usedforsecurity=False).digest_size

    def parse(match: re.Match[str]) -> PasswordHash:
        data = unbase64(match["digest"])
        if not (size < len(data) <= size + 64 if salted else len(data) == size):
            raise PasswordFormatError(f"a hash of {{{word}}} of the wrong length")
        return Digest(f"{{{word}}}", function, data[:size], data[size:])

    return parse


def unbase64(text: str) -> bytes:
    """The bytes of a salt or hash, with or without padding. Raises `PasswordFormatError`."""
    bare = text.rstrip("=")
    try:
        data = base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True)
    except binascii.Error:
        raise PasswordFormatError("a hash with broken base64") from None
    # libargon2 refuses unused bits that are set. They are reported now and not at the first login.
    if base64.b64encode(data).decode("ascii").rstrip("=") != bare:
        raise PasswordFormatError("a hash with broken base64")
    return data


_ARGON2 = (
    rf"(?:argon2)?(?P<encoded>\$(?P<variant>argon2(?:id|i|d))(?:\$v=(?:16|19))?"
    rf"\$m=(?P<m>{_NUMBER}),t=(?P<t>{_NUMBER}),p=(?P<p>{_NUMBER})\$(?P<salt>{_B64})\$(?P<digest>{_B64}))"
)
_BCRYPT = (
    rf"(?:bcrypt(?P<django>_sha256)?\$)?\$2(?P<version>[aby]?)\$(?P<rounds>\d\d)\$"
    rf"(?P<salt>{_CRYPT64}{{22}})(?P<digest>{_CRYPT64}{{31}})"
)
_SALT = r"[^\s$:,!*;\\]"
_END = f"(?!{_CRYPT64})"
_YESCRYPT = (
    rf"\$y\$(?P<parameters>j(?P<n>[./0-9A-Z]){_CRYPT64})\$(?P<salt>{_CRYPT64}{{1,86}})\$(?P<digest>{_CRYPT64}{{43}}){_END}"
)
_PBKDF2 = rf"(?P<rounds>{_NUMBER})\$(?P<salt>{_ADAPTED})\$(?P<digest>{_ADAPTED})"
_TEXT_SALT = "(?P<salt>[!-#%-+./-~-]+)"  # printable ASCII except $ and the comma


def _pbkdf2_forms(function: str, ident: str, words: tuple[str, ...]) -> Iterator[Form]:
    """passlib's ``$ident$ROUNDS…``, OpenLDAP's ``{WORD}ROUNDS…`` and Django's ``pbkdf2_function$ROUNDS…``."""
    binary, text = _pbkdf2(function, salt_is_text=False), _pbkdf2(function, salt_is_text=True)
    begins = rf"\${ident}\$"
    yield _form("PBKDF2", begins, begins + _PBKDF2, binary, words)
    yield _form("PBKDF2", "", _PBKDF2, binary, words)
    begins = rf"pbkdf2_{function}\$"
    yield _form("PBKDF2", begins, rf"{begins}(?P<rounds>{_NUMBER})\${_TEXT_SALT}\$(?P<digest>{_PADDED})", text)


def _sha_crypt_form(family: Family, letters: int, word: str) -> Form:
    begins = re.escape(family)
    pattern = rf"{begins}(?:rounds=(?P<rounds>{_NUMBER})\$)?{_SALT}{{0,16}}\$(?P<digest>{_CRYPT64}{{{letters}}}){_END}"
    return _form(family, begins, pattern, _sha_crypt(family), (word, "crypt"))


#: word in braces -> hash function, salted
_DIGESTS = {
    "SHA": ("sha1", False),
    "SSHA": ("sha1", True),
    "MD5": ("md5", False),
    "SMD5": ("md5", True),
    "SHA256": ("sha256", False),
    "SSHA256": ("sha256", True),
    "SHA384": ("sha384", False),
    "SSHA384": ("sha384", True),
    "SHA512": ("sha512", False),
    "SSHA512": ("sha512", True),
}

FORMS: tuple[Form, ...] = (
    _form("argon2id", r"(?:argon2)?\$argon2id\$", _ARGON2, _argon2, ("argon2id",)),
    _form("argon2", r"(?:argon2)?\$argon2(?:i|d)\$|argon2\$", _ARGON2, _argon2, ("argon2", "argon2i", "argon2d", "crypt")),
    _form(
        "bcrypt", r"(?:bcrypt(?:_sha256)?\$)?\$2[aby]?\$|bcrypt(?:_sha256)?\$", _BCRYPT, _bcrypt, ("bcrypt", "blf-crypt", "crypt")
    ),
    _form(
        "scrypt",
        r"\$scrypt\$",
        rf"\$scrypt\$ln=(?P<ln>{_NUMBER}),r=(?P<r>{_NUMBER}),p=(?P<p>{_NUMBER})\$(?P<salt>{_PADDED})\$(?P<digest>{_PADDED})",
        _scrypt,
        ("scrypt",),
    ),
    _form(
        "scrypt", "", rf"\$(?P<number>[0-9a-f]{{1,8}})\$(?P<salt>{_PADDED})\$(?P<digest>{_PADDED})", _spring_scrypt, ("scrypt",)
    ),
    _form(
        "scrypt",
        r"scrypt\$",
        rf"scrypt\$(?P<n>{_NUMBER})\${_TEXT_SALT}\$(?P<r>{_NUMBER})\$(?P<p>{_NUMBER})\$(?P<digest>{_PADDED})",
        _django_scrypt,
    ),
    *_pbkdf2_forms("sha1", "pbkdf2(?:-sha1)?", ("pbkdf2", "pbkdf2-sha1")),
    *_pbkdf2_forms("sha256", "pbkdf2-sha256", ("pbkdf2-sha256",)),
    *_pbkdf2_forms("sha512", "pbkdf2-sha512", ("pbkdf2-sha512",)),
    _form(
        "$1$", r"\$1\$", rf"\$1\${_SALT}{{0,8}}\$(?P<digest>{_CRYPT64}{{22}}){_END}", _crypt(Family.MD5), ("md5-crypt", "crypt")
    ),
    _sha_crypt_form(Family.SHA256, 43, "sha256-crypt"),
    _sha_crypt_form(Family.SHA512, 86, "sha512-crypt"),
    _form("yescrypt", r"\$y\$", _YESCRYPT, _yescrypt, ("crypt",)),
    _form("DES crypt", "", rf"{_CRYPT64}{{2}}(?P<digest>{_CRYPT64}{{11}}){_END}", _crypt(Family.DES), ("crypt", "des-crypt")),
    _form("$apr1$", r"\$apr1\$", rf"\$apr1\$[./A-Za-z0-9]{{0,8}}\${_CRYPT64}{{22}}{_END}", _apr1),
    *(
        _form(f"{{{word}}}", "", rf"(?P<digest>{_PADDED})", _digest(function, salted, word), (word.lower(),))
        for word, (function, salted) in _DIGESTS.items()
    ),
)
"""All forms, in the order in which they are tried."""
