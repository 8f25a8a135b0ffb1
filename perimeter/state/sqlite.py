"""The state in an SQLite database, ``state.db`` in ``state_dir``: for one machine, without any set-up.

Several processes may use the file at the same time. Each change is written together with an entry in a numbered log, in one
transaction; the other processes read the log. All methods block; no two threads may call them at the same time.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from zope.interface import implementer

from perimeter.descriptors import system_reason
from perimeter.errors import StartupError, StateUnavailable
from perimeter.state.changes import Change, Cursor, Extent, Gap, Held
from perimeter.state.database_file import open_database_file
from perimeter.state.kinds import Kind, Kinds
from perimeter.state.once import claimed
from perimeter.state.schema import migrate
from perimeter.state.store import Claim, IStateStore
from perimeter.state.writer import LookupKey

NAME: Final = "state.db"
_BUSY: Final = 5.0
"""Seconds to wait for another process that is writing."""

LOG_SECONDS: Final = 3600.0
LOG_ENTRIES: Final = 100_000
LOG_BYTES: Final = 64 * 1024 * 1024
"""The log keeps the entries of the last `LOG_SECONDS`, and older ones up to `LOG_ENTRIES` and `LOG_BYTES` of text in all."""

BATCH: Final = 1000
"""Changes that `SqliteStore.since` returns at most, since they are put in force in one turn of the reactor."""

_LAST: Final = "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'change'), 0)"
_SINCE: Final = "SELECT seq, kind, body FROM change WHERE seq > ? ORDER BY seq LIMIT ?"
_LOG: Final = "INSERT INTO change (at, kind, body) VALUES (?, ?, ?)"
# A prefix, never single entries: a hole would look like a Gap. The time of an entry may be wrong, its number is not.
_TRIM: Final = """
DELETE FROM change WHERE seq <= (SELECT seq FROM change WHERE seq <= ? AND at < ? ORDER BY seq DESC LIMIT 1)
"""
_TOO_MUCH: Final = """
SELECT coalesce(max(seq), 0) FROM (SELECT seq, sum(length(body)) OVER (ORDER BY seq DESC) AS text FROM change) WHERE text > ?
"""


@implementer(IStateStore)
class SqliteStore:
    """Opens the file ``name`` in ``directory``, creates it if there is none, and migrates an older one.

    ``clock`` gives epoch seconds. Of a kind with more than ``whole_up_to`` records, `load` returns no records; None: it always
    does. Raises `StartupError` if the file cannot be used.
    """

    def __init__(
        self,
        directory: Path,
        kinds: Kinds,
        clock: Callable[[], float] = time.time,
        name: str = NAME,
        whole_up_to: int | None = None,
    ) -> None:
        self.path = directory / name
        self._kinds = kinds
        self._whole_up_to = whole_up_to
        self._clock = clock
        with self._start_faults():
            status = open_database_file(self.path)
            self._file = (status.st_dev, status.st_ino)
            # Several threads use the connection, one after the other.
            self._db = sqlite3.connect(self.path, timeout=_BUSY, isolation_level=None, check_same_thread=False)
            try:
                self._db.execute("PRAGMA journal_mode = WAL")
                self._db.execute("PRAGMA trusted_schema = OFF")
                with self._transaction():
                    migrate(self._db.execute, kinds)
            except BaseException:
                self._db.close()
                raise

    @contextmanager
    def _start_faults(self) -> Iterator[None]:
        """Report the faults of opening and loading as `StartupError`, with the name of the file."""
        try:
            yield
        except StartupError as problem:
            text = str(problem)
            raise StartupError(text if text.startswith(str(self.path)) else f"{self.path}: {text}") from problem
        except OSError as problem:
            raise StartupError(f"{self.path}: {system_reason(problem)}") from problem
        except (sqlite3.Error, ValueError, TypeError, KeyError) as problem:
            raise StartupError(f"{self.path}: cannot be used: {system_reason(problem)}") from problem

    @contextmanager
    def _available(self) -> Iterator[None]:
        """Report what SQLite raises as `StateUnavailable`, and refuse to use a file that has no name any more."""
        try:
            status = os.stat(self.path, follow_symlinks=False)
        except OSError:
            status = None
        if status is None or (status.st_dev, status.st_ino) != self._file:
            raise StateUnavailable(f"{self.path}: replaced or removed while in use; restart the gateway, or put it back")
        try:
            yield
        except sqlite3.Error as problem:
            raise StateUnavailable(f"{self.path}: {system_reason(problem)}") from problem

    @contextmanager
    def _transaction(self, begin: str = "BEGIN IMMEDIATE") -> Iterator[None]:
        self._db.execute(begin)
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            # Some faults of the disk end the transaction. One that stayed open would make every later BEGIN fail.
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def _last(self) -> Cursor:
        return int(self._db.execute(_LAST).fetchone()[0])

    # -- IStateStore

    def load(self) -> tuple[Held, Cursor]:
        """Everything, of one moment, except records of which there are too many.

        Raises `StartupError` if the file is damaged: an unreadable list of revocations revokes nothing.
        """
        with self._start_faults(), self._transaction("BEGIN"):
            held = {kind.name: list(self._load(kind)) for kind in self._kinds.all}
            return held, self._last()

    def _load(self, kind: Kind[Any]) -> Iterator[Change]:
        execute, records = self._db.execute, kind.records
        if records is None or self._whole_up_to is None:
            yield from kind.table.load(execute)
            return
        extent = Extent(records.count(execute), self._whole_up_to)
        yield extent
        yield from kind.table.load(execute) if extent.whole else records.others(execute)

    def since(self, cursor: Cursor) -> tuple[Sequence[Change], Cursor] | Gap:
        """Up to `BATCH` changes after ``cursor``. Raises `StateUnavailable`.

        An entry that cannot be read is a `Gap`, too: the tables have all that it says.
        """
        with self._available():
            rows = self._db.execute(_SINCE, (cursor, BATCH)).fetchall()
            if not rows:
                return Gap() if self._last() < cursor else ([], cursor)
        if rows[0][0] != cursor + 1:
            return Gap()
        try:
            return [self._kinds.decode(word, body) for _, word, body in rows], int(rows[-1][0])
        except (ValueError, TypeError, KeyError):
            return Gap()

    def write(self, changes: Sequence[Change]) -> Cursor:
        """Make all of ``changes``, or none. Raises `StateUnavailable`."""
        passing = all(change.passing for change in changes)
        execute, at = self._db.execute, self._clock()
        with self._available():
            execute(f"PRAGMA synchronous = {'NORMAL' if passing else 'FULL'}")
            with self._transaction():
                for change in changes:
                    self._kinds.of(change).table.write(execute, change)
                    execute(_LOG, (at, *self._kinds.encode(change)))
                return self._last()

    def claim(self, claims: Sequence[Claim]) -> Sequence[bool]:
        """Which of ``claims`` are the first ones of their digest. Raises `StateUnavailable` and `Overloaded`."""
        with self._available():
            self._db.execute("PRAGMA synchronous = FULL")
            with self._transaction():
                return claimed(self._db.execute, claims, self._clock())

    def find(self, kind: str, key: LookupKey) -> Sequence[Change]:
        """The records that have ``key``. Raises `StateUnavailable`, also if one cannot be read."""
        records = self._kinds.records_of(kind)
        try:
            with self._available():
                return list(records.find(self._db.execute, key))
        except (ValueError, TypeError, KeyError) as problem:
            raise StateUnavailable(f"{self.path}: a record of {kind} cannot be read") from problem

    def count(self, kind: str) -> int:
        """How many records of a kind there are. Raises `StateUnavailable`."""
        with self._available():
            return self._kinds.records_of(kind).count(self._db.execute)

    def forget(self, now: float) -> None:
        """Drop what ended by ``now`` (epoch seconds), and old entries of the log. Raises `StateUnavailable`."""
        with self._available(), self._transaction():
            for kind in self._kinds.all:
                kind.table.forget(self._db.execute, now)
            too_much = self._db.execute(_TOO_MUCH, (LOG_BYTES,)).fetchone()[0]
            last = self._last()
            # The last entry stays: a log without any would not show that there were some.
            self._db.execute(_TRIM, (min(max(last - LOG_ENTRIES, too_much), last - 1), now - LOG_SECONDS))

    def close(self) -> None:
        """Close the database."""
        self._db.close()
