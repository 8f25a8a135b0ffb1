"""What a session keeps of its sign-in at an OpenID provider, sealed under the browser's cookie. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs

from perimeter.oidc.claims import ClaimRules
from perimeter.oidc.idtoken import IdToken
from perimeter.strict_json import decode_object

STALE: Final = 3600.0
"""Seconds for which a user stays as they were, while refreshes succeed and nothing can be found out about the user."""

SOON: Final = 60.0
"""Seconds until the next refresh in that case, if ``refresh`` is longer."""

#: claims that are used beside those of the rules
_ALWAYS = ("iss", "sub", "sid", "tid", "acr", "amr", "email_verified")


@attrs.frozen(kw_only=True)
class Kept:
    """``claims`` are those that the last look at the user has found, as far as `ClaimRules` use them.

    ``id_token`` is the last one, for the sign-out at the provider; ``nonce`` is that of the sign-in, and ``at`` the time of the
    authentication. ``told`` are the names of the claims that the userinfo endpoint told. ``stale_since`` is when a look failed
    for the first time since the last good one; 0 for none. Times are epoch seconds.
    """

    refresh_token: str = attrs.field(repr=False)
    id_token: str = attrs.field(repr=False)
    nonce: str = attrs.field(repr=False)
    claims: Mapping[str, Any] = attrs.field(repr=False)
    at: float
    told: Sequence[str] = ()
    stale_since: float = 0.0

    @property
    def token(self) -> IdToken:
        """Stands for the ID token of the sign-in, with the claims of the last look."""
        return IdToken(self.claims["iss"], self.claims["sub"], self.at, self.nonce, self.claims)

    def written(self) -> bytes:
        """As bytes."""
        return json.dumps(attrs.asdict(self), separators=(",", ":")).encode()


def read_kept(secret: bytes) -> Kept:
    """What `Kept.written` made. Raises ValueError."""
    try:
        return Kept(**decode_object(secret))
    except TypeError:
        raise ValueError("not what a session keeps of a provider") from None


def used_claims(claims: Mapping[str, Any], rules: ClaimRules) -> dict[str, Any]:
    """Those of ``claims`` that ``rules`` need again when a later look at the user finds none."""
    paths = (*rules.decisive, *rules.attribute_claims)
    wanted = {*_ALWAYS, *paths, *(path.partition(".")[0] for path in paths)}
    return {name: value for name, value in claims.items() if name in wanted}
