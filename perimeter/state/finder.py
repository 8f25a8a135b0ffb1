"""Looks records up in the store's thread: those that are wanted at the same time together, and each only once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from twisted.internet.defer import Deferred

from perimeter.errors import Unavailable
from perimeter.offload import Offload
from perimeter.state.changes import Change
from perimeter.state.write_queue import Batch, WriteQueue
from perimeter.state.writer import LookupKey

Wanted: TypeAlias = tuple[str, LookupKey]
"""The name of a kind, and what its records are looked up by."""

Found: TypeAlias = Sequence[Change] | Unavailable
"""What a look-up has found, or why it has failed."""


class RecordFinder:
    """``find`` looks up in ``thread`` (`perimeter.state.store.IStateStore.find`).

    It may find what was taken away and is not in the store yet: the view has that (`perimeter.state.partial.PartialIndex`).
    """

    def __init__(self, thread: Offload, find: Callable[[str, LookupKey], Sequence[Change]]) -> None:
        self._find = find
        self._queue: WriteQueue[Wanted, Mapping[Wanted, Found], Sequence[Change]] = WriteQueue(
            thread, self._find_all, self._found
        )

    def find(self, kind: str, key: LookupKey) -> Deferred[Sequence[Change]]:
        """The records with ``key``. Fails with `Unavailable`, also if too many wait."""
        return self._queue.add((kind, key))

    def _find_all(self, wanted: Sequence[Wanted]) -> Mapping[Wanted, Found]:
        return {one: self._find_one(one) for one in dict.fromkeys(wanted)}

    def _find_one(self, wanted: Wanted) -> Found:
        try:
            return self._find(*wanted)
        except Unavailable as problem:
            return problem

    def _found(self, batch: Batch[Wanted, Sequence[Change]], found: Mapping[Wanted, Found]) -> None:
        for wanted, done in batch:
            result = found[wanted]
            if isinstance(result, Unavailable):
                done.errback(result)
            else:
                done.callback(result)
