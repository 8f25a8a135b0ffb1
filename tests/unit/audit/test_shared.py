"""An audit log with several writers: who rolls it, lines that were written in part, and pipes. With real files."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from pathlib import Path
from unittest import mock

from twisted.trial import unittest

from perimeter.audit import old_files, shared
from perimeter.audit.old_files import day_bounds
from perimeter.audit.rolling import RollingFile, Unwritten
from perimeter.audit.shared import LOCK_WAIT, SharedFile
from perimeter.config.site.audit import Roll
from tests.unit.audit.test_rolling import DAY, NOON, REAL_WRITE, Wall


class SharedCase(unittest.TestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir()
        self.path = self.directory / "access.log"
        self.wall = Wall()
        self.told: list[str] = []

    def writer(self, name: str = "", roll: Roll | int = Roll.DAILY, keep: int = 3) -> SharedFile:
        file = SharedFile(self.path, roll, keep, self.wall, lambda: self.told.append(name))
        self.addCleanup(file.close)
        file.open()
        return file

    def touch(self) -> None:
        """The file was written at the time of the test's clock."""
        os.utime(self.path, (self.wall.now, self.wall.now))

    def found(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.directory.iterdir() if path.suffix != ".lock"}


class DailyTests(SharedCase):
    def test_one_rolls_and_the_others_follow_before_their_first_line(self) -> None:
        writers = [self.writer() for _ in range(3)]
        for number, writer in enumerate(writers):
            writer.write(b"sunday %d\n" % number)
        self.wall.now = day_bounds(NOON)[1]
        for number, writer in enumerate(writers):
            writer.write(b"monday %d\n" % number)
        self.assertEqual(
            self.found(),
            {
                "access.log": b"monday 0\nmonday 1\nmonday 2\n",
                "access.log.2026-11-22": b"sunday 0\nsunday 1\nsunday 2\n",
            },
        )

    def test_another_process_rolls_while_this_one_waits_for_the_lock(self) -> None:
        one, other = self.writer(), self.writer()
        one.write(b"sunday\n")
        self.wall.now = day_bounds(NOON)[1]
        real = shared._lock

        def lock(fd: int, name: str, wait: float) -> None:
            self.patch(shared, "_lock", real)
            other.write(b"monday 1\n")
            self.touch()
            real(fd, name, wait)

        self.patch(shared, "_lock", lock)
        one.write(b"monday 2\n")
        self.assertEqual(self.found(), {"access.log": b"monday 1\nmonday 2\n", "access.log.2026-11-22": b"sunday\n"})

    def test_line_that_was_begun_before_midnight_is_in_the_file_of_its_day(self) -> None:
        late, early = self.writer(), self.writer()
        midnight = day_bounds(NOON)[1]
        self.wall.now = midnight - 0.001
        late.write(b"sunday 1\n")
        self.wall.now = midnight
        early.write(b"monday\n")
        self.wall.now = midnight - 0.0005
        late.write(b"sunday 2\n")
        self.assertEqual(self.found(), {"access.log": b"monday\n", "access.log.2026-11-22": b"sunday 1\nsunday 2\n"})

    def test_time_of_the_new_file_is_late(self) -> None:
        """The kernel's time of a file is up to 4 ms late: the first line of Monday seems to be of Sunday."""
        one, other, third = self.writer(), self.writer(), self.writer()
        one.write(b"sunday\n")
        self.wall.now = day_bounds(NOON)[1]
        one.write(b"monday 1\n")
        os.utime(self.path, (self.wall.now - 0.004, self.wall.now - 0.004))
        other.write(b"monday 2\n")
        os.utime(self.path, (self.wall.now - 0.004, self.wall.now - 0.004))
        third.write(b"monday 3\n")
        self.assertEqual(self.found(), {"access.log": b"monday 1\nmonday 2\nmonday 3\n", "access.log.2026-11-22": b"sunday\n"})

    def test_file_that_is_empty_at_midnight_stays_for_all(self) -> None:
        one, other = self.writer(), self.writer()
        self.wall.now = day_bounds(NOON)[1]
        one.write(b"monday 1\n")
        other.write(b"monday 2\n")
        self.assertEqual(self.found(), {"access.log": b"monday 1\nmonday 2\n"})
        self.wall.now += DAY
        other.write(b"tuesday 1\n")
        one.write(b"tuesday 2\n")
        self.assertEqual(
            self.found(), {"access.log": b"tuesday 1\ntuesday 2\n", "access.log.2026-11-23": b"monday 1\nmonday 2\n"}
        )

    def test_worker_that_starts_later_rolls_the_file_of_another_day(self) -> None:
        self.writer().write(b"sunday\n")
        self.touch()
        self.wall.now += DAY
        self.writer().write(b"monday\n")
        self.assertEqual(self.found(), {"access.log": b"monday\n", "access.log.2026-11-22": b"sunday\n"})

    def test_file_that_is_there_now_is_of_another_day(self) -> None:
        """Another writer has been replaced by an older file, by hand: it is rolled, too."""
        file = self.writer()
        self.path.unlink()
        self.path.write_bytes(b"friday\n")
        os.utime(self.path, (NOON - 2 * DAY, NOON - 2 * DAY))
        self.wall.now += 1
        file.write(b"sunday\n")
        self.assertEqual(self.found(), {"access.log": b"sunday\n", "access.log.2026-11-20": b"friday\n"})

    def test_lock_is_for_the_daemon_alone_and_never_a_link(self) -> None:
        file = self.writer()
        file.write(b"sunday\n")
        self.wall.now += DAY
        file.write(b"monday\n")
        lock = self.directory / "access.log.lock"
        self.assertEqual(stat.S_IMODE(lock.stat().st_mode), 0o600)
        lock.unlink()
        lock.symlink_to(self.directory / "other")
        self.wall.now += DAY
        file.write(b"tuesday\n")
        self.assertEqual(self.found()["access.log"], b"monday\ntuesday\n")
        self.assertFalse((self.directory / "other").exists())

    def test_damaged_lock_file_is_no_obstacle(self) -> None:
        one, other = self.writer(), self.writer()
        for content in (b"", b"x y z\n", b"1 2\n", b"%d %d -\n" % one._identity, b"\xff" * 200):
            (self.directory / "access.log.lock").write_bytes(content)
            one.write(b"a\n")
            self.touch()
            self.wall.now += DAY
            other.write(b"b\n")
            self.touch()
            one.write(b"c\n")
            self.assertEqual(self.path.read_bytes(), b"b\nc\n")
            self.touch()

    def test_process_that_holds_the_lock_for_long_delays_the_roll_only(self) -> None:
        file = self.writer()
        file.write(b"sunday\n")
        holder = os.open(self.directory / "access.log.lock", os.O_RDWR | os.O_CREAT)
        self.addCleanup(os.close, holder)
        fcntl.flock(holder, fcntl.LOCK_EX)
        self.wall.now += DAY
        for seconds, least in ((0, LOCK_WAIT), (0.5, 0), (0.6, LOCK_WAIT)):
            self.wall.now += seconds
            began = time.monotonic()
            file.write(b"monday\n")
            took = time.monotonic() - began
            self.assertTrue(least <= took < least + 0.2, took)
        fcntl.flock(holder, fcntl.LOCK_UN)
        self.wall.now += 1
        file.write(b"late\n")
        self.assertEqual(self.found(), {"access.log": b"late\n", "access.log.2026-11-22": b"sunday\n" + b"monday\n" * 3})


