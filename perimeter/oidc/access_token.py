"""Which access tokens of a provider are accepted; and claims that providers such as Keycloak put there alone. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs

from perimeter.auth.kinds.remote.judge import ACCESS_TYPES, JwtHeader, verified
from perimeter.errors import InvalidToken
from perimeter.oidc.idtoken import IdToken
from perimeter.tokens.jwk import Jwk
from perimeter.tokens.jwt import check_times


@attrs.frozen
class Accepted:
    """The access tokens that are accepted: of one of ``issuers``, for one of ``audiences``.

    ``client_id`` is the gateway's own at the provider, which is the audience of its ID tokens.
    """

    issuers: frozenset[str]
    audiences: frozenset[str]
    client_id: str


def access_token_claims(header: JwtHeader, keys: Sequence[Jwk], token: IdToken, client_id: str, now: float) -> dict[str, Any]:
    """The claims of the access token with this header, which came with the ID token ``token``; none if it is not of the same
    user.

    Its audience does not matter: the provider itself has just handed it to the gateway, which is the client ``client_id``.
    """
    try:
        claims = verified(header.jwt, keys, ACCESS_TYPES)
        check_times(claims, now)
    except InvalidToken:
        return {}
    same = (claims.get("iss"), claims.get("sub")) == (token.issuer, token.subject)
    return claims if same and claims.get("azp", client_id) == client_id else {}
