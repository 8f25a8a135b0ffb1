"""What the gate checks of the owner of a token or a session."""

from __future__ import annotations

from perimeter.errors import InvalidToken
from perimeter.model import Principal

RECALL_INTERVAL = 60.0
"""Seconds until the owner of an API token or a session is looked up again. A removed role counts until then."""


def check_realm(principal: Principal, realms: frozenset[str]) -> None:
    """Raise `InvalidToken` if the client excluded the user's realm (X-Auth-Realm).

    A client can exclude realms, but cannot add realms (attack 34).
    """
    if realms and principal.realm not in realms:
        raise InvalidToken("the token or session is of a realm that the client excluded")
