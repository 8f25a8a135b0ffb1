"""Judges JWTs that somebody else has issued, and reads users from their claims. Pure (attacks 35, 36 and 40).

The algorithm is the key's, never the header's. The signature is checked before any claim, and only then is said what is wrong
with a token. A token for somebody else (another issuer, another audience) is "not mine": another authenticator may know it.
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Iterator
from typing import Any, Final

import attrs
from jwt import PyJWS, PyJWTError

from perimeter.auth.kinds.remote import names
from perimeter.auth.kinds.remote.memory import Vouched
from perimeter.auth.text import local_part
from perimeter.errors import ExpiredToken, InvalidToken
from perimeter.model import Principal
from perimeter.tokens import strict_json as strictjson
from perimeter.tokens.jwk import ALGORITHMS, Jwk

LEEWAY: Final = 60.0
"""Seconds by which the clocks of two machines may differ, for what is not an expiry."""

MAX_HEADER: Final = 4096

ANY: Final = "*"

_COMPACT: Final = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.[A-Za-z0-9_-]+")

#: where a key may be had, says whoever made the token: a token that says so is up to no good, or meant for others
_REFUSED: Final = ("crit", "b64", "jku", "jwk", "x5u", "x5c")

#: the words for an access token (RFC 9068, section 2.1) or a JWT of unsaid purpose; nothing that is a statement of another kind
_TYPES: Final = frozenset({"", "jwt", "at+jwt", "application/at+jwt", "application/jwt"})

#: Keycloak says in a claim what a token is for; an ID token is for the client alone, the others for Keycloak
_OTHER_PURPOSES: Final = frozenset({"id", "refresh", "offline", "logout", "registrationaccesstoken", "initialaccesstoken"})

_jws = PyJWS(algorithms=list(ALGORITHMS))


@attrs.frozen
class JwtHeader:
    """A token's header, and what its claims say of the issuer; none of it verified."""

    kid: str
    algorithm: str
    members: dict[str, Any] = attrs.field(repr=False)
    issuer: object = None


@attrs.frozen
class Expectations:
    """What a token must be, and how its claims become a user.

    ``issuers`` and ``audiences`` hold `ANY` alone where it does not matter. Claims are paths with dots, in which ``*`` stands
    for every member. ``service`` is what the scopes are filed under.
    """

    realm: str
    service: str
    issuers: frozenset[str]
    audiences: frozenset[str]
    username_claims: tuple[str, ...] = ("preferred_username", "sub")
    roles_claims: tuple[str, ...] = ("realm_access.roles", "entitlements", "resource_access.*.roles")
    scope_claim: str = "scope"
    attribute_claims: tuple[str, ...] = (ANY,)
    domain: str = ""


def _object(octets: bytes) -> dict[str, Any] | None:
    try:
        value = strictjson.decode(octets)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _unbase64(segment: str) -> bytes:
    return base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))


def read_header(token: str) -> JwtHeader | None:
    """The header of a token; None for what is no signed JWT with the name of a key."""
    match = _COMPACT.fullmatch(token)
    if match is None or len(match[1]) > MAX_HEADER:
        return None
    try:
        header, claims = _object(_unbase64(match[1])), _object(_unbase64(match[2]))
    except ValueError:
        return None
    if header is None or claims is None:
        return None
    kid, algorithm = header.get("kid"), header.get("alg")
    if not isinstance(kid, str) or not isinstance(algorithm, str) or not kid:
        return None
    return JwtHeader(kid, algorithm, header, claims.get("iss"))


def judge(token: str, header: JwtHeader, key: Jwk, expected: Expectations, now: float) -> Vouched | None:
    """Who holds ``token``, which is said to be signed with ``key``; None where it is for somebody else.

    Raises `InvalidToken`, or `ExpiredToken` for one that was good once.
    """
    claims = _verified(token, header, key)
    if ANY not in expected.issuers and claims.get("iss") not in expected.issuers:
        return None
    if ANY not in expected.audiences and expected.audiences.isdisjoint(_audience(claims)):
        return None
    purpose = claims.get("typ")
    if isinstance(purpose, str) and purpose.lower() in _OTHER_PURPOSES:
        raise InvalidToken("not an access token")
    for name in ("iat", "nbf"):
        if name in claims and _time(claims, name) > now + LEEWAY:
            raise InvalidToken(f"{name} is in the future")
    expires = _time(claims, "exp")
    if now >= expires:
        raise ExpiredToken("expired")
    try:
        return Vouched(_principal(claims, expected), expires)
    except names.Unfit as error:
        raise InvalidToken(str(error)) from None


