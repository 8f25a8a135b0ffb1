"""How far this machine has followed the common log, and what it still has to add to it: a kind of state of this machine alone.

It is in the store of the machine, so it changes in one transaction with what was heard and what was removed, and all workers of
the machine see it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred, succeed

from perimeter.cluster.log import BEGINNING, place
from perimeter.errors import StateUnavailable
from perimeter.state.changes import Change
from perimeter.state.kinds import Codec, Execute, IndexedView, Kind
from perimeter.state.writer import ChangeWriter

_TABLES: Final = """
CREATE TABLE cluster_heard (one INTEGER PRIMARY KEY CHECK (one = 1), origin TEXT NOT NULL, cursor TEXT NOT NULL);
CREATE TABLE cluster_owed (name TEXT PRIMARY KEY, at REAL NOT NULL, word TEXT NOT NULL, body TEXT NOT NULL);
"""


class Overtaken(StateUnavailable):
    """Another worker of this machine has written what was heard."""


@attrs.frozen
class Heard(Change):
    """This machine has all changes up to ``cursor`` of the log of the contents with the name ``origin``.

    It can be written only to a store that has heard the log up to ``after``, unless that is "": another worker may have gone on.
    """

    origin: str
    cursor: str
    after: str = ""

    @property
    def adds(self) -> bool:
        """True: it removes nothing."""
        return True

    @property
    def passing(self) -> bool:
        """True: after a power failure, some entries are read again."""
        return True


@attrs.frozen
class Owed(Change):
    """A removal, as word and text of the change log, that has to be in the common log under this ``name``.

    ``at`` is when it was made (epoch seconds).
    """

    name: str
    at: float
    word: str
    body: str

    @property
    def adds(self) -> bool:
        """True: it removes nothing."""
        return True


@attrs.frozen
class Settled(Change):
    """The removals with these ``names`` are in the common log, for good."""

    names: tuple[str, ...]

    @property
    def adds(self) -> bool:
        """True: it removes nothing."""
        return True

    @property
    def passing(self) -> bool:
        """True: after a power failure, they are added once more."""
        return True


class FollowedIndex:
    """Empty at first; `apply` changes it."""

    def __init__(self) -> None:
        self.heard = Heard("", BEGINNING)
        #: by name, the oldest first
        self.owed: dict[str, Owed] = {}

    def apply(self, change: Change) -> None:
        """Put one change in force."""
        if isinstance(change, Heard):
            self.heard = change
        elif isinstance(change, Owed):
            self.owed[change.name] = change
        elif isinstance(change, Settled):
            for name in change.names:
                self.owed.pop(name, None)

    def forget(self, now: float) -> None:
        """Nothing: what is owed stays until it is settled."""


class Followed(IndexedView[FollowedIndex]):
    """How far this machine is (`perimeter.state.kinds.View`)."""

    def __init__(self, writer: ChangeWriter) -> None:
        super().__init__(writer, FollowedIndex)
        self._waiting: dict[Deferred[None], str] = {}

    @property
    def heard(self) -> Heard:
        """The place in the log up to which everything is in force here."""
        return self._index.heard

    @property
    def owed(self) -> Mapping[str, Owed]:
        """What has to be in the log, by name, the oldest first."""
        return self._index.owed

    def replace(self, index: FollowedIndex) -> None:
        """See `perimeter.state.kinds.View`."""
        super().replace(index)
        self._fire()

    def apply(self, change: Change) -> None:
        """See `perimeter.state.kinds.View`."""
        super().apply(change)
        if isinstance(change, Heard):
            self._fire()

    def reached(self, cursor: str) -> Deferred[None]:
        """Fires when everything up to ``cursor`` is in force here. The caller limits the time."""
        if place(cursor) <= place(self._index.heard.cursor):
            return succeed(None)

        def cancelled(_: Deferred[None]) -> None:
            self._waiting.pop(waiting, None)

        waiting: Deferred[None] = Deferred(cancelled)
        self._waiting[waiting] = cursor
        return waiting

    def _fire(self) -> None:
        heard = place(self._index.heard.cursor)
        for waiting in [one for one, cursor in self._waiting.items() if place(cursor) <= heard]:
            del self._waiting[waiting]
            waiting.callback(None)


class FollowedTable:
    """`perimeter.state.kinds.Table` of it."""

    migrations: Sequence[str] = (_TABLES,)

    def load(self, execute: Execute) -> Iterator[Change]:
        """Everything."""
        for row in execute("SELECT origin, cursor FROM cluster_heard"):
            yield Heard(*row)
        for row in execute("SELECT name, at, word, body FROM cluster_owed ORDER BY at"):
            yield Owed(*row)

    def write(self, execute: Execute, change: Change) -> None:
        """Apply one change."""
        if isinstance(change, Heard):
            if change.after and execute("SELECT cursor FROM cluster_heard").fetchall() != [(change.after,)]:
                raise Overtaken("another worker follows the log")
            execute("INSERT OR REPLACE INTO cluster_heard VALUES (1, ?, ?)", (change.origin, change.cursor))
        elif isinstance(change, Owed):
            execute("INSERT OR REPLACE INTO cluster_owed VALUES (?, ?, ?, ?)", attrs.astuple(change))
        elif isinstance(change, Settled):
            for name in change.names:
                execute("DELETE FROM cluster_owed WHERE name = ?", (name,))

    def forget(self, execute: Execute, now: float) -> None:
        """Nothing."""


def _codec(change: type[Any]) -> Codec[Any]:
    return Codec(change, lambda one: json.dumps(attrs.astuple(one)), lambda text: change(*json.loads(text)))


def _settled(text: str) -> Settled:
    (names,) = json.loads(text)
    return Settled(tuple(names))


CODECS: Final[Mapping[str, Codec[Any]]] = {
    "cluster_heard": _codec(Heard),
    "cluster_owed": _codec(Owed),
    "cluster_settled": Codec(Settled, lambda settled: json.dumps(attrs.astuple(settled)), _settled),
}

FOLLOWED: Final[Kind[Followed]] = Kind("cluster", CODECS, FollowedTable(), Followed)
"""What this machine knows of the common log."""


def of_this_machine(changes: Iterable[Change]) -> list[Change]:
    """Those of ``changes`` that are about this machine alone."""
    return [change for change in changes if isinstance(change, Heard | Owed | Settled)]
