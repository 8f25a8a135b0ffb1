"""Judges ID tokens (OpenID Connect Core 1.0, sections 3.1.3.7 and 12.2). Pure (attack O3).

The envelope and its signature are those of every JWT (`perimeter.tokens.jwt`, `perimeter.auth.kinds.remote.judge.verified`): the
algorithm is the key's, and no header brings a key. An ID token is for the gateway as a client alone, and is no credential.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs

from perimeter.auth.kinds.remote.judge import JwtHeader, audience, verified
from perimeter.errors import InvalidToken
from perimeter.oidc.metadata import TENANT
from perimeter.tokens.jwk import Jwk
from perimeter.tokens.jwt import LEEWAY, check_times

MAX_AGE: Final = 600.0
"""Seconds since ``iat`` after which an ID token is not that of a sign-in that ends now."""

MAX_SUBJECT: Final = 255
"""Characters of a subject (section 2)."""

_TYPES: Final = frozenset({"", "jwt", "application/jwt"})

#: what Keycloak writes into the claim ``typ`` of an ID token; its other tokens have other words there
_PURPOSE: Final = "id"

#: algorithm of a token's signature → that of the hashes in its claims (section 3.1.3.6; for EdDSA that of Ed25519)
_HASHES: Final = {"256": hashlib.sha256, "384": hashlib.sha384, "512": hashlib.sha512, "DSA": hashlib.sha512}


@attrs.frozen
class Expected:
    """What an ID token must say, whatever sign-in it belongs to.

    ``issuer`` may hold `TENANT`; ``tenants`` are those that may stand there. ``audiences`` may be in ``aud`` beside
    ``client_id``.
    """

    issuer: str
    client_id: str
    audiences: frozenset[str] = frozenset()
    tenants: frozenset[str] = frozenset()


@attrs.frozen
class SignIn:
    """What the ID token of one sign-in must say.

    ``nonce`` is that of the authorization request. With ``fresh``, the user must have authenticated since that time (epoch
    seconds). ``code`` and ``access_token`` are what came with the ID token; "" for none.
    """

    nonce: str = attrs.field(repr=False)
    fresh: float | None = None
    code: str = attrs.field(default="", repr=False)
    access_token: str = attrs.field(default="", repr=False)


@attrs.frozen
class IdToken:
    """A good ID token. ``issuer`` is that of the token, without `TENANT`. ``authenticated`` is ``auth_time``, or ``iat``.

    ``nonce`` is that of the sign-in.
    """

    issuer: str
    subject: str
    authenticated: float
    nonce: str = attrs.field(repr=False)
    claims: Mapping[str, Any] = attrs.field(repr=False)

    @property
    def sid(self) -> str:
        """The provider's session of the user (OpenID Connect Back-Channel Logout 1.0, section 2.1), or ""."""
        sid = self.claims.get("sid", "")
        return sid if isinstance(sid, str) else ""


def judge_id_token(header: JwtHeader, keys: Sequence[Jwk], expected: Expected, sign_in: SignIn, now: float) -> IdToken:
    """The ID token with this header, which came in the answer to a token request. Raises `InvalidToken`.

    ``keys``, at least one, are those that can have signed it. ``now`` is in epoch seconds.
    """
    claims = verified(header.jwt, keys, _TYPES)
    issued = _check_all(claims, header.algorithm, expected, sign_in.access_token, now)
    if not _same(claims.get("nonce"), sign_in.nonce):
        raise InvalidToken("the nonce of the ID token is not that of this sign-in")
    if "c_hash" in claims and not _same(claims["c_hash"], _half_hash(sign_in.code, header.algorithm)):
        raise InvalidToken("c_hash of the ID token does not fit the code")
    authenticated = _authenticated(claims, now)
    if sign_in.fresh is not None and (authenticated is None or authenticated < sign_in.fresh - LEEWAY):
        raise InvalidToken("the ID token does not say that the user has authenticated anew (auth_time)")
    return IdToken(claims["iss"], claims["sub"], issued if authenticated is None else authenticated, sign_in.nonce, claims)


