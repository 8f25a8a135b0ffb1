"""Judges access tokens: everything that is not exactly a token which this gateway issued is refused (attacks 35 and 36).

Its size is bounded before anything is decoded; the key is found by its name. The envelope is `perimeter.tokens.jwt`'s,
remembering verdicts is `perimeter.tokens.verdict`'s, and revocation is `perimeter.state`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from perimeter.config.site.token import TokenSettings
from perimeter.errors import ForeignToken, InvalidToken, UnknownKey
from perimeter.model import Grant, Principal
from perimeter.tokens.format import ACCESS_TYPE, KID, MAX_HEADER, MAX_TOKEN, EpochClock
from perimeter.tokens.jwt import check_times, parse
from perimeter.tokens.keyring import Keyring
from perimeter.tokens.verdict import Verdict

#: An own token has these header members and no others, so crit, b64, jku, jwk, x5u and x5c need no rule of their own.
_HEADER: Final = {"alg", "kid", "typ"}


def _never(grant: Grant, realm: str, username: str) -> bool:
    return False


class TokenVerifier:
    """Finds the user of an access token. Synchronous, and costs up to some 100 µs: results are worth remembering.

    ``revoked`` says by grant, realm and user name whether a token was revoked.
    """

    def __init__(
        self, keyring: Keyring, settings: TokenSettings, clock: EpochClock, revoked: Callable[[Grant, str, str], bool] = _never
    ) -> None:
        self._keyring = keyring
        self._settings = settings
        self._clock = clock
        self._revoked = revoked

    def verify(self, token: str) -> Verdict:
        """The verdict on an access token.

        Raises `InvalidToken`, `ExpiredToken` for a token that was good once, `UnknownKey` if its key is not known, or
        `ForeignToken` for one of another issuer.
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
            raise ForeignToken("longer than any token of this gateway")
        jwt = parse(token, MAX_HEADER, ForeignToken)
        kid, typ = _header(jwt.header)
        key = self._keyring.verification_key(kid)
        if key is None:
            raise UnknownKey("signed with a key that is unknown or too old")
        return self._judge(typ, jwt.claims(key.key, key.algorithm))

    def _judge(self, typ: str, claims: dict[str, Any]) -> Mapping[str, Any]:
        """Whether claims whose signature is good are an access token's, for this gateway, for now."""
        if typ != ACCESS_TYPE:
            raise InvalidToken("not an access token: an assertion, which upstreams get, or of an unknown type")
        if claims.get("iss") != self._settings.issuer:
            raise InvalidToken("of another issuer")
        if claims.get("aud") != self._settings.audience:
            raise InvalidToken("for another audience")
        _check_identity(claims)
        check_times(claims, self._clock.seconds(), own=True)
        return claims


def _header(header: dict[str, Any]) -> tuple[str, str]:
    """``kid`` and ``typ`` of a header with ``alg`` and these alone, all of them strings."""
    if header.keys() != _HEADER or not all(isinstance(value, str) for value in header.values()):
        raise ForeignToken("its header has other members than the gateway's tokens have")
    kid: str = header["kid"]
    if not KID.fullmatch(kid):
        raise ForeignToken("its kid is not the name of a key")
    return kid, header["typ"]


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
