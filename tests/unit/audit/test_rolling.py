"""The rolling file: whole lines in every case, rolled by day and by size, with real files and real system errors."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from datetime import datetime, timedelta
from pathlib import Path
from unittest import mock

from twisted.trial import unittest

from perimeter.audit import rolling
from perimeter.audit.old_files import day_bounds
from perimeter.audit.rolling import RollingFile, Unwritten
from perimeter.config.site.audit import Roll

NOON = datetime(2026, 11, 22, 12, 0).timestamp()
DAY = timedelta(days=1).total_seconds()


REAL_WRITE = os.write


class Wall:
    """A wall clock that the test sets."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> float:
        return self.now


class RollingCase(unittest.TestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        self.path = (self.directory / "access.log").absolute()
        self.wall = Wall()

    def file(self, roll: Roll | int = Roll.DAILY, keep: int = 3) -> RollingFile:
        file = RollingFile(self.path, roll, keep, self.wall)
        self.addCleanup(file.close)
        return file

    def opened(self, roll: Roll | int = Roll.DAILY, keep: int = 3) -> RollingFile:
        file = self.file(roll, keep)
        file.open()
        return file

    def there(self, content: bytes, day: datetime, name: str = "access.log") -> None:
        path = self.directory / name
        path.write_bytes(content)
        os.utime(path, (day.timestamp(), day.timestamp()))

    def found(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.directory.iterdir()}


class OpeningTests(RollingCase):
    def test_mode_whatever_the_umask(self) -> None:
        before = os.umask(0o077)
        self.addCleanup(os.umask, before)
        self.opened()
        self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o640)

    def test_appends(self) -> None:
        self.there(b"one\n", datetime.fromtimestamp(NOON))
        self.opened().write(b"two\n")
        self.assertEqual(self.found(), {"access.log": b"one\ntwo\n"})

    def test_half_a_line_of_a_dead_process_is_ended_first(self) -> None:
        self.there(b"one\ntw", datetime.fromtimestamp(NOON))
        file = self.opened()
        file.write(b"three\n")
        file.write(b"four\n")
        self.assertEqual(self.found(), {"access.log": b"one\ntw\nthree\nfour\n"})

    def test_no_directory(self) -> None:
        self.directory.rmdir()
        self.assertRaises(FileNotFoundError, self.file().open)

    def test_down_over_midnight(self) -> None:
        self.there(b"old\n", datetime(2026, 11, 20, 23, 59))
        self.opened().write(b"new\n")
        self.assertEqual(self.found(), {"access.log": b"new\n", "access.log.2026-11-20": b"old\n"})


