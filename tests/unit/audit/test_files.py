"""Compressed logs are read as they are, within bounded memory."""

from __future__ import annotations

import bz2
import gzip
import lzma
from pathlib import Path

from twisted.trial.unittest import TestCase

from perimeter.audit import files as module
from perimeter.audit.files import CannotBeRead, opened, pass_over, why_unreadable

TEXT = b"".join(b"line %d\n" % number for number in range(50_000))


class OpenedTests(TestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.directory.mkdir()

    def file(self, name: str, content: bytes) -> Path:
        path = self.directory / name
        path.write_bytes(content)
        return path

    def read(self, path: Path, size: int = -1) -> bytes:
        with opened(path) as content:
            return content.file.read(size)

    def test_each_kind(self) -> None:
        for name, compress in (("a", bytes), ("a.gz", gzip.compress), ("a.bz2", bz2.compress), ("a.xz", lzma.compress)):
            path = self.file(name, compress(TEXT))
            self.assertEqual(self.read(path), TEXT, name)
            with opened(path) as content:
                pass_over(content.file, 100_000)
                self.assertEqual(content.file.read(10), TEXT[100_000:100_010], name)
                self.assertGreater(content.raw.tell(), 0)
                pass_over(content.file, 10**9)
                self.assertEqual(content.file.read(), b"", name)

    def test_several_streams_in_one_file(self) -> None:
        for name, compress in (("a.gz", gzip.compress), ("a.bz2", bz2.compress), ("a.xz", lzma.compress)):
            self.assertEqual(self.read(self.file(name, compress(b"a\n") + compress(b"") + compress(b"b\n"))), b"a\nb\n", name)
        padded = lzma.compress(b"a\n") + b"\0" * 100_000 + lzma.compress(b"b\n") + b"\0" * 8
        self.assertEqual(self.read(self.file("b.xz", padded)), b"a\nb\n")

    def test_damaged(self) -> None:
        for name, compress in (("a.gz", gzip.compress), ("a.bz2", bz2.compress), ("a.xz", lzma.compress)):
            whole = compress(TEXT)
            middle = len(whole) // 2
            for content in (b"nonsense", whole[:middle], whole[: middle - 40] + b"x" * 80 + whole[middle + 40 :]):
                error = self.assertRaises(module.UNREADABLE, self.read, self.file(name, content))
                self.assertEqual(why_unreadable(error), "is damaged", (name, content[:9]))
        self.assertEqual(
            why_unreadable(self.assertRaises(OSError, self.read, self.directory / "none")), "No such file or directory"
        )

    def test_zstd_is_said(self) -> None:
        error = self.assertRaises(CannotBeRead, self.read, self.file("a.zst", b""))
        self.assertIn("zstd", why_unreadable(error))

    def test_attack_95_a_file_that_needs_much_memory(self) -> None:
        filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 1 << 20}]
        path = self.file("a.xz", lzma.compress(TEXT, filters=filters))
        self.assertEqual(self.read(path), TEXT)
        self.patch(module, "MOST_MEMORY", 1 << 20)
        self.assertRaises(lzma.LZMAError, self.read, path)
        self.assertEqual(why_unreadable(self.assertRaises(lzma.LZMAError, self.read, path)), "is damaged")
