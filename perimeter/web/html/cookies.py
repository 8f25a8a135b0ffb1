"""The cookies that the gateway's own pages set (RFC 6265). Pure.

``__Host-``: only this host itself can set them, over TLS, for all its paths. HttpOnly: scripts cannot read them. SameSite=Lax:
the browser sends them for a page of another site only with a navigation by a link (attack 28).
"""

from __future__ import annotations

from typing import Final

from perimeter.http.cookies import SESSION

BEFORE_LOGIN: Final = b"__Host-perimeter-pre"
"""The name of the cookie that a browser has before there is a session. All its tabs share it."""

BEFORE_LOGIN_LENGTH: Final = 22
"""The characters of its value: 128 bits, base64url without padding."""

PENDING: Final = b"__Host-perimeter-pending"
"""The name of the cookie of a sign-in that waits for a second factor. It is no session, and no service gets it."""

PENDING_LENGTH: Final = 43
"""The characters of its value: 256 bits, base64url without padding."""

HAND_OVER: Final = b"__Host-perimeter-enter"
"""The name of the cookie with the secret of a browser that is sent to the host of the sign-in page. All its tabs share it."""

HAND_OVER_LENGTH: Final = 43
"""The characters of its value: 256 bits, base64url without padding."""

FLOWS: Final = tuple(b"__Host-perimeter-flow-%d" % number for number in range(5))
"""The names of the cookies of sign-ins at providers, so that a browser can have some under way in several tabs."""

MANUAL: Final = b"__Host-perimeter-manual"
"""The name of the cookie of a browser whose next sign-in the user begins: the gateway begins none by itself."""

_ATTRIBUTES: Final = b"; Path=/; Secure; HttpOnly; SameSite=Lax"
_HOUR: Final = b"; Max-Age=3600"


def session_cookie(value: bytes, stay: int = 0) -> bytes:
    """A Set-Cookie with a session's cookie. It lasts until the browser is closed, or for ``stay`` seconds."""
    lasting = b"; Max-Age=%d" % stay if stay else b""
    return SESSION + b"=" + value + _ATTRIBUTES + lasting


def before_login_cookie(value: bytes) -> bytes:
    """A Set-Cookie with the cookie that a browser has before the sign-in: for an hour."""
    return BEFORE_LOGIN + b"=" + value + _ATTRIBUTES + _HOUR


def pending_cookie(value: bytes, seconds: int) -> bytes:
    """A Set-Cookie of a sign-in that waits so many seconds for a second factor. Browsers send it to pages of this site alone."""
    return PENDING + b"=" + value + b"; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=%d" % seconds


def no_pending_cookie() -> bytes:
    """A Set-Cookie that deletes the cookie of a sign-in that waits."""
    return _without(PENDING)


def hand_over_cookie(value: bytes) -> bytes:
    """A Set-Cookie with the secret of a browser that is sent to the host of the sign-in page: for an hour."""
    return HAND_OVER + b"=" + value + _ATTRIBUTES + _HOUR


def flow_cookie(name: bytes, value: bytes) -> bytes:
    """A Set-Cookie with the cookie ``name`` of a sign-in at a provider: for as long as its flow."""
    return name + b"=" + value + _ATTRIBUTES + b"; Max-Age=600"


def manual_cookie() -> bytes:
    """A Set-Cookie of `MANUAL`: for some minutes."""
    return MANUAL + b"=1" + _ATTRIBUTES + b"; Max-Age=600"


def no_session_cookie() -> bytes:
    """A Set-Cookie that deletes a session's cookie."""
    return _without(SESSION)


def no_manual_cookie() -> bytes:
    """A Set-Cookie that deletes `MANUAL`."""
    return _without(MANUAL)


def _without(name: bytes) -> bytes:
    return name + b"=" + _ATTRIBUTES + b"; Max-Age=0"
