"""The realms in commands of the operator. A realm that does not exist is an error: the command would have no effect."""

from __future__ import annotations

from collections.abc import Iterable


def known_realm(realm: str, configured: Iterable[str], stored: Iterable[str] = ()) -> None:
    """Raise ValueError, with the realms that exist, if ``realm`` is not ``configured`` and not in the state (``stored``)."""
    known = {*configured, *stored}
    if realm not in known:
        raise ValueError(f"there is no realm {realm}; there are: {', '.join(sorted(known)) or 'none'}")
