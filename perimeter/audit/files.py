"""The files of audit logs: which files belong to a log, and how to read compressed files. Blocks.

`.gz`, `.bz2` and `.xz` are read in pieces, with bounded memory: an `.xz` file contains the amount of memory that it needs, and a
file that needs more than `MOST_MEMORY` is refused (attack 95).
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

import attrs

from perimeter.descriptors import system_reason
from perimeter.errors import PerimeterError

MOST_MEMORY: Final = 128 * 1024 * 1024
"""Bytes that the decompression of a file may need: twice what `xz -9` needs."""

_COMPRESSED = (".gz", ".bz2", ".xz", ".zst")
_PIECE = 64 * 1024


class CannotBeRead(PerimeterError):
    """The file is of a kind that cannot be read. The text says why."""


UNREADABLE: Final = (OSError, EOFError, lzma.LZMAError, zlib.error, CannotBeRead)
"""Exceptions of reading a file."""


def why_unreadable(error: BaseException) -> str:
    """The reason, in words, of one of `UNREADABLE`."""
    if isinstance(error, CannotBeRead):
        return str(error)
    if isinstance(error, OSError) and not isinstance(error, gzip.BadGzipFile) and error.errno is not None:
        return system_reason(error)
    return "is damaged"


def log_files(path: Path) -> list[Path]:
    """The audit log ``path``, and the old files that the gateway or logrotate has made, the newest first."""
    pattern = re.compile(re.escape(path.name) + r"(?:[.-][0-9][0-9.-]*)?(?:\.(?:gz|bz2|xz|zst))?")
    found: list[tuple[float, Path]] = []
    for entry in os.scandir(path.parent):
        if pattern.fullmatch(entry.name) and entry.is_file():
            found.append((float("inf") if entry.name == path.name else entry.stat().st_mtime, Path(entry.path)))
    return [file for _, file in sorted(found, key=lambda one: (-one[0], one[1]))]


def is_compressed(path: Path) -> bool:
    """Whether the file can only be read from its beginning, by its name."""
    return path.suffix in _COMPRESSED


@attrs.frozen
class Content:
    """The content of an open file, decompressed; ``raw`` is the file as it is on the disk: its position shows the progress."""

    file: IO[bytes]
    raw: IO[bytes]


@contextmanager
def opened(path: Path) -> Iterator[Content]:
    """Open a file, compressed or not. Opening and reading raise `UNREADABLE`."""
    with path.open("rb") as raw, _content(path, raw) as file:
        yield Content(file, raw)


def _content(path: Path, raw: IO[bytes]) -> Any:
    if path.suffix == ".gz":
        return gzip.GzipFile(fileobj=raw, mode="rb")
    if path.suffix == ".bz2":
        return bz2.BZ2File(raw)
    if path.suffix == ".xz":
        return io.BufferedReader(_Xz(raw), _PIECE)
    if path.suffix == ".zst":
        raise CannotBeRead("cannot be searched, because it is compressed with zstd")
    return raw


def pass_over(file: IO[bytes], size: int) -> None:
    """Read ``size`` bytes, and discard them."""
    while size > 0:
        data = file.read(min(size, _PIECE))
        if not data:
            return
        size -= len(data)


class _Xz(io.RawIOBase):
    """The content of an .xz file. Unlike `lzma.LZMAFile`, it refuses a file that needs too much memory."""

    def __init__(self, raw: IO[bytes]) -> None:
        self._raw = raw
        self._part = self._new()
        self._rest = b""

    @staticmethod
    def _new() -> lzma.LZMADecompressor:
        return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MOST_MEMORY)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """See `io.RawIOBase`."""
        while True:
            if self._part.eof and not self._next_stream():
                return 0
            data, self._rest = self._rest, b""
            if not data and self._part.needs_input:
                data = self._raw.read(_PIECE)
                if not data:
                    raise EOFError("the file ends within a stream")
            found = self._part.decompress(data, len(buffer))
            if found:
                buffer[: len(found)] = found
                return len(found)

    def _next_stream(self) -> bool:
        """Begin the stream that follows, if there is one. Zeros may stand between two."""
        rest = self._part.unused_data.lstrip(b"\0")
        while not rest:
            data = self._raw.read(_PIECE)
            if not data:
                return False
            rest = data.lstrip(b"\0")
        self._part, self._rest = self._new(), rest
        return True
