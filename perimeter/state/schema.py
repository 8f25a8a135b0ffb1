"""The format of ``state.db``, and the migrations that lead to it from every earlier one. Forward only, in one transaction.

The store has a format (``user_version``), and each kind of state has a version of its own (table ``kind``). Format 1 had neither
the change log nor the table of kinds; its tables are those of version 1 of the kind ``tokens``, whose first migration leaves
existing tables alone.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Final

from perimeter.errors import StartupError
from perimeter.state.kinds import Execute, Kinds

FORMAT: Final = 2
_APPLICATION: Final = 0x5065726D  # "Perm", for file(1)

_STORE: Final = """
CREATE TABLE kind (name TEXT PRIMARY KEY, version INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE change (seq INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, kind TEXT NOT NULL, body TEXT NOT NULL);
"""


def pragma(execute: Execute, name: str) -> int:
    """The value of a PRAGMA that is a number."""
    return int(execute(f"PRAGMA {name}").fetchone()[0])


def migrate(execute: Execute, kinds: Kinds) -> None:
    """Bring the database to the present format, or raise `StartupError` if it is a newer one or another program's.

    ``execute`` runs within a transaction, so that a fault in any step leaves the file as it was.
    """
    application, found = pragma(execute, "application_id"), pragma(execute, "user_version")
    if application not in (0, _APPLICATION) or (application == 0 and _tables(execute)):
        raise StartupError("not a database of Perimeter")
    if found > FORMAT:
        raise StartupError(f"written by a newer version of Perimeter (format {found}; this version reads up to {FORMAT})")
    if found < FORMAT:
        for statement in statements(_STORE):
            execute(statement)
        execute(f"PRAGMA application_id = {_APPLICATION}")
        execute(f"PRAGMA user_version = {FORMAT}")
    _migrate_kinds(execute, kinds)


def _migrate_kinds(execute: Execute, kinds: Kinds) -> None:
    versions = dict(execute("SELECT name, version FROM kind").fetchall())
    unknown = versions.keys() - {kind.name for kind in kinds.all}
    if unknown:
        raise StartupError(f"written by a newer version of Perimeter (it keeps {', '.join(sorted(unknown))})")
    for kind in kinds.all:
        version, latest = versions.get(kind.name, 0), len(kind.table.migrations)
        if version > latest:
            raise StartupError(
                f"written by a newer version of Perimeter ({kind.name}: version {version}; this version reads up to {latest})"
            )
        for number, script in enumerate(kind.table.migrations[version:], version + 1):
            for statement in statements(script):
                execute(statement)
            execute("INSERT OR REPLACE INTO kind VALUES (?, ?)", (kind.name, number))


def _tables(execute: Execute) -> bool:
    return execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone() is not None


def statements(script: str) -> Iterator[str]:
    """The statements of a script, one by one: `sqlite3.Connection.executescript` would end the transaction."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement.strip()
            statement = ""
    if statement.strip():
        raise ValueError("the script ends within a statement")
