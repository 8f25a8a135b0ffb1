"""The lines that name the user to an upstream: headers, or a signed assertion. Pure; the signing is passed in.

A user name or role may hold any character that a directory allows. In a field value everything outside visible ASCII is
percent-encoded as UTF-8, and so are the percent sign and, in roles, the comma: no name can forge a second role or a second field
(attack 15). An upstream decodes the name as it decodes a URL.
"""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import quote

import attrs

from perimeter.model import Principal
from perimeter.recent import Memo

#: Visible ASCII without percent and comma.
_SAFE = "".join(chr(c) for c in range(0x21, 0x7F) if chr(c) not in "%,")
#: Seconds. An assertion is sent for half of its life, so the upstream always gets one that is valid for the other half.
ASSERTION_LIFETIME = 300.0


def encode_value(text: str) -> bytes:
    """``text`` as a field value with one reading."""
    return quote(text, safe=_SAFE + " " if text == text.strip(" ") else _SAFE).encode("ascii")


@attrs.frozen(cache_hash=True)
class IdentityProfile:
    """What one route sends: ``headers`` for the three fields, ``audience`` is that of an assertion ("" for none).

    ``fixed`` are header lines that each request gets, independent of its user: the service's own credentials.
    """

    headers: bool = True
    audience: str = ""
    username: bytes = b"X-Auth-Username"
    realm: bytes = b"X-Auth-Realm"
    roles: bytes = b"X-Auth-Roles"
    fixed: bytes = attrs.field(default=b"", repr=False)


class IdentityLines:
    """The header lines for a principal, made once and remembered.

    ``assert_identity`` signs: principal, audience, lifetime in seconds → the assertion. At most ``limit`` are kept, of about 300
    bytes each: as many as there are remembered tokens.
    """

    def __init__(self, assert_identity: Callable[[Principal, str, float], str], clock: Callable[[], float], limit: int) -> None:
        self._assert_identity = assert_identity
        self._clock = clock
        self._remembered: Memo[tuple[IdentityProfile, Principal], tuple[float, bytes, Principal]] = Memo(limit)

    def lines(self, profile: IdentityProfile, principal: Principal) -> bytes:
        """The header lines, each with its CRLF."""
        known = self._remembered.get((profile, principal))
        if known is not None:
            until, lines, remembered = known
            # Attributes and scopes are not part of equality, and an assertion may carry them.
            if (not until or until > self._clock()) and (remembered is principal or _alike(remembered, principal)):
                return lines
        return self._make(profile, principal)

    def clear(self) -> None:
        """Forget everything: the signing key may have changed."""
        self._remembered.clear()

    def _make(self, profile: IdentityProfile, principal: Principal) -> bytes:
        lines = profile.fixed
        until = 0.0
        if profile.headers:
            lines += b"%b: %b\r\n" % (profile.username, encode_value(principal.username))
            lines += b"%b: %b\r\n" % (profile.realm, encode_value(principal.realm))
            if principal.roles:
                lines += b"%b: %b\r\n" % (profile.roles, b",".join(encode_value(role) for role in principal.roles))
        if profile.audience:
            token = self._assert_identity(principal, profile.audience, ASSERTION_LIFETIME)
            lines += b"Authorization: Bearer %b\r\n" % token.encode("ascii")
            until = self._clock() + ASSERTION_LIFETIME / 2
        self._remembered.keep((profile, principal), (until, lines, principal))
        return lines


def _alike(one: Principal, other: Principal) -> bool:
    return one.attributes == other.attributes and one.scopes == other.scopes
