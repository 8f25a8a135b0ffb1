"""Looks records up in the store's thread: those that are wanted at the same time together, and each only once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
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

    ``unwritten`` has what was taken away of a kind and is not in the store yet: the store may still find that.
    """

    def __init__(
        self,
        thread: Offload,
        find: Callable[[str, LookupKey], Sequence[Change]],
        unwritten: Callable[[str], Iterable[Change]],
    ) -> None:
        self._find = find
        self._unwritten = unwritten
        self._queue: WriteQueue[Wanted, Mapping[Wanted, Found], Sequence[Change]] = WriteQueue(
            thread, self._find_all, self._found
        )

    def find(self, kind: str, key: LookupKey) -> Deferred[Sequence[Change]]:
        """The records with ``key``, and then what was taken away. Fails with `Unavailable`, also if too many wait."""
        return self._queue.add((kind, key))

    def _find_all(self, wanted: Sequence[Wanted]) -> Mapping[Wanted, Found]:
        return {one: self._find_one(one) for one in dict.fromkeys(wanted)}

    def _find_one(self, wanted: Wanted) -> Found:
        try:
            return self._find(*wanted)
        except Unavailable as problem:
            return problem

    def _found(self, batch: Batch[Wanted, Sequence[Change]], found: Mapping[Wanted, Found]) -> None:
        gone = {kind: list(self._unwritten(kind)) for kind in {kind for kind, _ in found}}
        for wanted, done in batch:
            result = found[wanted]
            if isinstance(result, Unavailable):
                done.errback(result)
            else:
                done.callback([*result, *gone[wanted[0]]])