def judge_renewed(
    header: JwtHeader, keys: Sequence[Jwk], expected: Expected, before: IdToken, access_token: str, now: float
) -> IdToken:
    """The ID token that came with a refresh, for the sign-in of which ``before`` is the ID token. Raises `InvalidToken`.

    It needs no nonce, but must not have another (section 12.2). The time of the authentication is that of ``before``.
    """
    claims = verified(header.jwt, keys, _TYPES)
    _check_all(claims, header.algorithm, expected, access_token, now)
    if (claims["iss"], claims["sub"]) != (before.issuer, before.subject):
        raise InvalidToken("the ID token of a refresh is for another user")
    if "nonce" in claims and not _same(claims["nonce"], before.nonce):
        raise InvalidToken("the nonce of the ID token is not that of this session's sign-in")
    return IdToken(before.issuer, before.subject, before.authenticated, before.nonce, claims)


def _check_all(claims: dict[str, Any], algorithm: str, expected: Expected, access_token: str, now: float) -> float:
    """Check what does not depend on the sign-in. Return ``iat``."""
    if not is_of_issuer(claims, expected):
        raise InvalidToken("the ID token is from another issuer")
    _check_audience(claims, expected)
    purpose = claims.get("typ", _PURPOSE)
    if not isinstance(purpose, str) or purpose.lower() != _PURPOSE or "events" in claims:
        raise InvalidToken("the token in the place of the ID token is for another purpose")
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= MAX_SUBJECT or not (subject.isascii() and subject.isprintable()):
        raise InvalidToken("the ID token names no subject")
    if "at_hash" in claims and not _same(claims["at_hash"], _half_hash(access_token, algorithm)):
        raise InvalidToken("at_hash of the ID token does not fit the access token")
    check_times(claims, now)
    issued: Any = claims.get("iat")  # check_times has refused what is not a time
    if issued is None or issued < now - MAX_AGE:
        raise InvalidToken("iat of the ID token is absent or too long ago")
    return float(issued)


def is_of_issuer(claims: Mapping[str, Any], expected: Expected) -> bool:
    """Whether claims are of the issuer of the metadata, or with `TENANT` of their own tenant there, which must be listed."""
    if TENANT not in expected.issuer:
        return bool(claims.get("iss") == expected.issuer)
    tenant = claims.get("tid")
    if not isinstance(tenant, str) or tenant not in expected.tenants:
        return False
    return bool(claims.get("iss") == expected.issuer.replace(TENANT, tenant))


def _check_audience(claims: Mapping[str, Any], expected: Expected) -> None:
    """``aud`` names the gateway, and no other client that the configuration does not list; ``azp`` is the gateway."""
    listed = claims.get("aud")
    named = audience(claims)
    if expected.client_id not in named or (isinstance(listed, list) and not all(isinstance(one, str) for one in listed)):
        raise InvalidToken("the ID token is for another client")
    if not named <= expected.audiences | {expected.client_id}:
        raise InvalidToken("the ID token is also for others than this client")
    if claims.get("azp", expected.client_id) != expected.client_id:
        raise InvalidToken("the ID token was made for another client (azp)")


def _authenticated(claims: Mapping[str, Any], now: float) -> float | None:
    value = claims.get("auth_time")
    if value is None:
        return None
    if type(value) not in (int, float) or not 0 <= value <= now + LEEWAY:
        raise InvalidToken("auth_time of the ID token is no time in the past")
    return float(value)


def _half_hash(text: str, algorithm: str) -> str:
    """The left half of the hash of ``text``, in base64url (section 3.1.3.6)."""
    digest = _HASHES[algorithm[-3:]](text.encode()).digest()
    return base64.urlsafe_b64encode(digest[: len(digest) // 2]).rstrip(b"=").decode("ascii")


def _same(value: object, expected: str) -> bool:
    """Whether ``value`` is the text ``expected``, in constant time."""
    return isinstance(value, str) and hmac.compare_digest(value.encode("utf-8", "surrogatepass"), expected.encode())