class SizeTests(SharedCase):
    def test_size_is_that_of_all_writers(self) -> None:
        writers = [self.writer(roll=6400, keep=0) for _ in range(4)]
        for number in range(1000):
            writers[number % 4].write(b"%099d\n" % number)
        found = self.found()
        self.assertTrue(all(len(content) <= 6400 + 4 * 100 for content in found.values()), {k: len(v) for k, v in found.items()})
        self.assertEqual(sorted(b"".join(found.values()).splitlines()), [b"%099d" % number for number in range(1000)])

    def test_follows_a_roll_after_a_64th_of_the_size(self) -> None:
        one, other = self.writer(roll=64_000), self.writer(roll=64_000)
        other.write(b"o" * 99 + b"\n")
        one.write(b"x" * 64_000 + b"\n")
        one.write(b"new\n")
        for _ in range(11):
            other.write(b"o" * 99 + b"\n")
        self.assertEqual(self.path.read_bytes()[:4], b"new\n")
        self.assertIn(b"o\n", self.path.read_bytes())

    def test_pruned_by_another_at_the_same_time(self) -> None:
        self.writer(roll=100, keep=1)
        (self.directory / "access.log.7").write_bytes(b"old\n")
        real = os.listdir

        def listed(path: Path) -> list[str]:
            names = real(path)
            (self.directory / "access.log.7").unlink()
            return names

        warned: list[object] = []
        with mock.patch("os.listdir", listed), mock.patch.object(old_files._log, "warn", warned.append):
            self.writer(roll=100, keep=1)
        self.assertEqual(warned, [])


