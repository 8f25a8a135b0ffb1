"""What a state store keeps, and the changes that are made to it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import attrs

from perimeter.tokens.apitoken import ApiToken


@attrs.frozen(slots=True)
class RevokedGrant:
    """An access token that is good no more, by its ``jti``; ``expires`` (epoch seconds) is when it would have ended anyway."""

    id: str
    expires: float


@attrs.frozen(slots=True)
class RevokedUser:
    """Every access token of this user that was issued up to ``before``; after ``until`` none of them is left (epoch seconds)."""

    realm: str
    username: str
    before: float
    until: float


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
