"""What may stand in a log line: escaping, and the redaction of secrets in URLs (attack 42). Pure.

One rule for everything that is no visible character: each octet of its UTF-8 form is written as ``\\xHH``, and so are the quote
and the backslash themselves. So a line is always exactly one line, naive readers that cut at quotes or blanks are not misled,
and whoever undoes ``\\xHH`` has the octets as they were sent. Visible characters beyond ASCII stay as they are (UTF-8).
"""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

from perimeter.model import TOKEN_PREFIX

REDACTED = b"REDACTED"

_UNSAFE = re.compile(r"[^!#-\[\]-~]")
_UNSAFE_BUT_BLANK = re.compile(r"[^ !#-\[\]-~]")
_UNPRINTABLE = re.compile(r"[^ -~]")

# A parameter is secret when its name ends in one of the long words, or is one of the short ones. Looked for in a decoded part of
# a URL, so that a URL inside a parameter (rd=/x%3Ftoken%3D…) counts too.
_SECRET = re.compile(
    rb"(?:token|passw(?:or)?d|passphrase|passcode|secret|api[^a-z0-9=]?key|access[^a-z0-9=]?key|jwt|assertion|credentials?"
    rb"|signature|authorization|session[^a-z0-9=]?id)[^a-z0-9=]*="
    rb"|(?:^|[^a-z0-9])(?:pass|pwd|pw|pin|otp|sig|auth|sid)[^a-z0-9=]*=",
    re.IGNORECASE,
)
# Every secret name holds one of these: a cheap look that spares most queries the real one.
_HINT = re.compile(rb"token|pass|pw|pin|otp|secret|key|jwt|assertion|credential|sig|auth|sid|session")
_DELIMITER = re.compile(rb"([?&;#])")
# An API token is a secret wherever it stands: `DELETE /token/…` may name one.
OWN = TOKEN_PREFIX.encode("ascii")
_OWN_TOKEN = re.compile(OWN + rb"[A-Za-z0-9_-]{20,}")
_USERINFO = re.compile(rb"//[^/?#]*@")


def _escape_one(match: re.Match[str]) -> str:
    character = match[0]
    # isprintable is false for controls, separators, surrogates and the invisible format characters (bidi overrides and the like)
    if character > "\x7f" and character.isprintable():
        return character
    try:
        octets = character.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        octets = character.encode("utf-8", "surrogatepass")
    return "".join(f"\\x{octet:02x}" for octet in octets)


def escape(raw: bytes, *, blank: bool = False) -> bytes:
    """``raw`` as it may stand in a line of text; with ``blank`` the plain blank stays, as between quotes it may."""
    pattern = _UNSAFE_BUT_BLANK if blank else _UNSAFE
    return pattern.sub(_escape_one, raw.decode("utf-8", "surrogateescape")).encode()


def escape_text(text: str, *, blank: bool = False) -> bytes:
    """`escape` for text of our own making; a lone surrogate comes out as octets too."""
    return escape(text.encode("utf-8", "surrogatepass"), blank=blank)


def escape_line(text: str) -> str:
    """``text`` as one line of prose: blanks, quotes and backslashes stay as they are, everything invisible is escaped."""
    return _UNPRINTABLE.sub(_escape_one, text)


def _decoded(part: bytes) -> bytes:
    # Encoded twice or thrice is how a name slips past a filter and is read all the same further behind.
    for _ in range(3):
        if b"%" not in part:
            break
        part = unquote_to_bytes(part)
    return part


def _redact_part(part: bytes) -> bytes:
    decoded = _decoded(part)
    if _OWN_TOKEN.search(decoded):
        return REDACTED
    if not _SECRET.search(decoded):
        return part
    name, equals, _ = part.partition(b"=")
    if not equals or b"=" in _decoded(name):
        return REDACTED
    return name + b"=" + REDACTED


def redact(url: bytes) -> bytes:
    """``url`` (whole, or a request target) with the values of secret parameters, API tokens and any userinfo replaced.

    Not only in the query: what is refused is logged as well, with whatever a client put into its path or fragment.
    """
    if OWN in url:
        url = _OWN_TOKEN.sub(OWN + REDACTED, url)
    if b"=" not in url and b"%" not in url and b"@" not in url:
        return url
    if b"%" not in url and b"@" not in url and not _HINT.search(url.lower()):
        return url
    url = _USERINFO.sub(b"//" + REDACTED + b"@", url)
    return b"".join(map(_redact_part, _DELIMITER.split(url)))
