"""API tokens: opaque, long-lived, and good for nothing once the state store knows them no more.

A token is `TOKEN_PREFIX` and 256 random bits. What is kept of it is its SHA-256: there is nothing to guess, so a hash made to be
slow, as passwords need, would only cost. Where they are kept is `perimeter.state`'s, how they are had
`perimeter.web.endpoints.api_tokens`'.
"""

from __future__ import annotations

import re
import secrets
from hashlib import sha256
from math import inf
from typing import Final, Protocol

import attrs

from perimeter.errors import ExpiredToken, InvalidToken
from perimeter.model import TOKEN_PREFIX, Grant, Principal, Restriction
from perimeter.tokens.format import Clock

_FORM: Final = re.compile(TOKEN_PREFIX + r"[A-Za-z0-9_-]{43}")


@attrs.frozen(slots=True)
class ApiToken:
    """What is kept of an API token. Times are seconds since the epoch; ``expires`` is infinite where it does not expire.

    ``owner`` is who made it, as the authenticator knew him then. ``passing`` ones come with ``GET /token``: they have no name and
    live for an hour.
    """

    id: str
    digest: bytes = attrs.field(repr=False)
    name: str
    owner: Principal
    created: float
    expires: float = inf
    restriction: Restriction | None = None
    passing: bool = False


def digest_of(token: str) -> bytes:
    """What is kept in place of ``token``: 32 octets."""
    return sha256(token.encode("utf-8", "surrogatepass")).digest()


def mint(
    name: str, owner: Principal, now: float, expires: float, restriction: Restriction | None = None, *, passing: bool = False
) -> tuple[str, ApiToken]:
    """A new token: the text that its owner is told this once, and what is kept."""
    token = TOKEN_PREFIX + secrets.token_urlsafe(32)
    kept = ApiToken(secrets.token_hex(8), digest_of(token), name, owner, now, expires, restriction, passing)
    return token, kept


class KnownTokens(Protocol):
    """What is asked of `perimeter.state.state.State`."""

    def find(self, digest: bytes) -> ApiToken | None:
        """The API token with this SHA-256."""


class ApiTokenVerifier:
    """Says which API token a text is. Without ``known`` there are none."""

    def __init__(self, known: KnownTokens | None, clock: Clock) -> None:
        self._known = known
        self._clock = clock

    def verify(self, token: str) -> ApiToken:
        """What is kept of ``token``, which begins with `TOKEN_PREFIX`. Raises `InvalidToken`, or `ExpiredToken`."""
        # The look-up goes by the hash, so its time tells nothing of how much of a token was right.
        known = self._known
        kept = known.find(digest_of(token)) if known is not None and _FORM.fullmatch(token) else None
        if kept is None:
            raise InvalidToken("no such API token, or it was revoked")
        if self._clock.seconds() >= kept.expires:
            raise ExpiredToken("the API token expired")
        return kept


def grant_of(kept: ApiToken) -> Grant:
    """The grant of whoever comes with this token."""
    return Grant(kept.id, kept.created, kept.expires, True, kept.restriction)
