"""Second factors as one kind of state: looked up in memory, changed through `perimeter.state.writer.ChangeWriter`."""

from __future__ import annotations

from typing import Final

from twisted.internet.defer import Deferred

from perimeter.factors.factor import EnrollCode, Factor, RecoveryCodes
from perimeter.factors.index import FactorIndex
from perimeter.factors.tables import CODECS, FactorTable
from perimeter.state.changes import Change
from perimeter.state.kinds import IndexedView, Kind
from perimeter.state.writer import ChangeWriter


class StoredFactors(IndexedView[FactorIndex]):
    """The factors that exist (`perimeter.state.kinds.View`)."""

    def __init__(self, writer: ChangeWriter) -> None:
        super().__init__(writer, FactorIndex)

    # -- looking things up

    def __len__(self) -> int:
        """How many factors there are."""
        return len(self._index.by_id)

    def of(self, realm: str, username: str) -> tuple[Factor, ...]:
        """The factors of a user, the oldest first."""
        return self._index.owned.get((realm, username), ())

    def with_handle(self, handle: bytes) -> Factor | None:
        """The passkey with this `Factor.handle`."""
        return self._index.by_handle.get(handle) if handle else None

    def recovery_of(self, realm: str, username: str) -> RecoveryCodes | None:
        """The recovery codes of a user that are left, if any were made."""
        return self._index.recovery.get((realm, username))

    def enroll_of(self, realm: str, username: str) -> EnrollCode | None:
        """The operator's code for a user, perhaps over."""
        return self._index.enroll.get((realm, username))

    def all(self) -> list[Factor]:
        """All factors, by realm and user name, the oldest first."""
        return sorted(self._index.by_id.values(), key=lambda one: (one.realm, one.username, one.created))

    def realms(self) -> frozenset[str]:
        """The realms of the users of factors, which may be ones that are no longer configured."""
        return frozenset(one.realm for one in self._index.by_id.values())

    # -- changing them

    def add(self, change: Change) -> Deferred[None]:
        """Write what gives something. Fails with `Unavailable` if it cannot be written."""
        return self._writer.add(change)

    def remove(self, change: Change) -> Deferred[None]:
        """Put in force at once what takes something away; fires when that is written, or fails with `Unavailable`."""
        return self._writer.remove(change)


FACTORS: Final[Kind[StoredFactors]] = Kind("factors", CODECS, FactorTable(), StoredFactors)
"""Second factors of users, their recovery codes, and codes of the operator for a first factor."""
