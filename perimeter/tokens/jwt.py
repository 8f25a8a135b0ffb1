"""The envelope of a signed JWT (RFC 7519; compact form, RFC 7515, section 7.1), the same for own tokens and other issuers'.

The rules hold for every JWT: bounded header, one spelling in base64url, strict JSON, the algorithm of the key and never that of
the header, the signature before any claim, and the expiry last: "expired" is only said of a token that was good once. What else
a token must be is for `perimeter.tokens.verifier` and for the judge of each kind of authenticator to say.
"""

from __future__ import annotations

import base64
import re
from typing import Any, Final

import attrs
from jwt import PyJWS, PyJWTError

from perimeter.errors import ExpiredToken, InvalidToken, PerimeterError
from perimeter.strict_json import decode_object
from perimeter.tokens import format, jwk

LEEWAY: Final = 60.0
"""Seconds by which the clocks of two machines may differ. Not granted to an expiry."""

# Without padding, which PyJWT would accept: one token could be written in several ways.
_COMPACT: Final = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.[A-Za-z0-9_-]+")

_jws = PyJWS(algorithms=list(dict.fromkeys((*format.ALGORITHMS, *jwk.ALGORITHMS))))


class NotAJwt(PerimeterError):
    """The text is not a JWT; the message says why."""


@attrs.frozen(eq=False)
class Jwt:
    """A token whose header was read. Nothing of it is verified before `claims` returns."""

    token: str = attrs.field(repr=False)
    header: dict[str, Any]
    _payload: str = attrs.field(repr=False)

    def unverified(self) -> dict[str, Any]:
        """The claims before any verification, to find out whose token it may be. Raises `NotAJwt`."""
        return _object(self._payload, "claims", NotAJwt)

    def claims(self, key: Any, algorithm: str) -> dict[str, Any]:
        """The claims, after the signature was verified with ``key`` and its ``algorithm``. Raises `InvalidToken`."""
        if self.header.get("alg") != algorithm:
            raise InvalidToken("names another algorithm than its key's")
        try:
            payload: bytes = _jws.decode(self.token, key, algorithms=[algorithm])
        except (PyJWTError, ValueError, TypeError):
            raise InvalidToken("the signature is wrong") from None
        try:
            return decode_object(payload)
        except ValueError as error:
            raise InvalidToken(f"its claims cannot be read as a JSON object: {error}") from None


def parse(token: str, max_header: int, otherwise: type[PerimeterError] = NotAJwt) -> Jwt:
    """A JWT in compact form, with a header of at most ``max_header`` characters. Raises ``otherwise`` if it is not one."""
    match = _COMPACT.fullmatch(token)
    if match is None:
        raise otherwise("not a JWT")
    if len(match[1]) > max_header:
        raise otherwise("its header is longer than that of any token here")
    return Jwt(token, _object(match[1], "header", otherwise), match[2])


def _object(segment: str, what: str, otherwise: type[PerimeterError]) -> dict[str, Any]:
    try:
        return decode_object(base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4)))
    except ValueError as error:
        raise otherwise(f"its {what} cannot be read as a JSON object: {error}") from None


def check_times(claims: dict[str, Any], now: float, *, own: bool = False) -> float:
    """The expiry of verified claims. Tokens of the gateway's ``own`` have ``iat`` too, and whole seconds.

    Raises `InvalidToken`, or `ExpiredToken` (checked last) for a token that was good once.
    """
    expires = _time(claims, "exp", own)
    for name, required in (("iat", own), ("nbf", False)):
        if (required or name in claims) and _time(claims, name, own) > now + LEEWAY:
            raise InvalidToken(f"{name} is in the future")
    if now >= expires:
        raise ExpiredToken("expired")
    return expires


def _time(claims: dict[str, Any], name: str, whole: bool) -> float:
    value: Any = claims.get(name)
    if type(value) not in ((int,) if whole else (int, float)) or not 0 <= value < 2**53:
        raise InvalidToken(f"{name} is absent or not a time")
    return float(value)