def _verified(token: str, header: JwtHeader, key: Jwk) -> dict[str, Any]:
    for name in _REFUSED:
        if name in header.members:
            raise InvalidToken(f"its header has {name}")
    typ = header.members.get("typ", "")
    if not isinstance(typ, str) or typ.lower() not in _TYPES:
        raise InvalidToken("its header names another type than an access token's")
    if header.algorithm != key.algorithm:
        raise InvalidToken("names another algorithm than its key's")
    try:
        payload: bytes = _jws.decode(token, key.public, algorithms=[key.algorithm])
    except (PyJWTError, ValueError, TypeError):
        raise InvalidToken("the signature is wrong") from None
    claims = _object(payload)
    if claims is None:
        raise InvalidToken("its claims are not a JSON object")
    return claims


def _audience(claims: dict[str, Any]) -> frozenset[str]:
    value = claims.get("aud")
    listed = value if isinstance(value, list) else [value]
    return frozenset(one for one in listed if isinstance(one, str))


def _time(claims: dict[str, Any], name: str) -> float:
    value: Any = claims.get(name)
    if type(value) not in (int, float) or not math.isfinite(value) or not 0 <= value < 2**53:
        raise InvalidToken(f"{name} is absent or not a time")
    return float(value)


# -- from claims to a user


def _principal(claims: dict[str, Any], expected: Expectations) -> Principal:
    roles: dict[str, None] = {}
    for path in expected.roles_claims:
        for value in _at(claims, path):
            roles.update(dict.fromkeys(names.roles(value, path)))
    return Principal(
        _username(claims, expected),
        expected.realm,
        tuple(roles),
        attributes=_attributes(claims, expected),
        scopes=_scopes(claims, expected),
    )


def _at(claims: dict[str, Any], path: str) -> Iterator[Any]:
    """The values at a path, those that are there. A claim whose own name has dots in it (a URL, say) is found too."""
    if path in claims:
        yield claims[path]
        return
    found: list[Any] = [claims]
    for word in path.split("."):
        objects = [value for value in found if isinstance(value, dict)]
        found = [item for value in objects for name, item in value.items() if word in (ANY, name)]
    yield from found


def _username(claims: dict[str, Any], expected: Expectations) -> str:
    for path in expected.username_claims:
        for value in _at(claims, path):
            name = names.username(value, path)
            # Anybody can say that an address is his; whether it is, the issuer says here.
            if path == "email" and claims.get("email_verified", True) is not True:
                raise names.Unfit("email was not verified by the issuer")
            if not expected.domain:
                return name
            local = local_part(name, expected.domain)
            if local is None:
                raise names.Unfit(f"{path} is of another domain")
            return local
    raise names.Unfit("no claim names the user")


def _scopes(claims: dict[str, Any], expected: Expectations) -> dict[str, tuple[str, ...]]:
    value = claims.get(expected.scope_claim)
    if value is None:
        return {}
    words = value.split() if isinstance(value, str) else value
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise names.Unfit(f"{expected.scope_claim} is no list of scopes")
    return {expected.service: tuple(dict.fromkeys(words))}


def _attributes(claims: dict[str, Any], expected: Expectations) -> dict[str, str]:
    wanted = expected.attribute_claims
    if ANY in wanted:
        used = {path.partition(".")[0] for path in expected.roles_claims} | {expected.scope_claim, "sub"}
        wanted = tuple(name for name in claims if name not in used)
    found = {name: names.attribute(claims[name]) for name in wanted if name in claims}
    return {name: text for name, text in found.items() if text is not None}