class TornTests(SharedCase):
    def writes(self, *results: int | OSError) -> None:
        """Each write(2) accepts the given number of bytes, or fails. Later writes work again."""
        left = list(results)

        def write(fd: int, data: bytes) -> int:
            result = left.pop(0) if left else len(data)
            if isinstance(result, OSError):
                raise result
            return REAL_WRITE(fd, data[:result])

        patch = mock.patch("os.write", write)
        patch.start()
        self.addCleanup(patch.stop)

    def test_part_of_a_line_is_ended_and_the_whole_line_follows(self) -> None:
        file = self.writer()
        self.writes(2)
        file.write(b"one\ntwo\n")
        self.assertEqual(self.found(), {"access.log": b"on\none\ntwo\n"})
        self.assertEqual(self.told, [])

    def test_part_that_ends_with_a_whole_line(self) -> None:
        file = self.writer()
        self.writes(4)
        file.write(b"one\ntwo\n")
        self.assertEqual(self.found(), {"access.log": b"one\ntwo\n"})

    def test_nothing_is_removed_and_the_others_are_told(self) -> None:
        full = OSError(errno.ENOSPC, "full")
        for results, rest, content, told in (
            ((2, full), b"one\ntwo\n", b"on", 1),
            ((6, full), b"two\n", b"one\ntw", 1),
            ((4, full), b"two\n", b"one\n", 0),
            ((2, 1), b"one\ntwo\n", b"on\n", 0),
            ((2, 3), b"one\ntwo\n", b"on\non", 1),
            ((2, 7), b"two\n", b"on\none\ntw", 1),
            ((2, 0), b"one\ntwo\n", b"on", 1),
            ((0, 0), b"one\ntwo\n", b"", 0),
            ((full,), b"one\ntwo\n", b"", 0),
        ):
            self.told.clear()
            file = self.writer("one")
            self.writes(*results)
            self.assertEqual(self.assertRaises(Unwritten, file.write, b"one\ntwo\n").rest, rest, results)
            self.assertEqual((self.found(), self.told), ({"access.log": content}, ["one"] * told), results)
            file.write(b"end\n")
            end = b"\nend\n" if told else b"end\n"
            self.assertEqual(self.found(), {"access.log": content + end}, results)
            self.path.unlink()

    def test_another_process_begins_with_a_newline(self) -> None:
        one, other = self.writer(), self.writer()
        self.writes(2, OSError(errno.ENOSPC, "full"))
        self.assertRaises(Unwritten, one.write, b"one\n")
        other.begin_anew()
        other.write(b"two\n")
        other.write(b"three\n")
        self.assertEqual(self.found(), {"access.log": b"on\ntwo\nthree\n"})

    def test_single_process_still_removes_the_part(self) -> None:
        file = RollingFile(self.path, Roll.DAILY, 3, self.wall)
        self.addCleanup(file.close)
        file.open()
        self.writes(2, OSError(errno.ENOSPC, "full"))
        self.assertRaises(Unwritten, file.write, b"one\n")
        self.assertEqual(self.found(), {"access.log": b""})


class PipeTests(SharedCase):
    def setUp(self) -> None:
        super().setUp()
        os.mkfifo(self.path)
        self.reader = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK)
        self.addCleanup(os.close, self.reader)

    def test_each_write_is_made_under_the_lock_of_the_pipe(self) -> None:
        one, other = self.writer(), self.writer()
        fcntl.flock(other._fd, fcntl.LOCK_EX)
        error = self.assertRaises(Unwritten, one.write, b"one\n")
        self.assertEqual((error.error.errno, error.rest), (errno.EAGAIN, b"one\n"))
        fcntl.flock(other._fd, fcntl.LOCK_UN)
        one.write(b"one\n")
        other.write(b"two\n")
        self.assertEqual(os.read(self.reader, 100), b"one\ntwo\n")

    def test_attack_87_no_line_comes_between_the_parts_of_another(self) -> None:
        one, other = self.writer(), self.writer()
        refused: list[bytes] = []

        def write(fd: int, data: bytes) -> int:
            if data == b"one\n":
                refused.append(self.assertRaises(Unwritten, other.write, b"two\n").rest)
                return REAL_WRITE(fd, b"on")
            return REAL_WRITE(fd, data)

        with mock.patch("os.write", write):
            one.write(b"one\n")
        other.write(refused[0])
        self.assertEqual(os.read(self.reader, 100), b"one\ntwo\n")

    def test_pipe_that_is_full_is_a_failure_and_frees_the_lock(self) -> None:
        one, other = self.writer("one"), self.writer("other")
        size = fcntl.fcntl(self.reader, fcntl.F_GETPIPE_SZ)
        error = self.assertRaises(Unwritten, one.write, b"x" * size + b"\n")
        self.assertEqual((error.error.errno, self.told), (errno.EAGAIN, ["one"]))
        self.assertEqual(os.read(self.reader, size), b"x" * size)
        one.reopen()
        one.write(b"one\n")
        other.begin_anew()
        other.write(b"two\n")
        self.assertEqual(os.read(self.reader, 100), b"\none\n\ntwo\n")

    def test_descriptor_lost(self) -> None:
        one = self.writer()
        os.close(one._fd)
        error = self.assertRaises(Unwritten, one.write, b"one\n")
        self.assertEqual((error.error.errno, one._fd), (errno.EBADF, -1))
        self.assertEqual(self.assertRaises(Unwritten, one.write, b"one\n").error.errno, errno.EBADF)

    def test_no_reader(self) -> None:
        one = self.writer()
        other = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK)
        os.dup2(os.open(os.devnull, os.O_RDONLY), self.reader)
        os.close(other)
        self.assertEqual(self.assertRaises(Unwritten, one.write, b"one\n").error.errno, errno.EPIPE)
