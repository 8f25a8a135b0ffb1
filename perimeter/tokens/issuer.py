"""Signs access tokens for clients and assertions for upstreams. Its callers decide who gets one."""

from __future__ import annotations

import json
import math
import secrets
from collections.abc import Callable
from typing import Any

import attrs
from jwt import PyJWS

from perimeter.config.site.token import TokenSettings
from perimeter.errors import InternalError
from perimeter.model import Grant, Principal
from perimeter.tokens.format import ACCESS_TYPE, ASSERTION_TYPE, MAX_TOKEN, UPSTREAM_AUDIENCE, EpochClock
from perimeter.tokens.keyring import Keyring

_jws = PyJWS()


@attrs.frozen
class IssuedToken:
    """An access token and its lifetime in whole seconds."""

    access_token: str = attrs.field(repr=False)
    expires_in: int


def _good(grant: Grant) -> None:
    """For a gateway that knows all revocations."""


class TokenIssuer:
    """Signs with the current key of the keyring. Takes some tens of µs with ES256, 1 ms with RS256.

    ``check_fresh`` raises `StateUnavailable` if the token of a grant would not be good now.
    """

    def __init__(
        self,
        keyring: Keyring,
        settings: TokenSettings,
        clock: EpochClock,
        check_fresh: Callable[[Grant], object] = _good,
    ) -> None:
        self._check_fresh = check_fresh
        self._keyring = keyring
        self._settings = settings
        self._clock = clock

    def issue(self, principal: Principal, lifetime: float) -> IssuedToken:
        """An access token that the gateway accepts for ``lifetime`` seconds.

        Raises `StateUnavailable` if the gateway would not accept it now; `ValueError` for a lifetime that is not positive, or
        longer than keys are kept for (the longer of ``lifetime`` and ``extended_lifetime``); `perimeter.errors.InternalError`
        where the roles and attributes do not fit into a token.
        """
        longest = max(self._settings.lifetime, self._settings.extended_lifetime)
        if not 0 < lifetime <= longest:
            raise ValueError(f"a token may live up to {longest:.0f} seconds (extended_lifetime)")
        self._check_fresh(Grant("", 0.0, math.ceil(lifetime)))
        token = self._sign(principal, ACCESS_TYPE, self._settings.audience, lifetime)
        return IssuedToken(token, math.ceil(lifetime))

    def issue_assertion(self, principal: Principal, audience: str, lifetime: float = 300.0) -> str:
        """An assertion about the authenticated user for the upstream named ``audience``. It is not a credential.

        Raises `perimeter.errors.InternalError` where the roles and attributes do not fit into it.
        """
        return self._sign(principal, ASSERTION_TYPE, UPSTREAM_AUDIENCE + audience, lifetime)

    def _sign(self, principal: Principal, typ: str, audience: str, lifetime: float) -> str:
        now = self._clock.seconds()
        claims: dict[str, Any] = {
            "iss": self._settings.issuer,
            "aud": audience,
            # Auth-o-tron's form, which backends may expect. It is ambiguous (a-b of c, b of c-a), so the gateway never uses it.
            "sub": f"{principal.realm}-{principal.username}",
            "username": principal.username,
            "realm": principal.realm,
            "roles": list(principal.roles),
            "scopes": {service: list(scopes) for service, scopes in principal.scopes.items()},
            "attributes": dict(principal.attributes),
            "iat": int(now),
            # rounded up: a token lives at least for its expires_in
            "exp": math.ceil(now + lifetime),
            "jti": secrets.token_urlsafe(16),
        }
        key = self._keyring.signing_key
        payload = json.dumps(claims, separators=(",", ":"), ensure_ascii=False).encode()
        token = _jws.encode(payload, key.key, key.algorithm, headers={"typ": typ, "kid": key.kid})
        if len(token) > MAX_TOKEN:
            raise InternalError(f"the token would have {len(token)} bytes, more than {MAX_TOKEN}: too many roles or attributes")
        return token
