"""The store of one machine, beside Redis: ``cluster.db`` in ``state_dir``, with everything but records.

A crash or a stop of the machine loses nothing that it has removed, and it need not read everything again at its next start.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path

from perimeter.cluster.followed import FOLLOWED, Heard, of_this_machine
from perimeter.cluster.names import DATABASE
from perimeter.state.changes import Change, Cursor
from perimeter.state.kinds import Kinds
from perimeter.state.schema import migrate
from perimeter.state.sqlite import SqliteStore


class LocalStore(SqliteStore):
    """Opens `DATABASE` in ``directory``, as `SqliteStore` does ``state.db``. ``kinds`` are all kinds, with `FOLLOWED`."""

    def __init__(self, directory: Path, kinds: Kinds, clock: Callable[[], float] = time.time) -> None:
        super().__init__(directory, kinds, clock, DATABASE, whole_up_to=-1)  # no records are here

    def replace(self, changes: Iterable[Change], heard: Heard) -> Cursor:
        """Keep ``changes`` instead of what there is, except for what removes something: nothing that was revoked comes back.

        ``changes`` lead to the new contents from nothing, which are those of the log up to ``heard``. What this machine owes the
        log stays. All readers of the store's own log find a gap. Returns the number of its last entry. Raises `StateUnavailable`.
        """
        execute = self._db.execute
        with self._available():
            execute("PRAGMA synchronous = FULL")
            with self._transaction():
                held = [change for kind in self._kinds.all for change in kind.table.load(execute)]
                kept = [change for change in held if not change.adds] + [
                    change for change in of_this_machine(held) if not isinstance(change, Heard)
                ]
                self._clear()
                # First what ends something: what it has ended is not added again.
                for change in (*kept, *changes, heard):
                    self._kinds.of(change).table.write(execute, change)
                execute("DELETE FROM change")
                execute("UPDATE sqlite_sequence SET seq = seq + 1 WHERE name = 'change'")
                if not execute("SELECT 1 FROM sqlite_sequence WHERE name = 'change'").fetchone():
                    execute("INSERT INTO sqlite_sequence VALUES ('change', 1)")
                word, body = self._kinds.encode(heard)
                execute("INSERT INTO change (at, kind, body) VALUES (?, ?, ?)", (self._clock(), word, body))
                return self._last()

    def _clear(self) -> None:
        """Empty the tables of all kinds."""
        execute = self._db.execute
        own = ("kind", "change", "sqlite_sequence")
        for (name,) in execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall():
            if name not in own:
                execute(f'DROP TABLE "{name}"')
        execute("DELETE FROM kind")
        migrate(execute, self._kinds)


def with_followed(kinds: Kinds) -> Kinds:
    """``kinds`` and what a machine knows of the log."""
    return Kinds((*kinds.all, FOLLOWED))
