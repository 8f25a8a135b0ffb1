"""A table of the SQLite store, in a database in memory."""

from __future__ import annotations

import sqlite3
from typing import Any, ClassVar

from twisted.trial.unittest import TestCase

from perimeter.state.changes import Change


class TableCase(TestCase):
    """Tests of the table ``TABLE``, which is empty at first."""

    TABLE: ClassVar[Any]

    def setUp(self) -> None:
        self.database = sqlite3.connect(":memory:")
        self.addCleanup(self.database.close)
        self.table = self.TABLE()
        for script in self.table.migrations:
            self.database.executescript(script)

    def write(self, *changes: Change) -> None:
        """Write ``changes`` to the database."""
        for change in changes:
            self.table.write(self.database.execute, change)

    def held(self) -> list[Change]:
        """What is read from the database."""
        return list(self.table.load(self.database.execute))
