"""Reads an audit log from its beginning to its end, with bounded memory, whatever the file holds. Blocks.

For the commands of the operator; `perimeter.audit.search` reads backwards, for the operator's page.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from perimeter.audit.files import CannotBeRead, opened

BLOCK: Final = 256 * 1024
"""Bytes that are read at a time."""

LONGEST_LINE: Final = 1024 * 1024
"""Longer lines are skipped; the gateway does not write such lines (`perimeter.config.site.limits`)."""

NO_LOG: Final = 256 * 1024 * 1024
"""A file with a line of this many bytes is not a log: the rest of it is not read (attack 95)."""


class Forward:
    """Reads the log at ``path``, which may be compressed.

    When `blocks` has ended, ``too_long`` is the number of skipped lines, and ``rest`` is the text after the last newline: a line
    that is torn, or that is being written. ``done`` is the number of bytes that were read of the file on the disk.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.done = 0
        self.too_long = 0
        self.rest = b""

    def blocks(self) -> Iterator[bytes]:
        """Whole lines, many at a time, with their newlines. Raises `perimeter.audit.files.UNREADABLE`."""
        rest, dropped = b"", 0
        with opened(self.path) as content:
            while data := content.file.read(BLOCK):
                self.done = content.raw.tell() if content.raw.seekable() else self.done + len(data)
                if dropped:
                    end = data.find(b"\n") + 1
                    dropped += end or len(data)
                    if dropped > NO_LOG:
                        raise CannotBeRead(f"is not an audit log: a line has more than {NO_LOG >> 20} MiB")
                    if not end:
                        continue
                    data, dropped = data[end:], 0
                whole = data.rfind(b"\n") + 1
                if whole:
                    yield rest + data[:whole]
                    rest = data[whole:]
                    continue
                rest += data
                if len(rest) > LONGEST_LINE:
                    self.too_long += 1
                    rest, dropped = b"", len(rest)
        self.rest = rest
