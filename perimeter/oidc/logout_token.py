"""Judges logout tokens (OpenID Connect Back-Channel Logout 1.0, section 2.6). Pure (attack O6).

The envelope and its signature are those of every JWT. What distinguishes a logout token from an ID token of the same provider is
the event in it, and that it has no nonce.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from perimeter.auth.kinds.remote import names
from perimeter.auth.kinds.remote.judge import JwtHeader, audience, verified
from perimeter.errors import InvalidToken
from perimeter.oidc.claims import ClaimRules, subject_of
from perimeter.oidc.idtoken import Expected
from perimeter.plugin.redirect import LoggedOut
from perimeter.tokens.jwk import Jwk
from perimeter.tokens.jwt import LEEWAY, check_times

MAX_AGE: Final = 300.0
"""Seconds since ``iat`` after which a logout token is refused."""

MAX_ID: Final = 255
"""Characters of ``sub``, ``sid`` and ``jti``."""

EVENT: Final = "http://schemas.openid.net/event/backchannel-logout"

_TYPES: Final = frozenset({"", "logout+jwt", "application/logout+jwt"})

#: what Keycloak writes into the claim ``typ`` of a logout token
_PURPOSE: Final = "logout"


def judge_logout_token(header: JwtHeader, keys: Sequence[Jwk], expected: Expected, rules: ClaimRules, now: float) -> LoggedOut:
    """What the logout token with this header says. Raises `InvalidToken`.

    ``keys``, at least one, are those that can have signed it. ``rules`` say which claims identify a user. ``now`` is in epoch
    seconds.
    """
    claims = verified(header.jwt, keys, _TYPES)
    if claims.get("iss") != expected.issuer:
        raise InvalidToken("the logout token is from another issuer")
    named = audience(claims)
    if expected.client_id not in named or not named <= expected.audiences | {expected.client_id}:
        raise InvalidToken("the logout token is for another client")
    _check_purpose(claims)
    subject, sid, jti = (_id(claims, name) for name in ("sub", "sid", "jti"))
    if subject and rules.identity_claims != ("sub",):
        subject = _identity(claims, rules)
    if not (subject or sid):
        raise InvalidToken("the logout token names neither a user nor a session")
    if not jti:
        raise InvalidToken("the logout token has no jti")
    return LoggedOut(subject, sid, jti, _check_times(claims, now))


def _check_purpose(claims: Mapping[str, Any]) -> None:
    events = claims.get("events")
    if not isinstance(events, dict) or not isinstance(events.get(EVENT), dict):
        raise InvalidToken("the token in the place of a logout token has no event of a logout")
    if "nonce" in claims:
        raise InvalidToken("the token in the place of a logout token has a nonce")
    purpose = claims.get("typ", _PURPOSE)
    if not isinstance(purpose, str) or purpose.lower() != _PURPOSE:
        raise InvalidToken("the token in the place of a logout token is for another purpose")


def _identity(claims: Mapping[str, Any], rules: ClaimRules) -> str:
    """The user, where other claims than ``sub`` identify them; "" if these are not there."""
    try:
        return subject_of(claims, rules)
    except names.Unfit:
        return ""


def _id(claims: Mapping[str, Any], name: str) -> str:
    """The claim ``name``; "" if it is not there."""
    value = claims.get(name)
    if value is None:
        return ""
    if not isinstance(value, str) or not 0 < len(value) <= MAX_ID:
        raise InvalidToken(f"{name} of the logout token is no text of up to {MAX_ID} characters")
    return value


def _check_times(claims: dict[str, Any], now: float) -> float:
    """Check the times; ``exp`` may be absent. Return when the token is too old."""
    if "iat" not in claims:
        raise InvalidToken("the logout token has no iat")
    check_times({"exp": now + 1, **claims}, now)
    until = float(claims["iat"]) + MAX_AGE
    if now >= until:
        raise InvalidToken("iat of the logout token is too long ago")
    return until + LEEWAY
