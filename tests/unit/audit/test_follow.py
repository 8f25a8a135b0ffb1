"""Following a log: every line once, over rolls, truncation, and lines that come in parts."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.trial.unittest import TestCase

from perimeter.audit import follow as module
from perimeter.audit.follow import LINGER, Followed


class FollowedTests(TestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.followed = Followed(self.path)
        self.addCleanup(self.followed.close)

    def append(self, text: bytes, path: Path | None = None) -> None:
        with (path or self.path).open("ab") as file:
            file.write(text)

    def new(self, now: float = 0.0) -> list[bytes]:
        return list(self.followed.lines(now))

    def test_what_is_there_is_not_new(self) -> None:
        self.append(b"old\ntorn")
        cursor = self.followed.begin()
        self.assertEqual(cursor, f"{self.path.stat().st_ino}:4")
        self.assertEqual(self.new(), [])
        self.append(b" off\nnext\n")
        self.assertEqual(self.new(), [b"torn off\n", b"next\n"])
        self.assertEqual(self.new(), [])

    def test_a_file_that_comes_later(self) -> None:
        self.assertEqual(self.followed.begin(), "")
        self.assertEqual(self.new(), [])
        self.append(b"first\n")
        self.assertEqual(self.new(), [b"first\n"])

    def test_a_line_in_parts(self) -> None:
        self.append(b"")
        self.followed.begin()
        for part in (b"a", b"b", b""):
            self.append(part)
            self.assertEqual(self.new(), [])
        self.append(b"c\nd")
        self.assertEqual(self.new(), [b"abc\n"])

    def test_over_a_roll_with_late_lines_in_the_old_file(self) -> None:
        self.append(b"old\n")
        self.followed.begin()
        rolled = self.path.with_suffix(".1")
        self.append(b"last\n")
        self.path.rename(rolled)
        self.assertEqual(self.new(1.0), [b"last\n"])
        self.append(b"new\n")
        self.append(b"late\n", rolled)  # of a process that has not noticed the roll
        self.assertEqual(sorted(self.new(2.0)), [b"late\n", b"new\n"])
        self.append(b"later\n", rolled)
        self.assertEqual(self.new(2.0 + LINGER), [b"later\n"])
        self.append(b"too late\n", rolled)
        self.append(b"newer\n")
        self.assertEqual(self.new(99.0), [b"newer\n"])

    def test_two_rolls_between_two_looks(self) -> None:
        self.append(b"older\n", Path(f"{self.path}.9"))
        self.append(b"")
        self.followed.begin()
        for number in (1, 2, 3):
            self.append(b"%d\n" % number)
            self.path.rename(f"{self.path}.{number}")
        self.append(b"4\n")
        self.assertEqual(sorted(self.new()), [b"1\n", b"2\n", b"3\n", b"4\n"])
        self.assertEqual(self.new(), [])

    def test_copied_and_truncated(self) -> None:
        self.append(b"old old old\n")
        self.followed.begin()
        self.path.write_bytes(b"new\n")
        self.assertEqual(self.new(), [b"new\n"])

    def test_a_pipe_is_left_to_its_reader(self) -> None:
        os.mkfifo(self.path)
        self.assertEqual((self.followed.begin(), self.new()), ("", []))
        self.assertRaises(OSError, os.open, self.path, os.O_WRONLY | os.O_NONBLOCK)  # there is no reader

    def test_attack_95_a_line_without_end(self) -> None:
        self.patch(module, "LONGEST_LINE", 100)
        self.patch(module, "BLOCK", 64)
        self.append(b"x" * 1000)
        self.assertEqual(self.followed.begin(), f"{self.path.stat().st_ino}:1000")
        self.append(b"y" * 1000)
        self.assertEqual(self.new(), [])
        self.append(b"z\nwhole\n")
        self.assertEqual(self.new(), [b"whole\n"])
