"""What the operator may do with user names that are bound to identities of providers: for the gateway, and while none runs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from perimeter.providers.pins import Pin, StoredPins
from perimeter.run.known_realms import known_realm
from perimeter.tokens.revoking import Revoker
from perimeter.tokens.shown import utc_time

PAGE: Final = 1000
"""Names in one answer."""


def list_identities(
    realms: Iterable[str], pins: StoredPins, user: str | None, realm: str | None, first: int = 0
) -> dict[str, Any]:
    """Up to `PAGE` names, by realm and name, from number ``first`` on; ``next`` is the number to go on with, or None.

    ``user`` and ``realm`` select, unless None. ``realms`` are those of the configuration. Raises ValueError if there is no
    ``realm``.
    """
    every = pins.all()
    if realm is not None:
        known_realm(realm, realms, {pin.realm for pin in every})
    found = [pin for pin in every if user in (None, pin.username) and realm in (None, pin.realm)]
    return {
        "identities": [_described(pin) for pin in found[first : first + PAGE]],
        "next": first + PAGE if len(found) > first + PAGE else None,
    }


def _described(pin: Pin) -> dict[str, Any]:
    return {
        "username": pin.username,
        "realm": pin.realm,
        "created": utc_time(pin.created),
        "issuer": pin.issuer,
        "subject": pin.subject,
    }


async def release_identity(pins: StoredPins, revoker: Revoker, user: tuple[str, str]) -> dict[str, Any]:
    """Let the name of ``user`` (realm and name) belong to the next identity that signs in with it.

    First, all tokens and sessions of the present one end. Returns the identity, and how many ended. Raises ValueError if the name
    belongs to none, and `perimeter.errors.Unavailable` if the end is in force but could not be written.
    """
    realm, username = user
    pin = pins.of(realm, username)
    if pin is None:
        raise ValueError(f"no identity of a provider has the name {username} in the realm {realm}")
    ended = await revoker.end_user(pin.realm, pin.username)
    await pins.release(pin.realm, pin.username)
    return {**_described(pin), "api_tokens": ended.api_tokens, "sessions": ended.sessions}
