"""Names that count once: the first claim of a name succeeds, in all processes together, and every later one fails.

For what may be used a single time: flows, tickets, codes of an authenticator app, recovery codes, challenges, logout tokens. The
store decides, since only the store knows the claims of all processes; nothing is held in memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from typing import Final, Protocol

from perimeter.errors import Overloaded
from perimeter.state.changes import Change
from perimeter.state.kinds import Execute, Kind
from perimeter.state.store import MOST_CLAIMS, Claim
from perimeter.state.writer import ChangeWriter

_TABLE: Final = """
CREATE TABLE once (digest BLOB PRIMARY KEY, until REAL NOT NULL) WITHOUT ROWID;
"""
_COUNT: Final = "SELECT count(*) FROM once"
_CLAIM: Final = "INSERT INTO once VALUES (?, ?) ON CONFLICT DO NOTHING"
_FORGET: Final = "DELETE FROM once WHERE until <= ?"


class Claims(Protocol):
    """What the users of this module need of the view of its kind of state."""

    async def claim(self, name: bytes, until: float) -> bool:
        """Whether this is the first claim of ``name``, which is remembered until ``until`` (epoch seconds).

        Of several claims at the same moment exactly one is the first. Raises `perimeter.errors.Unavailable` if that cannot be
        established: the caller must refuse then.
        """


class Once:
    """Claims names (`Claims`, and `perimeter.state.kinds.View`). The store keeps the SHA-256 of a name: it may be secret."""

    def __init__(self, writer: ChangeWriter) -> None:
        self._writer = writer

    async def claim(self, name: bytes, until: float) -> bool:
        """See `Claims.claim`."""
        return await self._writer.claim(sha256(name).digest(), until)

    # -- View: there are no changes of this kind

    def index(self, changes: Iterable[Change]) -> None:
        """Nothing."""

    def replace(self, index: None) -> None:
        """Nothing to replace."""

    def apply(self, change: Change) -> None:
        """Nothing to apply."""

    def removed(self) -> None:
        """Nothing is remembered."""

    def forget(self, now: float) -> None:
        """Nothing to drop: the store does that."""


class OnceTable:
    """`perimeter.state.kinds.Table` of claims."""

    migrations: Sequence[str] = (_TABLE,)

    def load(self, execute: Execute) -> Iterator[Change]:
        """Nothing."""
        return iter(())

    def write(self, execute: Execute, change: Change) -> None:
        """Nothing to write: see `claimed`."""

    def forget(self, execute: Execute, now: float) -> None:
        """Delete the claims that are remembered until ``now``."""
        execute(_FORGET, (now,))


def claimed(execute: Execute, claims: Sequence[Claim], now: float) -> list[bool]:
    """Make ``claims`` in the table: which are the first ones. Raises `Overloaded` if there are too many at ``now``."""
    if _count(execute) + len(claims) > MOST_CLAIMS:
        execute(_FORGET, (now,))
        if _count(execute) + len(claims) > MOST_CLAIMS:
            raise Overloaded("too many claims are remembered")
    return [execute(_CLAIM, claim).rowcount == 1 for claim in claims]


def _count(execute: Execute) -> int:
    return int(execute(_COUNT).fetchone()[0])


ONCE: Final[Kind[Once]] = Kind("once", {}, OnceTable(), Once)
"""Names that were claimed."""
