"""Judges access tokens. Everything that is not exactly a token which this gateway issued is refused (attacks 35 and 36).

The order matters: bounded in size before anything is decoded; the key found by its name, and the algorithm by the key,
never by the header; the signature before any claim; the expiry last, so that "expired" is only ever said of a token that was
ours. Remembering verdicts is `perimeter.tokens.verdict`'s, what is revoked `perimeter.state`'s.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from jwt import PyJWS, PyJWTError

from perimeter.config.site.token import TokenSettings
from perimeter.errors import ExpiredToken, ForeignToken, InvalidToken
from perimeter.model import Grant, Principal
from perimeter.tokens import strict_json as strictjson
from perimeter.tokens.format import ACCESS_TYPE, ALGORITHMS, KID, LEEWAY, MAX_HEADER, MAX_TOKEN, Clock
from perimeter.tokens.keyring import Keyring
from perimeter.tokens.verdict import Verdict

#: no padding, unlike PyJWT, which would let one token be written in several ways
_COMPACT: Final = re.compile(r"([A-Za-z0-9_-]+)\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")

#: a token of ours has these and nothing else, so crit, b64, jku, jwk, x5u and x5c need no rule of their own
_HEADER: Final = {"alg", "kid", "typ"}

_jws = PyJWS(algorithms=list(ALGORITHMS))


def _never(grant: Grant, realm: str, username: str) -> bool:
    return False


class TokenVerifier:
    """Says who holds an access token. Synchronous, and costs up to some 100 µs: results are worth remembering.

    ``revoked`` tells by grant, realm and user name whether a token is good no more.
    """

    def __init__(
        self, keyring: Keyring, settings: TokenSettings, clock: Clock, revoked: Callable[[Grant, str, str], bool] = _never
    ) -> None:
        self._keyring = keyring
        self._settings = settings
        self._clock = clock
        self._revoked = revoked

    def verify(self, token: str) -> Verdict:
        """The verdict on an access token.

        Raises `InvalidToken`, or `ExpiredToken` for one that was good once, or `ForeignToken` for one that was never ours.
        """
        claims = self.claims(token)
        grant = Grant(claims["jti"], float(claims["iat"]), float(claims["exp"]))
        if self._revoked(grant, claims["realm"], claims["username"]):
            raise InvalidToken("revoked")
        principal = Principal(
            username=claims["username"],
            realm=claims["realm"],
            roles=tuple(claims["roles"]),
            authenticator="token",
            attributes=claims["attributes"],
            scopes={service: tuple(scopes) for service, scopes in claims["scopes"].items()},
            grant=grant,
        )
        return Verdict(principal, float(claims["exp"]))

    def claims(self, token: str) -> Mapping[str, Any]:
        """The claims of an access token, after the same judgement as `verify` makes."""
        if len(token) > MAX_TOKEN:
            raise ForeignToken("longer than any token of ours")
        match = _COMPACT.fullmatch(token)
        if match is None:
            raise ForeignToken("not a JWT")
        kid, algorithm, typ = _header(match[1])
        key = self._keyring.verification_key(kid)
        if key is None:
            raise ForeignToken("signed with a key that is unknown or too old")
        if algorithm != key.algorithm:
            raise InvalidToken("names another algorithm than its key's")
        try:
            payload: bytes = _jws.decode(token, key.key, algorithms=[key.algorithm])
        except (PyJWTError, ValueError, TypeError):
            raise InvalidToken("the signature is wrong") from None
        return self._judge(typ, _object(payload, "claims"))

    def _judge(self, typ: str, claims: dict[str, Any]) -> Mapping[str, Any]:
        """Whether claims whose signature is good are an access token's, for this gateway, for now."""
        if typ != ACCESS_TYPE:
            raise InvalidToken("not an access token: an assertion, which upstreams get, or of an unknown type")
        if claims.get("iss") != self._settings.issuer:
            raise InvalidToken("of another issuer")
        if claims.get("aud") != self._settings.audience:
            raise InvalidToken("for another audience")
        _check_identity(claims)
        now = self._clock.seconds()
        expires = _time(claims, "exp")
        if _time(claims, "iat") > now + LEEWAY:
            raise InvalidToken("issued in the future")
        if "nbf" in claims and _time(claims, "nbf") > now + LEEWAY:
            raise InvalidToken("not valid yet")
        if now >= expires:
            raise ExpiredToken("expired")
        return claims


def _header(segment: str) -> tuple[str, str, str]:
    """``kid``, ``alg`` and ``typ``, all of them strings, and nothing else beside them."""
    if len(segment) > MAX_HEADER:
        raise ForeignToken("its header is longer than any of ours")
    try:
        decoded = base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
    except ValueError:
        raise ForeignToken("its header is not base64url") from None
    try:
        header = _object(decoded, "header")
    except InvalidToken as error:
        raise ForeignToken(error.detail) from None
    if header.keys() != _HEADER or not all(isinstance(value, str) for value in header.values()):
        raise ForeignToken("its header has other members than ours have")
    kid: str = header["kid"]
    if not KID.fullmatch(kid):
        raise ForeignToken("its kid is not a name of a key")
    return kid, header["alg"], header["typ"]


def _object(text: bytes, what: str) -> dict[str, Any]:
    """A JSON object whose members are named once each (RFC 7515, section 4; RFC 7519, section 4)."""
    try:
        value = strictjson.decode(text)
    except (ValueError, RecursionError):
        raise InvalidToken(f"its {what} cannot be read as JSON") from None
    if not isinstance(value, dict):
        raise InvalidToken(f"its {what} is not a JSON object")
    return value


def _time(claims: dict[str, Any], name: str) -> int:
    value = claims.get(name)
    if type(value) is not int or not 0 <= value < 2**53:
        raise InvalidToken(f"{name} is absent or not a time")
    return value


def _strings(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _check_identity(claims: dict[str, Any]) -> None:
    for name in ("username", "realm", "sub", "jti"):
        if not isinstance(claims.get(name), str) or not claims[name]:
            raise InvalidToken(f"{name} is absent or not a string")
    if not _strings(claims.get("roles")):
        raise InvalidToken("roles are not a list of strings")
    scopes, attributes = claims.get("scopes"), claims.get("attributes")
    if not isinstance(scopes, dict) or not all(_strings(value) for value in scopes.values()):
        raise InvalidToken("scopes are not lists of strings")
    if not isinstance(attributes, dict) or not all(isinstance(value, str) for value in attributes.values()):
        raise InvalidToken("attributes are not strings")
