"""Reads the text of a stored password into a value that verifies it.

A hash may have its scheme in braces before it. After a comma the rest of the line may follow; commas within a hash are part of
its grammar. `perimeter.auth.passwords.grammar` has the forms. The old forms of Reactor end at the first comma: ``OBF:``,
``MD5:``, ``CRYPT:`` (case-sensitive), ``{plain}…`` and any other text, which is the password itself. Text that is probably a
hash, or a mark such as those of passwd files, is refused (`perimeter.auth.passwords.suspects`).
"""

from __future__ import annotations

import re
from collections.abc import Callable

from perimeter.auth.passwords.crypt_schemes import Crypt, Family
from perimeter.auth.passwords.digest_schemes import Digest
from perimeter.auth.passwords.grammar import FORMS, Form, PasswordFormatError
from perimeter.auth.passwords.schemes import PasswordHash, Plain
from perimeter.auth.passwords.suspects import suspect
from perimeter.auth.passwords.system_crypt import available
from perimeter.auth.text import decode_either, trim

__all__ = ["PasswordFormatError", "take"]

_PREFIX = re.compile(r"\{([^{}]*)\}")
_CRYPT = re.compile(r"[./A-Za-z0-9]{13}")
_OBF = re.compile(r"(?:[0-9a-z]{4}|U[0-9a-z]{4})+")


def take(text: str) -> tuple[PasswordHash, str]:
    """The stored password at the start of ``text``, and the rest: "", or a comma and more text.

    Raises `PasswordFormatError`.
    """
    prefix = _PREFIX.match(text)
    if prefix is not None:
        word, body = prefix.group(1).lower(), text[prefix.end() :]
        if word == "plain":
            return _take_old(body, _plain)
        return _take_hash([form for form in FORMS if word in form.words], body, f"{{{word.upper()}}}")
    forms = [form for form in FORMS if form.begins and form.begins.match(text)]
    if forms:
        return _take_hash(forms, text, forms[0].scheme)
    for start, parse in (("OBF:", _obf), ("MD5:", _md5), ("CRYPT:", _crypt)):
        if text.startswith(start):
            return _take_old(text[len(start) :], parse)
    return _take_old(text, _unmistakable)


def _take_old(body: str, parse: Callable[[str], PasswordHash]) -> tuple[PasswordHash, str]:
    value, comma, rest = body.partition(",")
    return parse(trim(value)), comma + rest


def _take_hash(forms: list[Form], body: str, name: str) -> tuple[PasswordHash, str]:
    for form in forms:
        match = form.pattern.match(body)
        if match is not None:
            rest = trim(body[match.end() :])
            if rest and not rest.startswith(","):
                raise PasswordFormatError(f"something other than a comma after the {form.scheme} hash")
            return form.parse(match), rest
    if forms:
        raise PasswordFormatError(f"not a well-formed {name} hash")
    # The message does not repeat the word, which may be the beginning of a plain-text password.
    raise PasswordFormatError("in an unknown {scheme}")


def _unmistakable(text: str) -> PasswordHash:
    meaning = suspect(text)
    if meaning:
        raise PasswordFormatError(meaning)
    return _plain(text)


def _plain(text: str) -> PasswordHash:
    if not text:
        raise PasswordFormatError("empty")
    return Plain(text)


def _md5(text: str) -> PasswordHash:
    if re.fullmatch(r"[0-9A-Fa-f]{32}", text) is None:
        raise PasswordFormatError("MD5: without 32 hexadecimal digits")
    return Digest("MD5", "md5", bytes.fromhex(text), from_reactor=True)


def _crypt(text: str) -> PasswordHash:
    if _CRYPT.fullmatch(text) is None:
        raise PasswordFormatError("CRYPT: without the 13 characters of DES crypt")
    if not available(Family.DES):
        raise PasswordFormatError("CRYPT: on a system whose libcrypt has no DES crypt")
    return Crypt(text, Family.DES, 2, from_reactor=True)


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
