"""The file of the state: its mode, and what is refused in its place."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.trial.unittest import TestCase

from perimeter.errors import StartupError
from perimeter.state.database_file import open_database_file


def descriptors(path: Path) -> int:
    """How many descriptors of this process are open on the file at ``path``."""
    wanted = os.path.realpath(path)
    return sum(os.path.realpath(entry) == wanted for entry in Path("/proc/self/fd").iterdir())


class DatabaseFileTests(TestCase):
    def setUp(self) -> None:
        directory = Path(self.mktemp())
        directory.mkdir()
        self.path = directory / "state.db"

    def test_the_file_is_created_for_its_owner_whatever_the_umask(self) -> None:
        before = os.umask(0)
        try:
            created = open_database_file(self.path)
        finally:
            os.umask(before)
        self.assertEqual(created.st_mode & 0o777, 0o600)
        self.assertEqual(open_database_file(self.path).st_ino, created.st_ino)

    def test_no_descriptor_stays_open(self) -> None:
        open_database_file(self.path)
        with self.path.open("rb"):
            self.assertEqual(descriptors(self.path), 1)
        self.path.chmod(0o644)
        self.assertRaises(StartupError, open_database_file, self.path)
        self.assertEqual(descriptors(self.path), 0)

    def test_any_right_of_others_is_refused(self) -> None:
        open_database_file(self.path)
        for mode in (0o640, 0o620, 0o610, 0o604, 0o602, 0o601):
            self.path.chmod(mode)
            with self.assertRaisesRegex(StartupError, "chmod 600"):
                open_database_file(self.path)

    def test_a_pipe_in_its_place_is_refused(self) -> None:
        os.mkfifo(self.path, 0o600)
        with self.assertRaisesRegex(StartupError, "not a regular file"):
            open_database_file(self.path)
