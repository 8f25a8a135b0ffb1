"""API tokens: opaque, long-lived, and valid only while the state has them.

The text of a token is random (`perimeter.tokens.check`). What is kept of it is its SHA-256: there is nothing to guess, so a slow
hash, as passwords need, would only cost time. `perimeter.tokens.stored` keeps them, `perimeter.web.endpoints.api_tokens` serves
them.
"""

from __future__ import annotations

import secrets
from hashlib import sha256
from math import inf
from typing import Protocol

import attrs

from perimeter.errors import ExpiredToken, InvalidToken
from perimeter.model import TOKEN_PREFIX, Grant, GrantKind, Principal, Restriction
from perimeter.state.changes import Change
from perimeter.tokens.check import TokenCheck, unknown
from perimeter.tokens.format import EpochClock


@attrs.frozen
class ApiToken(Change):
    """What is kept of an API token. Times are seconds since the epoch; ``expires`` is infinite if it does not expire.

    ``owner`` is the user who made it, as the authenticator knew them then. Tokens from ``GET /token`` are ``passing``: they have
    no name and live for an hour. ``second`` is when the owner had shown a second factor, in the session in which they made it; 0
    without one.
    """

    id: str
    digest: bytes = attrs.field(repr=False)
    name: str
    owner: Principal
    created: float
    expires: float = inf
    restriction: Restriction | None = None
    passing: bool = False
    second: float = 0.0

    @property
    def adds(self) -> bool:
        """True: a token counts once it is written."""
        return True


def digest_of(token: str) -> bytes:
    """What is kept in place of ``token``: 32 bytes."""
    return sha256(token.encode("utf-8", "surrogatepass")).digest()


def mint(
    name: str,
    owner: Principal,
    now: float,
    expires: float,
    restriction: Restriction | None = None,
    *,
    passing: bool = False,
    id: str = "",
    second: float = 0.0,
    check: TokenCheck | None = None,
) -> tuple[str, ApiToken]:
    """A new token: the text, which only its owner gets, and what is kept. Without ``id`` it gets a random one.

    Without ``check`` the text has none: such tokens go on, but none is made any more.
    """
    token = TOKEN_PREFIX + secrets.token_urlsafe(32) if check is None else check.make()
    kept = ApiToken(id or secrets.token_hex(8), digest_of(token), name, owner, now, expires, restriction, passing, second)
    return token, kept


class KnownTokens(Protocol):
    """What the verifier needs of `perimeter.tokens.stored.StoredTokens`."""

    def find(self, digest: bytes) -> ApiToken | None:
        """The API token with this SHA-256."""


class ApiTokenVerifier:
    """Finds the API token of a text. Without ``known`` there are none. ``check`` recognizes those that cannot exist."""

    def __init__(self, known: KnownTokens | None, clock: EpochClock, check: TokenCheck | None = None) -> None:
        self._known = known
        self._clock = clock
        self._check = check

    def verify(self, token: str) -> ApiToken:
        """The stored part of ``token``, which begins with `TOKEN_PREFIX`. Raises as `unknown`, or `ExpiredToken`."""
        # The look-up is by the hash, so its time does not depend on how much of a token was right.
        # It comes before the check, so a token in memory stays good if the key is lost that its check was made with.
        if self._known is None:
            raise InvalidToken("there are no API tokens ([token] api_tokens)")
        digest = digest_of(token)
        kept = self._known.find(digest)
        if kept is None:
            raise unknown(token, digest, self._check)
        if self._clock.seconds() >= kept.expires:
            raise ExpiredToken("the API token expired")
        return kept


def grant_of(kept: ApiToken) -> Grant:
    """The grant of a request with this token."""
    return Grant(kept.id, kept.created, kept.expires, GrantKind.API_TOKEN, kept.restriction, second=kept.second)
