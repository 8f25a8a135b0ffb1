"""The realms in commands of the operator. A realm that does not exist is an error: the command would have no effect."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol


class Owners(Protocol):
    """What has owners, such as `perimeter.tokens.stored.StoredTokens`."""

    def realms(self) -> frozenset[str]:
        """The realms of the owners in memory."""

    async def has_realm(self, realm: str) -> bool:
        """Whether there is an owner of ``realm``. Raises `perimeter.errors.Unavailable`."""


async def known_owner(realm: str, configured: Iterable[str], stored: Owners) -> None:
    """Raise ValueError, with the realms that exist, if ``realm`` is not ``configured`` and no owner in ``stored`` is of it."""
    configured = list(configured)
    if realm not in configured and not await stored.has_realm(realm):
        known_realm(realm, configured, stored.realms() - {realm})


def known_realm(realm: str, configured: Iterable[str], stored: Iterable[str] = ()) -> None:
    """Raise ValueError, with the realms that exist, if ``realm`` is not ``configured`` and not in the state (``stored``)."""
    known = {*configured, *stored}
    if realm not in known:
        raise ValueError(f"there is no realm {realm}; there are: {', '.join(sorted(known)) or 'none'}")
