"""The gateway's own cookies, in the headers of requests and responses (RFC 6265): found, taken out, recognised. Pure.

The name of each begins with ``__Host-perimeter``. A browser keeps a cookie with the prefix ``__Host-`` only if this host itself
has set it over TLS, for all paths. So other hosts of the domain and plain HTTP cannot replace it. The gateway
removes its cookies from requests to services (attacks 16, 28) and from their responses (attack 25).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from string import ascii_letters, digits
from typing import Final

from perimeter.model import Field, HeaderBlock
from perimeter.recent import Memo

SESSION: Final = b"__Host-perimeter"
"""The name of the session's cookie."""

SESSION_LENGTH: Final = 43
"""The characters of its value: 256 bits, base64url without padding."""

OWN_PREFIX: Final = b"__host-perimeter"
"""What the names of the gateway's own cookies begin with, in lower case."""

FIELDS: Final = frozenset((b"cookie", b"set-cookie"))
"""The headers that carry cookies."""

_ALPHABET: Final = f"{ascii_letters}{digits}-_".encode("ascii")
_BLANKS: Final = b" \t"
_BLANKS_AND_EQUALS: Final = b" \t="
_SEMICOLON: Final = ord(";")

# A browser sends the same cookies with each request; to read and to cut them takes 3 µs.
_LONGEST_KEPT: Final = 1024
_UNKNOWN: Final = b"?"
_sessions: Memo[bytes, bytes | None] = Memo(2000)
_rests: Memo[bytes, bytes] = Memo(2000)


def own_value(cookies: Iterable[bytes], name: bytes, length: int) -> bytes | None:
    """The value of the gateway's cookie ``name`` in the values of all Cookie headers of a request, or None.

    It is ``length`` characters of base64url. None if there are two cookies of the name, because an attacker set one of them. The
    name must be spelt exactly like this, without quotes. Cookies in the form of RFC 2965 (``$Version``) are not read: there,
    quotes may hide one cookie in another.
    """
    found: bytes | None = None
    count = 0
    named = name + b"="
    for value in cookies:
        at = value.find(named)
        while at >= 0:
            start = at + len(named)
            if _begins_cookie(value, at):
                count += 1
                end = start + length
                text = value[start:end]
                whole = len(text) == length and value[end : end + 1] in (b"", b";") and not text.translate(None, _ALPHABET)
                found = text if whole and value[:1] != b"$" else None
            if count > 1:
                return None
            at = value.find(named, start)
    return found


def _begins_cookie(value: bytes, at: int) -> bool:
    """Whether a cookie begins ``at``: at the start, or after a semicolon and blanks."""
    while at and value[at - 1] in _BLANKS:
        at -= 1
    return not at or value[at - 1] == _SEMICOLON


def mentions_own(value: bytes) -> bool:
    """Whether the value of a Cookie or Set-Cookie header could have a cookie of the gateway's own."""
    return OWN_PREFIX in value.lower()


def is_own(cookie: bytes) -> bool:
    """Whether ``cookie`` (``name=value``, perhaps with attributes) has the name of a cookie of the gateway's own, in any case.

    A cookie without a name counts by its value: browsers send both in the same way.
    """
    return cookie.lstrip(_BLANKS_AND_EQUALS)[: len(OWN_PREFIX)].lower() == OWN_PREFIX


def without_own(cookies: bytes) -> bytes:
    """The value of a Cookie header without the gateway's own cookies, in any case. The other cookies stay byte for byte.

    A comma separates cookies too: a proxy may have joined two headers by one.
    """
    kept = [rest for one in cookies.split(b";") if (rest := _without_own(one)) is not None]
    return b";".join(kept).strip(_BLANKS)


def others(headers: HeaderBlock) -> bytes:
    """All cookies of a request except the gateway's own, as the value of one Cookie header; empty if there are none."""
    values = headers.get_all(b"cookie")
    if headers.own_cookies:
        values = [without_own(value) for value in values]
    return b"; ".join(value for value in values if value)


def _without_own(cookie: bytes) -> bytes | None:
    kept = [one for one in cookie.split(b",") if not is_own(one)]
    return b",".join(kept) if kept else None


Line = tuple[Field, bytes]
"""A header, and its line as it was received."""


def foreign_lines(lines: Iterable[Line]) -> list[Line]:
    """Headers, each with its line, without the gateway's own cookies."""
    return [kept for line in lines if (kept := line if line[0][0] not in FIELDS else _foreign(line)) is not None]


def _foreign(line: Line) -> Line | None:
    (name, value), text = line
    if name == b"set-cookie":
        return None if is_own(value) else line
    rest = _rests.get(value)
    if rest is None:
        if not mentions_own(value):
            return line
        rest = without_own(value)
        if len(value) <= _LONGEST_KEPT:
            _rests.keep(value, rest)
    return ((name, rest), text[: len(name)] + b": " + rest) if rest else None


def session_value(cookies: Sequence[bytes]) -> bytes | None:
    """The value of the session's cookie in the values of all Cookie headers of a request, or None; see `own_value`."""
    if len(cookies) != 1 or len(cookies[0]) > _LONGEST_KEPT:
        return own_value(cookies, SESSION, SESSION_LENGTH)
    found = _sessions.get(cookies[0], _UNKNOWN)
    if found is _UNKNOWN:
        found = _sessions.keep(cookies[0], own_value(cookies, SESSION, SESSION_LENGTH))
    return found
