"""A user's own API tokens: made, listed and ended, by him alone (attack 37). How he asks for it is
`perimeter.web.endpoints.api_tokens`'."""

from __future__ import annotations

from math import inf
from typing import Final

import attrs

from perimeter.errors import InvalidToken, NoSuchToken, TooManyTokens
from perimeter.model import TOKEN_PREFIX, Grant, Principal, Restriction
from perimeter.tokens.api_token import ApiToken, digest_of, mint
from perimeter.tokens.format import Clock
from perimeter.tokens.stored import StoredTokens
from perimeter.tokens.verifier import TokenVerifier

PASSING_LIFETIME: Final = 3600.0
"""Seconds that the token of ``GET /token`` lives: Auth-o-tron's."""

USUAL_LIFETIME: Final = 30 * 86400.0
"""And one that is made without saying for how long, where it may live so long."""

MOST_NAMED: Final = 200
"""API tokens with a name that one user may have."""


class TokenBook:
    """``longest`` is the longest life of an API token in seconds, 0 for no limit."""

    def __init__(self, stored: StoredTokens, verifier: TokenVerifier, clock: Clock, longest: float) -> None:
        self._stored = stored
        self._verifier = verifier
        self._clock = clock
        self.longest = longest

    async def passing(self, owner: Principal) -> str:
        """A nameless token for an hour. Raises `Unavailable` where it cannot be kept."""
        lifetime = min(PASSING_LIFETIME, self.longest) if self.longest else PASSING_LIFETIME
        now = self._clock.seconds()
        text, kept = mint("", attrs.evolve(owner, grant=None), now, now + lifetime, passing=True)
        await self._stored.add(kept)
        return text

    async def make(
        self, owner: Principal, name: str, lifetime: float | None, restriction: Restriction | None
    ) -> tuple[str, ApiToken]:
        """A token that lives for ``lifetime`` seconds: as long as it may where that is None, for ever where it is 0.

        Raises ValueError for a life longer than allowed, `TooManyTokens`, and `Unavailable` where it cannot be kept.
        """
        if lifetime is None:
            lifetime = min(USUAL_LIFETIME, self.longest) if self.longest else USUAL_LIFETIME
        elif self.longest and not 0 < lifetime <= self.longest:
            raise ValueError(f"an API token may live up to {self.longest:.0f} seconds (api_lifetime)")
        if self._stored.count(owner.realm, owner.username) >= MOST_NAMED:
            raise TooManyTokens
        now = self._clock.seconds()
        text, kept = mint(name, attrs.evolve(owner, grant=None), now, now + lifetime if lifetime else inf, restriction)
        await self._stored.add(kept)
        return text, kept

    def owned(self, owner: Principal) -> list[ApiToken]:
        """The tokens of a user, the oldest first."""
        return self._stored.owned(owner.realm, owner.username)

    def names(self, which: str, grant: Grant) -> bool:
        """Whether ``which``, an id or a token itself, is the API token that somebody came with."""
        if not grant.stored:
            return False
        kept = self._stored.find(digest_of(which))
        return which == grant.id or (kept is not None and kept.id == grant.id)

    async def remove(self, owner: Principal, which: str) -> ApiToken:
        """End one, by its id or by the token itself. Raises `NoSuchToken` for another's too, `Unavailable` as `State.remove`."""
        digest = digest_of(which)
        for token in self.owned(owner):
            if which == token.id or digest == token.digest:
                await self._stored.remove(token)
                return token
        raise NoSuchToken

    async def revoke(self, text: str) -> Principal | None:
        """End a token of either kind, on behalf of whoever has it (RFC 7009). Returns whose it was; None where it is none.

        Raises `Unavailable` as `State.revoke`.
        """
        if text.startswith(TOKEN_PREFIX):
            kept = self._stored.find(digest_of(text))
            if kept is None:
                return None
            await self._stored.remove(kept)
            return kept.owner
        try:
            principal = self._verifier.verify(text).principal
        except InvalidToken:
            return None
        assert principal.grant is not None
        await self._stored.revoke(principal.grant)
        return principal
