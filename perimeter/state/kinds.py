"""Kinds of state: what each one has to describe, and the set of those that a store keeps.

To add a kind: subclass `Change`, write its `Table` and its `View` (mostly an `IndexedView`), put them together in a `Kind`, and
add that to `perimeter.run.build.state_kinds`. Nothing in `perimeter.state` changes.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar

import attrs
from twisted.internet.defer import Deferred

from perimeter.state.changes import Change
from perimeter.state.writer import ChangeWriter, LookupKey

C = TypeVar("C", bound=Change)
V = TypeVar("V", bound="View")

Execute = Callable[..., sqlite3.Cursor]
"""``execute(sql, values)`` of an SQLite connection, within a transaction."""


@attrs.frozen
class Effect(Generic[C]):
    """What a change does to the records that have one of ``keys``. ``applied`` returns the record after it; None: it goes.

    ``note`` returns the change that is kept beside a record, from the record and the one that was kept before, if there was one:
    what `Records.find` returns after the record. Without ``note`` that stays as it is.
    """

    keys: Sequence[LookupKey]
    applied: Callable[[C], C | None]
    note: Callable[[C, Change | None], Change] | None = None


@attrs.frozen
class Listed:
    """What `perimeter.state.page.Page` needs to know of a record.

    ``created`` is in epoch seconds, ``realm`` and ``username`` are those of the owner; ``passing``: a token without a name.
    """

    created: float
    realm: str
    username: str
    passing: bool = False


@attrs.frozen
class Records(Generic[C]):
    """The items of a kind that need not all be in memory, since each can be looked up.

    ``change`` is the class of change that adds one. ``keys`` are what it is found by: first ``("digest", hexadecimal)``, which no
    other has, then ``("id", id)``, then the others. ``ends`` is when it ends in any case (epoch seconds; infinite for never).
    ``effect`` is what any other change of the kind does to records; None for nothing. ``find`` reads the records with a key from
    the tables of SQLite, as changes that lead to them from nothing, and ``count`` counts all records there. ``others`` reads all
    that is in the tables besides records. ``listed`` is None for a record that is listed with its parent: ``("parent", id)`` is
    the key of those that came from a record.
    """

    change: type[C]
    keys: Callable[[C], Sequence[LookupKey]]
    ends: Callable[[C], float]
    effect: Callable[[Change], Effect[C] | None]
    find: Callable[[Execute, LookupKey], Iterable[Change]]
    count: Callable[[Execute], int]
    others: Callable[[Execute], Iterable[Change]]
    listed: Callable[[C], Listed | None]


class View(Protocol):
    """What holds one kind of state in memory. All methods but `index` are for the reactor thread."""

    def index(self, changes: Iterable[Change]) -> Any:
        """A new index of a store's contents. Called in the store's thread; touches nothing of the view."""

    def replace(self, index: Any) -> None:
        """Use ``index`` from now on."""

    def apply(self, change: Change) -> None:
        """Put one change in force. To apply a change twice, or one that was superseded, has no effect."""

    def removed(self) -> None:
        """Something was removed: remembered decisions must be made again."""

    def forget(self, now: float) -> None:
        """Drop what ended by ``now`` (epoch seconds)."""


class Index(Protocol):
    """All of one kind of state in memory, by what it is looked up by."""

    def apply(self, change: Change) -> None:
        """Put one change in force."""

    def forget(self, now: float) -> None:
        """Drop what ended by ``now`` (epoch seconds)."""


I = TypeVar("I", bound=Index)  # noqa: E741


class IndexedView(Generic[I]):
    """A `View` of one index; ``empty`` makes an empty one. Where a decision is remembered, `removed` has to be extended."""

    def __init__(self, writer: ChangeWriter, empty: Callable[[], I]) -> None:
        self._writer = writer
        self._empty = empty
        self._index = empty()

    def index(self, changes: Iterable[Change]) -> I:
        """See `View`."""
        index = self._empty()
        for change in changes:
            index.apply(change)
        return index

    def replace(self, index: I) -> None:
        """See `View`."""
        self._index = index

    def apply(self, change: Change) -> None:
        """See `View`."""
        self._index.apply(change)

    def removed(self) -> None:
        """See `View`."""

    def forget(self, now: float) -> None:
        """See `View`."""
        self._index.forget(now)

    def news(self) -> Deferred[None] | None:
        """See `perimeter.state.writer.Follows`."""
        return self._writer.catch_up()


class Table(Protocol):
    """How SQLite keeps one kind. ``execute`` runs within a transaction, which the caller begins and ends."""

    migrations: Sequence[str]
    """SQL scripts; the first N of them lead from nothing to version N. A script that was released is never changed."""

    def load(self, execute: Execute) -> Iterator[Change]:
        """Everything, as changes. Raises ValueError, TypeError or KeyError if a row cannot be read."""

    def write(self, execute: Execute, change: Change) -> None:
        """Apply one change to the tables."""

    def forget(self, execute: Execute, now: float) -> None:
        """Delete what ended by ``now`` (epoch seconds)."""


@attrs.frozen
class Codec(Generic[C]):
    """Text of one class of changes in the change log. ``decode`` raises ValueError, TypeError or KeyError."""

    change: type[C]
    encode: Callable[[C], str]
    decode: Callable[[str], C]


@attrs.frozen
class Kind(Generic[V]):
    """One kind of state.

    ``name`` is its name in the database. ``codecs`` are by the word that marks such a change in the log. ``view`` makes what
    holds the kind in memory, and gets the way to write changes. ``records`` describes the items that can be looked up.
    """

    name: str
    codecs: Mapping[str, Codec[Any]]
    table: Table
    view: Callable[[ChangeWriter], V]
    records: Records[Any] | None = None


class Kinds:
    """The kinds that a store keeps. Raises ValueError if two of them share a name, a word or a class of changes."""

    def __init__(self, kinds: Iterable[Kind[Any]]) -> None:
        self.all = tuple(kinds)
        self._named = {kind.name: kind for kind in self.all}
        self._of_word: dict[str, Codec[Any]] = {}
        self._of_change: dict[type[Change], tuple[Kind[Any], str]] = {}
        if len(self._named) != len(self.all):
            raise ValueError("two kinds of state have the same name")
        for kind in self.all:
            for word, codec in kind.codecs.items():
                if word in self._of_word or codec.change in self._of_change:
                    raise ValueError(f"two kinds of state have a change {word}")
                self._of_word[word] = codec
                self._of_change[codec.change] = kind, word

    def records_of(self, name: str) -> Records[Any]:
        """The records of the kind with this name. Raises KeyError if it has none."""
        records = self._named[name].records
        if records is None:
            raise KeyError(name)
        return records

    def of(self, change: Change) -> Kind[Any]:
        """The kind that ``change`` belongs to. Raises KeyError if that is not one of these."""
        return self._of_change[type(change)][0]

    def encode(self, change: Change) -> tuple[str, str]:
        """Word and text of ``change`` in the log. Raises KeyError if its kind is not one of these."""
        word = self._of_change[type(change)][1]
        return word, self._of_word[word].encode(change)

    def decode(self, word: str, text: str) -> Change:
        """The change that `encode` made ``word`` and ``text`` of. Raises ValueError, TypeError or KeyError."""
        change: Change = self._of_word[word].decode(text)
        return change