class DailyTests(RollingCase):
    def test_rolls_at_local_midnight(self) -> None:
        file = self.opened()
        file.write(b"sunday\n")
        self.wall.now = day_bounds(NOON)[1] - 0.01
        file.write(b"late\n")
        self.wall.now += 0.01
        os.utime(self.path, (self.wall.now, self.wall.now))
        file.write(b"monday\n")
        self.assertEqual(self.found(), {"access.log": b"monday\n", "access.log.2026-11-22": b"sunday\nlate\n"})

    def test_nothing_written_makes_no_file(self) -> None:
        file = self.opened()
        self.wall.now += DAY
        file.write(b"monday\n")
        self.assertEqual(self.found(), {"access.log": b"monday\n"})

    def test_name_that_is_taken_is_not_overwritten(self) -> None:
        self.there(b"first\n", datetime.fromtimestamp(NOON), "access.log.2026-11-22")
        self.there(b"second\n", datetime.fromtimestamp(NOON), "access.log.2026-11-22.1")
        self.there(b"third\n", datetime.fromtimestamp(NOON))
        self.wall.now += DAY
        self.opened().write(b"monday\n")
        self.assertEqual(
            self.found(),
            {
                "access.log": b"monday\n",
                "access.log.2026-11-22": b"first\n",
                "access.log.2026-11-22.1": b"second\n",
                "access.log.2026-11-22.2": b"third\n",
            },
        )

    def test_clock_put_back_and_forth_loses_nothing(self) -> None:
        file = self.opened(keep=0)
        written = []
        for number, days in enumerate((0, 1, -1, 0, 2, 0, 1)):
            self.wall.now = NOON + days * DAY
            line = b"line %d\n" % number
            file.write(line)
            os.utime(self.path, (self.wall.now, self.wall.now))
            written.append(line)
        lines = [line for content in self.found().values() for line in content.splitlines(keepends=True)]
        self.assertEqual(sorted(lines), written)

    def test_keeps_the_newest_days(self) -> None:
        for name in ("access.log.2026-11-01.gz", "access.log.2026-11-02", "access.log.2026-11-02.1", "access.log.2026-11-20"):
            self.there(b"x\n", datetime.fromtimestamp(NOON), name)
        bystanders = ("access.log.1", "access.log.2026-11-01.orig", "access.other.log.2026-11-01", "xaccess.log.2026-11-01")
        for name in bystanders:
            self.there(b"x\n", datetime.fromtimestamp(NOON), name)
        self.there(b"old\n", datetime(2026, 11, 21))
        self.opened(keep=2)
        left = {"access.log", "access.log.2026-11-20", "access.log.2026-11-21", *bystanders}
        self.assertEqual(set(self.found()), left)

    def test_roll_cut_off_half_way_is_finished(self) -> None:
        self.there(b"old\n", datetime(2026, 11, 21))
        os.link(self.path, self.directory / "access.log.2026-11-21")
        self.opened().write(b"new\n")
        self.assertEqual(self.found(), {"access.log": b"new\n", "access.log.2026-11-21": b"old\n"})

    def test_two_writers_of_one_file(self) -> None:
        # during a reload the logs of the old and the new configuration are both open
        files = [self.opened(), self.opened()]
        for file in files:
            file.write(b"sunday\n")
        self.wall.now += DAY
        for file in files:
            file.write(b"monday\n")
            os.utime(self.path, (self.wall.now, self.wall.now))
        self.assertEqual(self.found(), {"access.log": b"monday\n" * 2, "access.log.2026-11-22": b"sunday\n" * 2})

    def test_roll_that_fails_goes_on_with_the_file(self) -> None:
        file = self.opened()
        file.write(b"sunday\n")
        with (
            mock.patch("os.link", side_effect=PermissionError(errno.EPERM, "no")),
            mock.patch("os.rename", side_effect=PermissionError(errno.EACCES, "no")),
        ):
            self.wall.now += DAY
            file.write(b"one\n")
            self.wall.now += 2
            file.write(b"two\n")
        self.assertEqual(self.found(), {"access.log": b"sunday\none\ntwo\n"})

    def test_file_system_without_links(self) -> None:
        self.there(b"old\n", datetime(2026, 11, 21))
        self.there(b"taken\n", datetime(2026, 11, 21), "access.log.2026-11-21")
        with mock.patch("os.link", side_effect=PermissionError(errno.EPERM, "no")):
            self.opened()
        self.assertEqual(self.found()["access.log.2026-11-21.1"], b"old\n")
        self.assertEqual(self.found()["access.log.2026-11-21"], b"taken\n")


class SizeTests(RollingCase):
    def test_numbers(self) -> None:
        file = self.opened(roll=10, keep=2)
        for number in range(5):
            file.write(b"line %d\n" % number)
        self.assertEqual(self.found(), {"access.log": b"line 4\n", "access.log.1": b"line 3\n", "access.log.2": b"line 2\n"})

    def test_up_to_the_size_and_not_beyond(self) -> None:
        file = self.opened(roll=14)
        for number in range(3):
            file.write(b"line %d\n" % number)
        self.assertEqual(self.found(), {"access.log": b"line 2\n", "access.log.1": b"line 0\nline 1\n"})

    def test_line_larger_than_the_size(self) -> None:
        file = self.opened(roll=3)
        file.write(b"line 0\n")
        file.write(b"line 1\n")
        self.assertEqual(self.found(), {"access.log": b"line 1\n", "access.log.1": b"line 0\n"})

    def test_gap_is_filled_and_nothing_dropped(self) -> None:
        for number in (1, 2, 4):
            self.there(b"%d\n" % number, datetime.fromtimestamp(NOON), f"access.log.{number}")
        self.there(b"0\n", datetime.fromtimestamp(NOON))
        self.opened(roll=2, keep=4).write(b"x\n")
        expected = {f"access.log.{number}": b"%d\n" % (number - 1) for number in (1, 2, 3)}
        self.assertEqual(self.found(), {"access.log": b"x\n", "access.log.4": b"4\n", **expected})

    def test_keep_one(self) -> None:
        file = self.opened(roll=2, keep=1)
        for number in range(3):
            file.write(b"%d\n" % number)
        self.assertEqual(self.found(), {"access.log": b"2\n", "access.log.1": b"1\n"})

    def test_keep_all(self) -> None:
        file = self.opened(roll=2, keep=0)
        for number in range(50):
            file.write(b"%d\n" % number)
        self.assertEqual(len(self.found()), 50)


