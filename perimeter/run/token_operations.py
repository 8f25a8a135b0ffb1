"""What the operator may do with tokens: the same for the running gateway, and for a command while no gateway runs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from perimeter.errors import InvalidToken, NoSuchToken
from perimeter.run.known_realms import known_owner
from perimeter.state.page import Page
from perimeter.tokens.revoking import Ended, Revocation, Revoker
from perimeter.tokens.shown import described
from perimeter.tokens.stored import StoredTokens

PAGE: Final = 1000
"""API tokens in one answer."""


async def list_tokens(
    realms: Iterable[str], stored: StoredTokens, user: str | None, realm: str | None, *, passing: bool, first: int = 0
) -> dict[str, Any]:
    """Up to `PAGE` API tokens, the oldest first, from number ``first`` on; ``next`` is the number to go on with, or None.

    ``user`` and ``realm`` select, unless None; ``passing`` adds those from ``GET /token``. ``realms`` are those of the
    configuration. Raises ValueError if ``realm`` is not one of them and not that of an owner, and `perimeter.errors.Unavailable`.
    """
    if realm is not None:
        await known_owner(realm, realms, stored)
    found = await stored.page(Page(stored.seconds(), PAGE + 1, first, user or "", realm or "", passing))
    return {
        "tokens": [{"username": one.owner.username, "realm": one.owner.realm, **described(one)} for one in found[:PAGE]],
        "next": first + PAGE if len(found) > PAGE else None,
    }


async def revoke_tokens(realms: Iterable[str], revoker: Revoker, wanted: Revocation) -> Ended:
    """End tokens. ``realms`` are those of the configuration.

    Raises ValueError, with the reason, if nothing ended, and `perimeter.errors.Unavailable` as `Revoker` does.
    """
    if wanted.user is not None:
        await known_owner(wanted.user[0], realms, revoker)
    try:
        return await revoker.revoke(wanted)
    except InvalidToken as error:
        raise ValueError(f"{error.phrase} ({error.detail})") from None
    except NoSuchToken as error:
        raise ValueError(error.detail) from None
