"""Records that are not all in memory: those in use are, and the others are looked up in the store.

A view is complete while there are few records. A complete view knows that what it does not have does not exist. A partial view
asks the store, and keeps what it has found, up to a limit: what was not looked up for the longest time is dropped first.

A record may be taken away while the store looks for it. So a partial view remembers the ids of what has ended for a while, and
what was found does not come back (attack 175). If a record was altered meanwhile, the store is asked again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from math import inf
from typing import Any, Final, TypeVar

from twisted.internet.defer import Deferred

from perimeter.errors import StateUnavailable, Unavailable
from perimeter.recent import Expiring
from perimeter.state.changes import Change, Extent
from perimeter.state.kinds import IndexedView
from perimeter.state.writer import ChangeWriter, LookupKey, unaffected

WHOLE_UP_TO: Final = 200_000
"""The usual number of records of a kind up to which all are in memory."""

MOST_KEPT: Final = 50_000
"""Records of a kind that a partial view keeps at most."""

LEAST_KEPT: Final = 2_000
"""Records of a kind that a partial view may keep in any case: more than those of one user, which are looked up together."""

MOST_ABSENT: Final = 10_000
"""Digests of records that the store does not have which a partial view remembers."""

ABSENT: Final = 5.0
"""Seconds for which it remembers them: a client that repeats what was revoked asks the store once in this time."""

_ATTEMPTS: Final = 5
"""How often the store is asked if the records change all the time."""

_ANY: Final = ""
"""In place of an id: all records may have changed."""


class PartialIndex(ABC):
    """An index that drops records. A record, with all that must go with it, has one id here."""

    def __init__(self) -> None:
        self.complete = True
        #: how many records the store had when they were counted last
        self.counted = 0
        self.most_kept: float = inf
        self._whole_up_to: float = inf
        #: the ids of a partial index; that of the record that was looked up last is the last one
        self._order: OrderedDict[str, None] = OrderedDict()
        # Two sets: the older one is dropped at each round of `forget`.
        self._ended: set[str] = set()
        self._ended_before: set[str] = set()

    def measure(self, extent: Extent) -> None:
        """The store has said how many records there are. To be called before any of them comes."""
        self.counted = extent.count
        self._whole_up_to = extent.whole_up_to
        self.most_kept = MOST_KEPT if extent.whole_up_to < 0 else max(LEAST_KEPT, min(extent.whole_up_to, MOST_KEPT))
        self.complete = extent.whole

    @abstractmethod
    def apply(self, change: Change) -> None:
        """See `perimeter.state.kinds.Index`."""

    @abstractmethod
    def forget(self, now: float) -> None:
        """See `perimeter.state.kinds.Index`."""

    def has_ended(self, id: str) -> bool:
        """Whether a partial index has seen the end of this record, not long ago."""
        return id in self._ended or id in self._ended_before

    def note_end(self, id: str) -> None:
        """The record with this id has ended, whether it is in memory or not."""
        if not self.complete:
            self._ended.add(id)

    def take_ends(self, before: PartialIndex) -> None:
        """Remember the ends that the index ``before`` this one has seen."""
        if not self.complete:
            self._ended |= before._ended
            self._ended_before |= before._ended_before

    def forget_ends(self) -> None:
        """Drop the ends that were seen before the last call."""
        self._ended_before, self._ended = self._ended, set()

    def touch(self, id: str) -> None:
        """The record with this id, which is in the index, was looked up."""
        if not self.complete:
            self._order.move_to_end(id)

    def came(self, id: str, size: int, present: Callable[[], Iterable[str]]) -> list[str]:
        """The record with this id is in the index now, which has ``size`` records. Returns the ids of up to two to drop.

        ``present`` returns the ids of all records, the oldest first.
        """
        if self.complete:
            if size <= self._whole_up_to:
                return []
            self.complete = False
            self._order = OrderedDict.fromkeys(present())
        self._order[id] = None
        self._order.move_to_end(id)
        ids = iter(self._order)
        return [next(ids) for _ in range(min(2, max(0, len(self._order) - int(self.most_kept))))]

    def went(self, id: str) -> None:
        """The record with this id is not in the index any more."""
        self._order.pop(id, None)


I = TypeVar("I", bound=PartialIndex)  # noqa: E741


class PartialView(IndexedView[I]):
    """A view of the kind ``name`` whose records may be partly in memory."""

    def __init__(self, writer: ChangeWriter, empty: Callable[[], I], name: str) -> None:
        super().__init__(writer, empty)
        self._name = name
        #: for each look-up that is under way: the ids of records that were altered meanwhile
        self._meanwhile: list[set[str]] = []
        #: what the store was asked for and did not have. Nobody knows the text with a digest before its record is written, so a
        #: record that is absent does not come later.
        self._absent: Expiring[LookupKey, bool] = Expiring(MOST_ABSENT, ABSENT, writer.seconds)
        #: whether there was an index before this one
        self.replaced = False
        #: how often a partial index has replaced another one: an end may have been missed then
        self.doubts = 0

    def seconds(self) -> float:
        """The time, in epoch seconds."""
        return self._writer.seconds()

    @property
    def complete(self) -> bool:
        """Whether all records are in memory."""
        return self._index.complete

    def replace(self, index: I) -> None:
        """See `perimeter.state.kinds.View`."""
        index.take_ends(self._index)
        super().replace(index)
        self.doubts += self.replaced and not index.complete
        self.replaced = True
        self._absent.clear()
        self._altered(_ANY)

    def _altered(self, id: str) -> None:
        """A change has altered the record with this id, which may not be in memory."""
        for ids in self._meanwhile:
            ids.add(id)

    def count_again(self, count: int) -> None:
        """The store has ``count`` records now."""
        self._index.counted = count

    def learn(self, key: LookupKey) -> Deferred[None] | None:
        """Look up what has ``key``, since it is not in memory. None: there is nothing to ask, so it does not exist.

        Fails with `perimeter.errors.Unavailable` if the store does not say whether there is something.
        """
        if self._index.complete:
            return self._writer.catch_up()
        return None if self._absent.get(key) else self.gather(key)

    def gather(self, key: LookupKey) -> Deferred[None] | None:
        """Look up all that has ``key``, whether some of it is in memory or not. None if all is in memory. Fails as `learn`."""
        if self._index.complete:
            return None
        return unaffected(Deferred.fromCoroutine(self._found(key))).addCallback(lambda _: None)

    async def gather_if_possible(self, key: LookupKey) -> None:
        """Look up what is about to end. If that fails it ends all the same, and what is not in memory is not counted."""
        with suppress(Unavailable):
            await finished(self.gather(key))

    async def _found(self, key: LookupKey) -> Sequence[Change]:
        """The records with ``key``, which are in memory then. Raises `Unavailable`."""
        for _ in range(_ATTEMPTS):
            meanwhile: set[str] = set()
            self._meanwhile.append(meanwhile)
            try:
                changes = await self._ask(key)
            finally:
                self._meanwhile = [one for one in self._meanwhile if one is not meanwhile]
            if self._index.complete:  # by now: then it has what was found
                return changes
            if _ANY not in meanwhile and meanwhile.isdisjoint(self._ids(changes)):
                for change in changes:
                    self._index.apply(change)
                if not changes and key[0] == "digest":
                    self._absent.keep(key, True)
                return changes
        raise StateUnavailable("what was looked up is being changed all the time")

    async def _ask(self, key: LookupKey) -> Sequence[Change]:
        """The changes that lead to the records with ``key``, and to all that must be in memory with them."""
        return await self._writer.find(self._name, key)

    def _ids(self, changes: Iterable[Change]) -> Iterable[Any]:
        """The ids of the records that ``changes`` lead to."""
        return (getattr(change, "id", _ANY) for change in changes)


async def finished(work: Deferred[Any] | None) -> None:
    """Wait for `PartialView.learn` or `PartialView.gather`."""
    if work is not None:
        await work
