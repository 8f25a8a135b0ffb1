"""What the operator may do with second factors: the same for the running gateway, and for a command while no gateway runs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from perimeter.factors.book import ENROLL_LIFETIME, make_enroll_code, reset_factors
from perimeter.factors.factor import Factor
from perimeter.factors.stored import StoredFactors
from perimeter.run.known_realms import known_realm
from perimeter.tokens.shown import utc_time

PAGE: Final = 1000
"""Factors in one answer."""


def list_factors(
    realms: Iterable[str], stored: StoredFactors, user: str | None, realm: str | None, first: int = 0
) -> dict[str, Any]:
    """Up to `PAGE` factors, by realm and user, from number ``first`` on; ``next`` is the number to go on with, or None.

    ``user`` and ``realm`` select, unless None. ``realms`` are those of the configuration. Raises ValueError if there is no
    ``realm``.
    """
    if realm is not None:
        known_realm(realm, realms, stored.realms())
    found = [one for one in stored.all() if user in (None, one.username) and realm in (None, one.realm)]
    return {
        "factors": [_described(one, stored) for one in found[first : first + PAGE]],
        "next": first + PAGE if len(found) > first + PAGE else None,
    }


def _described(factor: Factor, stored: StoredFactors) -> dict[str, Any]:
    codes = stored.recovery_of(factor.realm, factor.username)
    return {
        "id": factor.id,
        "username": factor.username,
        "realm": factor.realm,
        "kind": str(factor.kind),
        "name": factor.name,
        "created": utc_time(factor.created),
        "used": utc_time(factor.used) if factor.used else "",
        "recovery_codes": 0 if codes is None else len(codes.digests),
    }


async def remove_factors(realms: Iterable[str], stored: StoredFactors, user: tuple[str, str], now: float) -> dict[str, Any]:
    """Remove all factors, recovery codes and the code of ``user`` (realm and name), at ``now`` (epoch seconds).

    Returns how many factors were removed. Raises ValueError if there is no realm, and `perimeter.errors.Unavailable` if the
    removal is in force but could not be written.
    """
    known_realm(user[0], realms, stored.realms())
    return {"factors": await reset_factors(stored, *user, now)}


async def new_enroll_code(realms: Iterable[str], stored: StoredFactors, user: tuple[str, str], now: float) -> dict[str, Any]:
    """A code with which ``user`` (realm and name) may register a first factor, once, within a day of ``now``.

    Raises ValueError if there is no realm or the user has a factor, and `perimeter.errors.Unavailable` if the code cannot be
    written.
    """
    known_realm(user[0], realms, stored.realms())
    if stored.of(*user):
        raise ValueError(f"{user[1]} of realm {user[0]} has a second factor already: a code is for the first one; see reset")
    code = await make_enroll_code(stored, *user, now)
    return {"code": code, "expires": utc_time(now + ENROLL_LIFETIME)}
