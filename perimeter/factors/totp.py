"""Time-based one-time passwords of an authenticator app (RFC 6238): SHA-1, 6 digits, 30 seconds. Pure.

The library is imported when it is used: it belongs to the extra ``mfa``.
"""

from __future__ import annotations

import base64
import re
from typing import Final

SECRET_LENGTH: Final = 20
"""Bytes of a secret: 160 bits, as RFC 4226 recommends (section 4, R6)."""

STEP: Final = 30
"""Seconds of a time step."""

WINDOW: Final = 1
"""Steps before and after the present one whose codes are accepted, because clocks differ (RFC 6238, section 5.2)."""

_LONGEST_NAME: Final = 100
_LONGEST_ISSUER: Final = 60

_CODE: Final = re.compile(r"[0-9]{6}")
_BLANKS: Final = re.compile(r"\s")


def step_of(secret: bytes, text: str, now: float) -> int | None:
    """The time step whose code ``text`` is (six digits, perhaps with blanks, as apps show them), at ``now`` (epoch seconds) or a
    step earlier or later; None for another code.

    All three codes are compared, each in constant time.
    """
    from pyotp import TOTP
    from pyotp.utils import strings_equal

    code = _BLANKS.sub("", text)
    if not _CODE.fullmatch(code):
        return None
    totp, present = TOTP(encoded(secret)), int(now) // STEP
    found = [step for step in range(present - WINDOW, present + WINDOW + 1) if strings_equal(code, totp.generate_otp(step))]
    return found[-1] if found else None


def app_uri(secret: bytes, name: str, issuer: str) -> str:
    """The ``otpauth`` URI that an authenticator app reads: ``name`` is the user's, ``issuer`` that of the site.

    Both are cut, so that the URI fits into a QR code (2953 bytes), also if each character takes twelve.
    """
    from pyotp import TOTP

    return TOTP(encoded(secret)).provisioning_uri(name=name[:_LONGEST_NAME], issuer_name=issuer[:_LONGEST_ISSUER])


def encoded(secret: bytes) -> str:
    """``secret`` in base32 (RFC 4648, section 6), which people can type into an app."""
    return base64.b32encode(secret).decode("ascii").rstrip("=")
