"""Files are changed as a whole, and no change of another process is lost."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from twisted.trial import unittest

from perimeter.auth.passwords import rewriting
from perimeter.auth.passwords.rewriting import NotRewritten, rewrite


def added(data: bytes) -> bytes:
    return data + b"+"


class FileCase(unittest.TestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        self.path = self.directory / "file"
        self.path.write_bytes(b"old")
        self.path.chmod(0o640)

    def left(self) -> list[str]:
        return sorted(os.listdir(self.directory))


class RewriteTests(FileCase):
    def test_the_contents_change_and_the_rest_stays(self) -> None:
        self.path.chmod(0o4604)
        rewrite(self.path, added)
        self.assertEqual((self.path.read_bytes(), self.path.stat().st_mode & 0o7777), (b"old+", 0o4604))
        self.assertEqual(self.left(), ["file"])

    def test_owner_and_group_stay(self) -> None:
        if os.getuid():
            raise unittest.SkipTest("needs root")
        os.chown(self.path, 1234, 4321)
        rewrite(self.path, added)
        self.assertEqual((self.path.stat().st_uid, self.path.stat().st_gid), (1234, 4321))

    def test_an_owner_that_cannot_be_kept(self) -> None:
        before = os.fstat

        def of_another_user(handle: int) -> os.stat_result:
            found = before(handle)
            return os.stat_result((*found[:4], found.st_uid + 1, *found[5:]))

        def refused(handle: int, user: int, group: int) -> None:
            raise PermissionError(1, "no")

        handle = os.open(self.path, os.O_RDONLY)
        self.addCleanup(os.close, handle)
        self.patch(os, "fchown", refused)
        with self.assertRaises(NotRewritten):
            rewriting._keep_attributes(self.path, of_another_user(handle), handle)

    def test_a_link_stays_a_link(self) -> None:
        link = self.directory / "link"
        link.symlink_to("file")
        rewrite(link, added)
        self.assertTrue(link.is_symlink())
        self.assertEqual(self.path.read_bytes(), b"old+")

    def test_attributes_stay(self) -> None:
        try:
            os.setxattr(self.path, "user.mark", b"yes")
        except OSError:
            raise unittest.SkipTest("this file system has no attributes") from None
        rewrite(self.path, added)
        self.assertEqual(os.getxattr(self.path, "user.mark"), b"yes")

    def test_no_change_writes_nothing(self) -> None:
        before = self.path.stat()
        rewrite(self.path, lambda data: data)
        self.assertEqual(self.path.stat().st_ino, before.st_ino)

    def test_what_cannot_be_rewritten_stays_as_it_was(self) -> None:
        other = self.directory / "other"
        os.link(self.path, other)
        with self.assertRaisesRegex(NotRewritten, "hard link"):
            rewrite(self.path, added)
        other.unlink()
        with self.assertRaisesRegex(NotRewritten, "No such file"):
            rewrite(self.directory / "missing", added)
        pipe = self.directory / "pipe"
        os.mkfifo(pipe)
        with self.assertRaisesRegex(NotRewritten, "regular"):
            rewrite(pipe, added)
        pipe.unlink()
        with open(self.path, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            with self.assertRaisesRegex(NotRewritten, "another process"):
                rewrite(self.path, added)
        self.assertEqual((self.path.read_bytes(), self.left()), (b"old", ["file"]))

    def test_a_directory_that_cannot_be_written(self) -> None:
        def refused(**where: object) -> tuple[int, str]:
            raise OSError(30, "Read-only file system")

        self.patch(rewriting.tempfile, "mkstemp", refused)
        with self.assertRaisesRegex(NotRewritten, "Read-only file system"):
            rewrite(self.path, added)

    def test_what_the_change_raises(self) -> None:
        def fails(data: bytes) -> bytes:
            raise KeyError

        with self.assertRaises(KeyError):
            rewrite(self.path, fails)
        self.assertEqual((self.path.read_bytes(), self.left()), (b"old", ["file"]))

    def test_a_full_disk_loses_nothing(self) -> None:
        def full(handle: int) -> None:
            raise OSError(28, "No space left on device")

        self.patch(os, "fsync", full)
        with self.assertRaisesRegex(NotRewritten, "No space left"):
            rewrite(self.path, added)
        self.assertEqual((self.path.read_bytes(), self.left()), (b"old", ["file"]))


class MeanwhileTests(FileCase):
    """Another process changes the file at the worst moments, in each of the ways in which editors do."""

    def append(self) -> None:
        with open(self.path, "ab") as file:
            file.write(b" theirs")

    def replace(self) -> None:
        (self.directory / "new").write_bytes(b"old theirs")
        os.replace(self.directory / "new", self.path)

    def check(self) -> None:
        self.assertEqual(self.path.read_bytes(), b"old theirs")
        self.assertEqual(self.left(), ["file"])

    def test_while_the_new_contents_are_made(self) -> None:
        for theirs in (self.append, self.replace):
            self.path.write_bytes(b"old")

            def change(data: bytes, theirs=theirs) -> bytes:  # type: ignore[no-untyped-def]
                theirs()
                return data + b"+"

            with self.assertRaisesRegex(NotRewritten, "changed by another process"):
                rewrite(self.path, change)
            self.check()

    def test_in_the_last_moment(self) -> None:
        """After the last look at the file: their version comes back."""
        if rewriting._renameat2() is None:
            raise unittest.SkipTest("this system cannot exchange files")
        exchange = rewriting._exchange
        for theirs in (self.append, self.replace):
            self.path.write_bytes(b"old")
            moments = [theirs]

            def late(one: str, other: Path, moments=moments) -> bool:  # type: ignore[no-untyped-def]
                if moments:
                    moments.pop()()
                return exchange(one, other)

            self.patch(rewriting, "_exchange", late)
            with self.assertRaisesRegex(NotRewritten, "changed by another process"):
                rewrite(self.path, added)
            self.check()

    def test_without_an_exchange(self) -> None:
        self.patch(rewriting, "_renameat2", lambda: None)
        rewrite(self.path, added)
        self.assertEqual((self.path.read_bytes(), self.left()), (b"old+", ["file"]))