class MovedAwayTests(RollingCase):
    def test_noticed_within_a_second(self) -> None:
        file = self.opened()
        file.write(b"one\n")
        self.path.rename(self.directory / "moved")
        self.wall.now += 0.5
        file.write(b"two\n")
        self.wall.now += 0.5
        file.write(b"three\n")
        self.assertEqual(self.found(), {"moved": b"one\ntwo\n", "access.log": b"three\n"})

    def test_reopened_at_once(self) -> None:
        file = self.opened()
        file.write(b"one\n")
        self.path.rename(self.directory / "moved")
        file.reopen()
        file.write(b"two\n")
        self.assertEqual(self.found(), {"moved": b"one\n", "access.log": b"two\n"})

    def test_copytruncate(self) -> None:
        file = self.opened(roll=100)
        file.write(b"x" * 90 + b"\n")
        os.truncate(self.path, 0)
        self.wall.now += 1
        file.write(b"two\n")
        self.assertEqual(self.found(), {"access.log": b"two\n"})

    def test_moved_and_nothing_can_be_opened(self) -> None:
        # the lines go to the moved file, which is better than losing them
        file = self.opened()
        self.path.rename(self.directory.parent / "moved")
        self.addCleanup((self.directory.parent / "moved").unlink)
        shutil.rmtree(self.directory)
        self.wall.now += 1
        file.write(b"one\n")
        self.assertEqual((self.directory.parent / "moved").read_bytes(), b"one\n")

    def test_directory_removed_is_a_failure(self) -> None:
        file = self.opened()
        shutil.rmtree(self.directory)
        self.wall.now += 1
        error = self.assertRaises(Unwritten, file.write, b"one\n")
        self.assertEqual((error.error.errno, error.rest), (errno.ENOENT, b"one\n"))


