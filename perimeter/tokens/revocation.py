"""What ends tokens before their time, as changes of the state."""

from __future__ import annotations

from math import inf

import attrs

from perimeter.state.changes import Change
from perimeter.tokens.api_token import ApiToken


@attrs.frozen
class Removed(Change):
    """The API token with this id is removed. ``passing`` if it only makes room for another one and was not revoked."""

    id: str
    passing: bool = False


@attrs.frozen
class RevokedGrant(Change):
    """An access token ends, by its ``jti``; ``expires`` (epoch seconds) is when it would have ended anyway."""

    id: str
    expires: float


@attrs.frozen
class RevokedUser(Change):
    """All API tokens of a user end, and every access token of theirs that was issued up to ``before``.

    After ``until`` none of those is left (times in epoch seconds). It is infinite if the caller cannot know how long tokens lived
    under earlier configurations.
    """

    realm: str
    username: str
    before: float
    until: float = inf

    def covers(self, token: ApiToken) -> bool:
        """Whether ``token``, an API token of this user, was made before the revocation."""
        return token.created <= self.before

    def merged(self, other: RevokedUser | None) -> RevokedUser:
        """This and an earlier revocation of the same user as one: neither takes anything back."""
        if other is None:
            return self
        return attrs.evolve(self, before=max(self.before, other.before), until=max(self.until, other.until))
