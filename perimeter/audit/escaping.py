"""Escapes log lines, and redacts secrets in URLs (attack 42). Pure.

One rule covers everything that is not a visible character: each byte of its UTF-8 form is written as ``\\xHH``. The quote and the
backslash are escaped in the same way. So a record is always exactly one line, a simple reader that splits at quotes or spaces is
not misled, and decoding ``\\xHH`` returns the bytes that were sent. Visible characters beyond ASCII stay as they are (UTF-8).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import unquote_to_bytes

from perimeter.model import TOKEN_PREFIX

REDACTED = b"REDACTED"

_UNSAFE = re.compile(r"[^!#-\[\]-~]")
_UNSAFE_BUT_BLANK = re.compile(r"[^ !#-\[\]-~]")
_UNPRINTABLE = re.compile(r"[^ -~]")

# A parameter is secret if its name ends in one of the long words or is, or ends in, one of the short ones as a word of its own
# ("sort_key", but not "monkey"). The pattern is matched against a decoded part of a URL, so that it also finds a URL inside a
# parameter (rd=/x%3Ftoken%3D…). Codes and keys that are none are redacted too: the other way round, a secret would be in a log.
_LONG = (
    rb"token|token[^a-z0-9=]?hint|passw(?:or)?d|passphrase|passcode|secret|jwt|assertion|credentials?|signature|authorization"
    rb"|verifier|bearer|ticket|saml(?:request|response|art)|(?:access|api|app|auth|private|secret|session|subscription)[^a-z0-9=]?key"
    rb"|(?:access|auth|authorization|device|login|one[^a-z0-9=]?time|recovery|reset|security|user|verification)[^a-z0-9=]?code"
    rb"|session[^a-z0-9=]?id|sessid|[mth]otp"
)
_SHORT = rb"pass|pwd|pw|pin|otp|sig|auth|sid|code|key|basic|cookie|creds?|hmac|mac|mfa|otac|session|tan|xsrf|csrf"
# Every secret name contains one of these words: this cheap test saves most queries the full one.
_HINTS = (
    rb"token|pass|pw|pin|otp|secret|key|jwt|assertion|cred|sig|auth|sid|sess|code|bearer|basic|ticket|verifier|saml|cookie|mac|mfa"
    rb"|otac|tan|srf"
)
_ESCAPED = re.compile(rb"%[0-9A-Fa-f]{2}")
MOST_PARTS = 256
"""Parts of a URL, such as parameters, and percent signs in it, that are examined. What follows is redacted as a whole: a URL of
32 KiB may have 16,000 parts, which take 0.1 s (attack 68)."""
_DELIMITER = re.compile(rb"([?&;#])")
# An API token is a secret in any position: `DELETE /token/…` may contain one.
OWN = TOKEN_PREFIX.encode("ascii")
_OWN_TOKEN = re.compile(OWN + rb"[A-Za-z0-9_-]{20,}")
# So is a signed token (RFC 7519): each of them begins with the Base64 of {" and a letter.
JWT = b"eyJ"
# A run of these characters is examined from its beginning only, and its first `eyJ` is the only candidate: if the run is not
# followed by a dot, no other one fits either. A search from each `eyJ` on takes 0.2 s for 32 KiB of them (attack 103).
# What a lookahead has captured stays as it is: Python before 3.11.5 does not match atomic groups correctly (gh-106052).
_FIRST_PART = r"(?<![{0}])(?=([{0}]*?)eyJ)\1eyJ[{0}]{{6,}}+\."
_JWT = re.compile((_FIRST_PART + r"[{0}]++\.[{0}]*").format("A-Za-z0-9_-").encode("ascii"))
_JWT_IN_TEXT = re.compile((_FIRST_PART + r"[{0}]++\.[{0}]*").format(r"\w-"))
_JWT_IN_NAME = re.compile((_FIRST_PART + r"[.{0}]+").format(r"\w-"))
LONGEST_NAME = 64
"""Characters of an attempted user name that are logged."""
_SCANNED = 4096
# What no user is called: API tokens of this and other programs by their prefixes, besides JWTs.
_TOKENS = re.compile(rf"{TOKEN_PREFIX}[A-Za-z0-9_-]{{20,}}|\b(?:gh[a-z]|github_pat|glpat|xox[a-z]|hvs|sk|pat)[_.-][\w-]{{16,}}")
_USERINFO = re.compile(rb"//[^/?#]*@")


def _escape_one(match: re.Match[str]) -> str:
    character = match[0]
    # isprintable is false for controls, separators, surrogates and the invisible format characters (bidi overrides and the like)
    if character > "\x7f" and character.isprintable():
        return character
    try:
        encoded = character.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        encoded = character.encode("utf-8", "surrogatepass")
    return "".join(f"\\x{byte:02x}" for byte in encoded)


def escape(raw: bytes, *, blank: bool = False) -> bytes:
    """Escape everything in ``raw`` that a log line must not contain. With ``blank`` the space stays (in quoted text)."""
    pattern = _UNSAFE_BUT_BLANK if blank else _UNSAFE
    return pattern.sub(_escape_one, raw.decode("utf-8", "surrogateescape")).encode()


def escape_text(text: str, *, blank: bool = False) -> bytes:
    """`escape` for a `str`. A lone surrogate is escaped as its bytes too."""
    return escape(text.encode("utf-8", "surrogatepass"), blank=blank)


def escape_line(text: str) -> str:
    """Return ``text`` as one line of prose. Spaces, quotes and backslashes stay; everything invisible is escaped."""
    return _UNPRINTABLE.sub(_escape_one, text)


def shown_name(name: str) -> str:
    """Return a user name that a client sent, fit to be logged: without tokens, and not longer than `LONGEST_NAME` characters.

    Some clients send a token in the place of a name, or instead of both (attack 66). Escaping is the caller's.
    """
    name = _JWT_IN_NAME.sub(r"\1REDACTED", _TOKENS.sub("REDACTED", name[:_SCANNED]))
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"


def without_signed_tokens(text: str) -> str:
    """``text`` without signed tokens (RFC 7519)."""
    return _JWT_IN_TEXT.sub(r"\1REDACTED", text) if "eyJ" in text else text


def _searchable(url: bytes) -> bytes:
    """``url``, without the rest that would take milliseconds to search."""
    if url.count(b"%") > MOST_PARTS:
        url = b"%".join(url.split(b"%", MOST_PARTS)[:MOST_PARTS]) + REDACTED
    parts = _DELIMITER.split(url, MOST_PARTS)
    return url if len(parts) <= 2 * MOST_PARTS else b"".join(parts[:-1]) + REDACTED


def _decoded(part: bytes) -> bytes:
    # Attackers encode a name two or three times, so that it passes a filter and is still decoded by a later server.
    for _ in range(3):
        if not _ESCAPED.search(part):
            break
        part = unquote_to_bytes(part)
    return part


class Redactor:
    """Removes secrets from URLs. ``names`` are parameters that are secret besides those that always are, in any case."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        further = b"".join(b"|" + re.escape(name.lower().encode()) for name in names)
        self._secret = re.compile(
            rb"(?:%b)[^a-z0-9=]*=|(?:^|[^a-z0-9])(?:%b%b)[^a-z0-9=]*=" % (_LONG, _SHORT, further), re.IGNORECASE
        )
        self._hint = re.compile(_HINTS + further).search

    def __call__(self, url: bytes) -> bytes:
        """Return ``url`` (absolute, or a request target) without the values of secret parameters, tokens and userinfo.

        Secrets are found in the path and the fragment too, because refused requests are logged with whatever the client sent.
        """
        if OWN in url:
            url = _OWN_TOKEN.sub(OWN + REDACTED, url)
        if JWT in url:
            url = _JWT.sub(rb"\1" + REDACTED, url)
        if b"=" not in url and b"%" not in url and b"@" not in url:
            return url
        if b"%" not in url and b"@" not in url and not self._hint(url.lower()):
            return url
        url = _USERINFO.sub(b"//" + REDACTED + b"@", url)
        return b"".join(map(self._part, _DELIMITER.split(_searchable(url))))

    def _part(self, part: bytes) -> bytes:
        decoded = _decoded(part)
        if _OWN_TOKEN.search(decoded) or (JWT in decoded and _JWT.search(decoded)):
            return REDACTED
        if not self._secret.search(decoded):
            return part
        name, equals, _ = part.partition(b"=")
        if not equals or b"=" in _decoded(name):
            return REDACTED
        return name + b"=" + REDACTED


redact = Redactor()
"""Redacts the parameters that are always secret."""
