"""Adds changes to the common log, and carries out what they do to records."""

from __future__ import annotations

from collections.abc import Sequence

from perimeter.cluster.followed import Owed
from perimeter.cluster.log import CommonLog
from perimeter.cluster.records import RecordStore
from perimeter.cluster.sealing import unreadable
from perimeter.state.changes import Change
from perimeter.state.kinds import Kinds


class Publisher:
    """Writes to ``log`` and ``records``. All methods raise `perimeter.errors.StateUnavailable`."""

    def __init__(self, log: CommonLog, records: RecordStore, kinds: Kinds) -> None:
        self._log = log
        self._records = records
        self._kinds = kinds

    async def publish(self, name: str, changes: Sequence[Change]) -> str:
        """Carry out what ``changes`` do to records, then add them as one entry with this ``name``. Returns the entry's id.

        In this order: a machine that has read the entry finds no record that it has ended.
        """
        for change in changes:
            await self._records.affect(change)
        return await self._log.append(name, changes)

    async def publish_owed(self, owed: Owed) -> str:
        """As `publish`, for what this machine owes."""
        return await self.publish(owed.name, [self._change(owed)])

    async def affect_owed(self, owed: Owed) -> None:
        """Carry out once more what it does to records."""
        await self._records.affect(self._change(owed))

    def _change(self, owed: Owed) -> Change:
        try:
            return self._kinds.decode(owed.word, owed.body)
        except (ValueError, TypeError, KeyError):
            raise unreadable("a removal of this machine") from None
