"""The store that several machines share: the interface of the engine beside the store of this machine.

What is not a record is in the log of the engine, and each machine keeps all of it in its own store. Records (`Kind.records`) are
in the engine alone, and are looked up one by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from twisted.internet.defer import Deferred

from perimeter.state.changes import Change
from perimeter.state.store import Claim
from perimeter.state.writer import LookupKey


class Engine(Protocol):
    """All methods are for the reactor thread. Their Deferreds fail with `perimeter.errors.Unavailable`, in bounded time."""

    def publish(self, changes: Sequence[Change]) -> Deferred[str]:
        """Carry out what ``changes`` do to records, and add them to the common log as one entry: its id."""

    def keep(self, record: Change) -> Deferred[None]:
        """Store a record, so that every machine can find it."""

    def find(self, kind: str, key: LookupKey) -> Deferred[Sequence[Change]]:
        """The records of the kind with this name that have ``key``, as changes that lead to them from nothing."""

    def claim(self, claims: Sequence[Claim]) -> Deferred[Sequence[bool]]:
        """Which of ``claims`` are the first ones of their digest, on all machines."""

    def last(self) -> Deferred[str]:
        """The id of the last entry of the common log."""

    def stop(self) -> Deferred[None]:
        """Close the connections. Fires when that is done; never fails."""
