"""Judges JWTs of other issuers, and reads users from their claims. Pure (attacks 35, 36 and 40).

The envelope is `perimeter.tokens.jwt`'s. A token of another issuer, or for another audience, is "not mine": another authenticator
may know it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence, Set
from typing import Any, Final

import attrs

from perimeter.auth.kinds.remote import names
from perimeter.auth.kinds.remote.memory import Vouched
from perimeter.auth.text import local_part
from perimeter.errors import InvalidToken
from perimeter.model import Principal
from perimeter.tokens.jwk import Jwk
from perimeter.tokens.jwt import Jwt, NotAJwt, check_times, parse

MAX_HEADER: Final = 4096

ANY: Final = "*"

#: members that change what is signed, or must be understood (RFC 7515, section 4.1.11; RFC 7797, section 3). Those that bring a
#: key or say where one is (jku, jwk, x5u, x5c) are ignored: keys come from ``cert_uri`` alone.
_REFUSED: Final = ("crit", "b64")

#: the types of an access token (RFC 9068, section 2.1) and of a JWT without a stated purpose
ACCESS_TYPES: Final = frozenset({"", "jwt", "at+jwt", "application/at+jwt", "application/jwt"})

#: those of them that nothing but an access token has
_STATED_TYPES: Final = frozenset({"at+jwt", "application/at+jwt"})

#: hashes of what was issued together with an ID token (OpenID Connect Core 1.0, section 3.3.2.11)
_HASHES: Final = frozenset({"at_hash", "c_hash"})

BINDING: Final = "cnf"
"""The claim with the key or certificate of which a client has to give a proof (RFC 7800; RFC 8705 and RFC 9449)."""

#: purposes that Keycloak states in a claim: an ID token is for the client alone, the others are for Keycloak
_OTHER_PURPOSES: Final = frozenset({"id", "refresh", "offline", "logout", "registrationaccesstoken", "initialaccesstoken"})


@attrs.frozen
class JwtHeader:
    """What decides which key may verify a token: ``kid`` (None without) and ``algorithm`` of its header, and the issuer in its
    claims. Nothing of it is verified."""

    kid: str | None
    algorithm: str
    jwt: Jwt = attrs.field(repr=False)
    issuer: object = None


@attrs.frozen
class Expectations:
    """The requirements for a token, and how its claims become a user.

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


def read_header(token: str) -> JwtHeader | None:
    """The header of a token; None for a text that is not a signed JWT."""
    try:
        jwt = parse(token, MAX_HEADER)
        claims = jwt.unverified()
    except NotAJwt:
        return None
    kid, algorithm = jwt.header.get("kid"), jwt.header.get("alg")
    if not isinstance(algorithm, str) or ("kid" in jwt.header and not (isinstance(kid, str) and kid)):
        return None
    return JwtHeader(kid, algorithm, jwt, claims.get("iss"))


def judge(header: JwtHeader, keys: Sequence[Jwk], expected: Expectations, now: float) -> Vouched | None:
    """Who holds the token with this header; None if it is for another audience or issuer.

    ``keys``, at least one, are those that can have signed it. Each is tried.
    Raises `InvalidToken`, or `ExpiredToken` for a token that was good once.
    """
    claims = access_claims(header, keys, expected.issuers, expected.audiences, now)
    if claims is None:
        return None
    try:
        return Vouched(principal_of(claims, expected), float(claims["exp"]))
    except names.Unfit as error:
        raise InvalidToken(str(error)) from None


def access_claims(
    header: JwtHeader, keys: Sequence[Jwk], issuers: Set[str], audiences: Set[str], now: float
) -> dict[str, Any] | None:
    """The claims of the access token with this header; None if it is for another audience or issuer. Raises like `judge`."""
    claims = verified(header.jwt, keys, ACCESS_TYPES)
    if not meant_for(claims, issuers, audiences):
        return None
    check_purpose(header.jwt, claims)
    check_times(claims, now)
    return claims


def verified(jwt: Jwt, keys: Sequence[Jwk], types: Collection[str]) -> dict[str, Any]:
    """The claims, after one of ``keys`` (at least one) has verified the signature. Nothing else of them is checked.

    ``types`` are the accepted values of ``typ`` in the header, in lower case; "" stands for a header without it. Raises
    `InvalidToken`.
    """
    for name in _REFUSED:
        if name in jwt.header:
            raise InvalidToken(f"its header has {name}")
    typ = jwt.header.get("typ", "")
    if not isinstance(typ, str) or typ.lower() not in types:
        raise InvalidToken("its header names the type of a token for another purpose")
    for key in keys[:-1]:
        try:
            return jwt.claims(key.public, key.algorithm)
        except InvalidToken:
            continue
    return jwt.claims(keys[-1].public, keys[-1].algorithm)


def meant_for(claims: dict[str, Any], issuers: Set[str], audiences: Set[str]) -> bool:
    """Whether verified claims are of one of ``issuers``, and for one of ``audiences``; both may be `ANY` alone."""
    if ANY not in issuers and claims.get("iss") not in issuers:
        return False
    return ANY in audiences or not audience(claims).isdisjoint(audiences)


def check_purpose(jwt: Jwt, claims: dict[str, Any]) -> None:
    """Raise `InvalidToken` if a verified JWT is not an access token that its bearer may use (attack O15).

    An ID token is for the client alone, also if that client is the gateway. It has hashes of what came with it, and the nonce of
    the sign-in, which Keycloak 22 and earlier wrote into access tokens, too.
    """
    if has_other_purpose(claims) or not _HASHES.isdisjoint(claims) or ("nonce" in claims and not is_stated(jwt, claims)):
        raise InvalidToken("not an access token")
    if BINDING in claims:
        raise InvalidToken("it is bound to a key, of which the request brings no proof")


def is_stated(jwt: Jwt, claims: dict[str, Any]) -> bool:
    """Whether a verified JWT says that it is an access token (RFC 9068, section 2.1, or as Keycloak does)."""
    purpose = claims.get("typ")
    typ: str = jwt.header.get("typ", "")  # `verified` has found it to be a text
    return typ.lower() in _STATED_TYPES or (isinstance(purpose, str) and purpose.lower() == "bearer")


def has_other_purpose(claims: dict[str, Any]) -> bool:
    """Whether claims say that they are not an access token's, but a refresh token's, for example, or a logout token's."""
    purpose = claims.get("typ")
    return "events" in claims or (isinstance(purpose, str) and purpose.lower() in _OTHER_PURPOSES)


def audience(claims: Mapping[str, Any]) -> frozenset[str]:
    """The audience of a token: one text, or a list of them (RFC 7519, section 4.1.3)."""
    value = claims.get("aud")
    listed = value if isinstance(value, list) else [value]
    return frozenset(one for one in listed if isinstance(one, str))


# -- from claims to a user


def principal_of(claims: dict[str, Any], expected: Expectations) -> Principal:
    """The user whom verified claims describe. Raises `names.Unfit`."""
    roles: dict[str, None] = {}
    for path in expected.roles_claims:
        for value in values_at(claims, path):
            roles.update(dict.fromkeys(names.roles(value, path)))
    return Principal(
        _username(claims, expected),
        expected.realm,
        tuple(roles),
        attributes=_attributes(claims, expected),
        scopes=_scopes(claims, expected),
    )


def values_at(claims: Mapping[str, Any], path: str) -> Iterator[Any]:
    """The values at a path. A claim whose own name contains dots (such as a URL) is found too."""
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
        for value in values_at(claims, path):
            name = names.username(value, path)
            # A user can enter any address; only the issuer can confirm it.
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
