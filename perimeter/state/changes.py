"""What a state store keeps, and the changes that are made to it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import TypeAlias

import attrs

from perimeter.tokens.api_token import ApiToken


@attrs.frozen(slots=True)
class RevokedGrant:
    """An access token that is good no more, by its ``jti``; ``expires`` (epoch seconds) is when it would have ended anyway."""

    id: str
    expires: float


@attrs.frozen(slots=True)
class RevokedUser:
    """All API tokens of this user, and every access token of his that was issued up to ``before``.

    After ``until`` none of those is left (times in epoch seconds). Whoever cannot know how long tokens lived under
    configurations of the past says never.
    """

    realm: str
    username: str
    before: float
    until: float = inf

    def covers(self, token: ApiToken) -> bool:
        """Whether ``token`` is one of his that was made before, and kept only after."""
        return token.created <= self.before

    def joined(self, other: RevokedUser | None) -> RevokedUser:
        """This and an earlier revocation of the same user as one: neither takes anything back."""
        if other is None:
            return self
        return attrs.evolve(self, before=max(self.before, other.before), until=max(self.until, other.until))


@attrs.frozen(slots=True)
class Removed:
    """The API token of this id. ``passing`` where it makes room for another one, and nobody asked for its end."""

    id: str
    passing: bool = False


Change: TypeAlias = ApiToken | Removed | RevokedGrant | RevokedUser
"""An `ApiToken` is added; everything else takes something away."""


@attrs.frozen(slots=True)
class Held:
    """All that a store holds."""

    tokens: Sequence[ApiToken] = ()
    grants: Sequence[RevokedGrant] = ()
    users: Sequence[RevokedUser] = ()
