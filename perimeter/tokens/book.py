"""A user's own API tokens: only their owner creates, lists and revokes them (attack 37).

The HTTP interface to it is `perimeter.web.endpoints.api_tokens`.
"""

from __future__ import annotations

from math import inf
from typing import Final

import attrs

from perimeter.errors import InvalidToken, NoSuchToken, TooManyTokens
from perimeter.model import Grant, GrantKind, Principal, Restriction
from perimeter.state.partial import finished
from perimeter.tokens.api_token import ApiToken, digest_of, mint
from perimeter.tokens.check import TokenCheck
from perimeter.tokens.format import EpochClock
from perimeter.tokens.revoking import Revoker
from perimeter.tokens.stored import StoredTokens

PASSING_LIFETIME: Final = 3600.0
"""Lifetime in seconds of the API token in the response to ``GET /token``, as Auth-o-tron has it."""

USUAL_LIFETIME: Final = 30 * 86400.0
"""Lifetime in seconds of a token that is made without one, unless less is allowed."""

MOST_NAMED: Final = 200
"""API tokens with a name that one user may have."""


class TokenBook:
    """``longest`` is the longest lifetime of an API token in seconds, 0 for no limit. ``check`` makes the texts of tokens."""

    def __init__(self, stored: StoredTokens, revoker: Revoker, clock: EpochClock, longest: float, check: TokenCheck) -> None:
        self._stored = stored
        self._revoker = revoker
        self._clock = clock
        self.longest = longest
        self._check = check

    @property
    def usual(self) -> float:
        """The lifetime in seconds of a token that is made without one."""
        return min(USUAL_LIFETIME, self.longest) if self.longest else USUAL_LIFETIME

    async def passing(self, owner: Principal) -> str:
        """A token without a name, for an hour. Raises `Unavailable` if it cannot be written."""
        lifetime = min(PASSING_LIFETIME, self.longest) if self.longest else PASSING_LIFETIME
        now = self._clock.seconds()
        text, kept = mint("", attrs.evolve(owner, grant=None), now, now + lifetime, passing=True, check=self._check)
        await self._stored.add(kept)
        return text

    async def make(
        self, owner: Principal, name: str, lifetime: float | None, restriction: Restriction | None, *, id: str = ""
    ) -> tuple[str, ApiToken]:
        """A token for ``lifetime`` seconds: `usual` if that is None, without an end if it is 0.

        Without ``id`` it gets a random one. It has the second factor of the session in which it is made. Returns its text and
        what is kept of it. Raises ValueError for a longer lifetime than allowed, `TooManyTokens`, and `Unavailable` if it cannot
        be written.
        """
        if lifetime is None:
            lifetime = self.usual
        elif self.longest and not 0 < lifetime <= self.longest:
            raise ValueError(f"an API token may live up to {self.longest:.0f} seconds (api_lifetime)")
        await self.gather(owner)
        if self._stored.count(owner.realm, owner.username) >= MOST_NAMED:
            raise TooManyTokens(f"the user has {MOST_NAMED} API tokens")
        now = self._clock.seconds()
        second = 0.0 if owner.grant is None else owner.grant.second
        ends = now + lifetime if lifetime else inf
        whose = attrs.evolve(owner, grant=None)
        text, kept = mint(name, whose, now, ends, restriction, id=id, second=second, check=self._check)
        await self._stored.add(kept)
        return text, kept

    @property
    def complete(self) -> bool:
        """Whether all API tokens are in memory, so that there is nothing to `gather`."""
        return self._stored.complete

    async def gather(self, owner: Principal) -> None:
        """Look up all tokens of a user, before `owned`. Raises `Unavailable`."""
        await finished(self._stored.gather(("owner", owner.realm, owner.username)))

    def owned(self, owner: Principal) -> list[ApiToken]:
        """The tokens of a user, the oldest first. To be called after `gather`."""
        return self._stored.owned(owner.realm, owner.username)

    def names(self, which: str, grant: Grant) -> bool:
        """Whether ``which``, an id or the text of a token, is the API token of the request."""
        if grant.kind is not GrantKind.API_TOKEN:
            return False
        kept = self._stored.find(digest_of(which))
        return which == grant.id or (kept is not None and kept.id == grant.id)

    async def remove(self, owner: Principal, which: str) -> ApiToken:
        """End one, by its id or its text. Raises `NoSuchToken`, for another user's token too, and `Unavailable`."""
        token = self._owned(owner, which)
        if token is None:
            await finished(self._stored.learn(("owner", owner.realm, owner.username)))
            token = self._owned(owner, which)
        if token is None:
            raise NoSuchToken("the user does not have this API token")
        await self._stored.remove(token)
        return token

    def _owned(self, owner: Principal, which: str) -> ApiToken | None:
        digest = digest_of(which)
        return next((token for token in self.owned(owner) if which == token.id or digest == token.digest), None)

    async def revoke(self, text: str, address: str) -> Principal | None:
        """End a token of either kind, on behalf of its holder at ``address`` (RFC 7009). Returns its owner.

        None if it is not a valid token.

        Raises `Unavailable` if the end is in force but could not be written.
        """
        try:
            return await self._revoker.end(text, address)
        except InvalidToken:
            return None
