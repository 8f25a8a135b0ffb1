"""Names that count once: the first claim of a name succeeds, in all processes together, and every later one fails.

For what may be used a single time: flows, tickets, codes of an authenticator app, recovery codes, challenges, logout tokens.
"""

from __future__ import annotations

from typing import Protocol


class Claims(Protocol):
    """What the users of this module need of the view of its kind of state."""

    async def claim(self, name: bytes, until: float) -> bool:
        """Whether this is the first claim of ``name``, which is remembered until ``until`` (epoch seconds).

        Of several claims at the same moment exactly one is the first. Raises `perimeter.errors.Unavailable` if that cannot be
        established: the caller must refuse then.
        """
