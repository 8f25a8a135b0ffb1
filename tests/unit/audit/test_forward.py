"""Reading a log forwards: all whole lines, whatever the block, and bounded for what is no log."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib
from pathlib import Path

from twisted.trial.unittest import TestCase

from perimeter.audit import forward as module
from perimeter.audit.files import CannotBeRead
from perimeter.audit.forward import Forward


class ForwardTests(TestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp())

    def read(self, content: bytes) -> tuple[list[bytes], Forward]:
        self.path.write_bytes(content)
        reader = Forward(self.path)
        return list(reader.blocks()), reader

    def test_every_line_once_for_each_block_size(self) -> None:
        content = b"first\n\nthird line\nand the rest"
        for size in range(1, len(content) + 1):
            self.patch(module, "BLOCK", size)
            blocks, reader = self.read(content)
            self.assertEqual(b"".join(blocks), b"first\n\nthird line\n", size)
            self.assertTrue(all(block.endswith(b"\n") for block in blocks), size)
            self.assertEqual((reader.rest, reader.done, reader.too_long), (b"and the rest", len(content), 0), size)

    def test_lines_that_are_too_long_are_left_out(self) -> None:
        self.patch(module, "LONGEST_LINE", 10)
        for size in (1, 3, 7):
            self.patch(module, "BLOCK", size)
            blocks, reader = self.read(b"a\n" + b"x" * 40 + b"\nb\n" + b"y" * 40 + b"\nc\nrest")
            self.assertEqual((b"".join(blocks), reader.too_long, reader.rest), (b"a\nb\nc\n", 2, b"rest"), size)

    def test_attack_95_a_line_without_end(self) -> None:
        self.patch(module, "NO_LOG", 1 << 20)
        self.path.write_bytes(b"a\n" + b"x" * (3 << 20))
        reader = Forward(self.path)
        found: list[bytes] = []
        error = self.assertRaises(CannotBeRead, lambda: found.extend(reader.blocks()))
        self.assertEqual((found, str(error)), ([b"a\n"], "is not an audit log: a line has more than 1 MiB"))
        self.assertLess(reader.done, (1 << 20) + 3 * module.BLOCK + module.LONGEST_LINE)

    def test_attack_95_a_bomb_takes_little_memory_and_time(self) -> None:
        packer = zlib.compressobj(9, zlib.DEFLATED, 31)
        self.path = self.path.with_suffix(".gz")
        self.path.write_bytes(b"".join(packer.compress(bytes(1 << 20)) for _ in range(600)) + packer.flush())
        self.assertLess(self.path.stat().st_size, 1 << 20)
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        self.assertRaises(CannotBeRead, lambda: list(Forward(self.path).blocks()))
        self.assertLess(tracemalloc.get_traced_memory()[1], 8 << 20)

    def test_compressed_files_report_their_progress_on_the_disk(self) -> None:
        self.path = self.path.with_suffix(".gz")
        _, reader = self.read(gzip.compress(b"a line\n" * 100_000))
        self.assertEqual(reader.done, self.path.stat().st_size)