class FaultTests(RollingCase):
    def writes(self, *results: int | OSError) -> None:
        """Each write(2) accepts the given number of bytes, or fails. Later writes work again."""
        real = os.write
        left = list(results)

        def write(fd: int, data: bytes) -> int:
            if not left:
                return real(fd, data)
            result = left.pop(0)
            if isinstance(result, OSError):
                raise result
            return real(fd, data[:result])

        patch = mock.patch("os.write", write)
        patch.start()
        self.addCleanup(patch.stop)

    def test_disk_full(self) -> None:
        file = RollingFile(Path("/dev/full"), Roll.DAILY, 3, self.wall)
        self.addCleanup(file.close)
        file.open()
        error = self.assertRaises(Unwritten, file.write, b"one\n")
        self.assertEqual((error.error.errno, error.rest), (errno.ENOSPC, b"one\n"))
        self.assertTrue(stat.S_ISCHR(os.stat("/dev/full").st_mode))

    def test_one_call_a_write(self) -> None:
        file = self.opened()
        with mock.patch("os.write", side_effect=os.write) as write:
            file.write(b"one\ntwo\n")
        self.assertEqual([call.args[1] for call in write.call_args_list], [b"one\ntwo\n"])

    def test_short_write_is_completed(self) -> None:
        file = self.opened()
        self.writes(2, 0)
        self.assertEqual(self.assertRaises(Unwritten, file.write, b"one\ntwo\n").rest, b"one\ntwo\n")
        self.assertEqual(self.found(), {"access.log": b""}, "no torn line stays")
        self.writes(5, 1)
        file.write(b"one\ntwo\n")
        self.assertEqual(self.found(), {"access.log": b"one\ntwo\n"})

    def test_short_write_then_full(self) -> None:
        for cut, rest, content in (
            (2, b"one\ntwo\n", b"end\n"),
            (4, b"two\n", b"one\nend\n"),
            (6, b"two\n", b"one\nend\n"),
            (0, b"one\ntwo\n", b"end\n"),
        ):
            file = self.opened()
            self.writes(cut, OSError(errno.ENOSPC, "full"))
            self.assertEqual(self.assertRaises(Unwritten, file.write, b"one\ntwo\n").rest, rest)
            file.write(b"end\n")
            self.assertEqual(self.found(), {"access.log": content})
            self.path.unlink()

    def test_a_line_that_is_being_written_while_the_file_is_opened_is_not_torn(self) -> None:
        """A reload opens the file in a thread while the configuration in force goes on writing."""
        for looks in (1, 2):
            self.there(b"on", datetime.fromtimestamp(NOON))
            pauses: list[float] = []

            def pause(seconds: float, looks: int = looks, pauses: list[float] = pauses) -> None:
                pauses.append(seconds)
                if len(pauses) == looks + 1:
                    self.there(b"one\n", datetime.fromtimestamp(NOON))

            self.patch(rolling.time, "sleep", pause)
            file = self.opened()
            file.write(b"two\n")
            self.assertEqual(self.found(), {"access.log": b"one\ntwo\n"})
            self.assertEqual(len(pauses), looks + 1)
            self.path.unlink()

    def test_a_line_that_was_torn_before_the_start_ends_with_a_newline(self) -> None:
        self.there(b"one\non", datetime.fromtimestamp(NOON))
        self.opened().write(b"two\n")
        self.assertEqual(self.found(), {"access.log": b"one\non\ntwo\n"})

    def test_a_file_that_another_process_rolls_while_it_is_opened_is_not_torn(self) -> None:
        self.there(b"x" * 99 + b"\n", datetime.fromtimestamp(NOON))
        real = os.open

        def roll_first(name: str, flags: int, *mode: int) -> int:
            if flags == os.O_RDONLY | os.O_CLOEXEC:
                self.path.rename(self.directory / "access.log.1")
                self.path.write_bytes(b"new\n")
            return real(name, flags, *mode)

        file = self.file()
        with mock.patch("os.open", roll_first):
            file.open()
        file.write(b"one\n")
        self.assertEqual(self.found(), {"access.log": b"new\n", "access.log.1": b"x" * 99 + b"\none\n"})

    def test_torn_twice(self) -> None:
        file = self.opened()
        full = OSError(errno.ENOSPC, "full")
        self.writes(2, full, full, 1, full)
        for _ in range(3):
            self.assertEqual(self.assertRaises(Unwritten, file.write, b"one\ntwo\n").rest, b"one\ntwo\n")
        file.write(b"one\ntwo\n")
        self.assertEqual(self.found(), {"access.log": b"one\ntwo\n"})

    def test_a_torn_line_that_another_process_has_written_behind_ends_with_a_newline(self) -> None:
        file = self.opened()

        def other(fd: int, data: bytes) -> int:
            if data == b"one\n":
                return REAL_WRITE(fd, b"on")
            with self.path.open("ab") as theirs:
                theirs.write(b"X")
            raise OSError(errno.ENOSPC, "full")

        with mock.patch("os.write", side_effect=other):
            self.assertEqual(self.assertRaises(Unwritten, file.write, b"one\n").rest, b"one\n")
        file.write(b"one\n")
        self.assertEqual(self.found(), {"access.log": b"onX\none\n"})

    def test_descriptor_lost(self) -> None:
        file = self.opened()
        os.close(file._fd)
        error = self.assertRaises(Unwritten, file.write, b"one\n")
        self.assertEqual(error.error.errno, errno.EBADF)
        # another file has its number now, and must stay open
        other = os.open("/dev/null", os.O_RDONLY)
        self.addCleanup(os.close, other)
        file.reopen()
        os.fstat(other)
        file.write(b"one\n")
        self.assertEqual(self.found(), {"access.log": b"one\n"})
