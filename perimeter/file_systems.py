"""The file system under a path: its type and its free space, and whether the gateway can safely write there.

The types are Linux's.

A look at a network file system whose server is gone may hang: call these in a thread.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import attrs

FULL: Final = 64 * 1024
"""A file system with fewer free bytes is full."""

ALMOST_FULL: Final = 0.01
"""The part of a file system that is free when it is reported."""

NETWORK: Final = frozenset(
    ("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "lustre", "beegfs", "ocfs2", "gfs2", "davfs")
)
"""Types whose files several machines share: appends of two writers may overwrite each other, and locks may be missing."""

VOLATILE: Final = frozenset(("tmpfs", "ramfs"))
"""Types in memory: their files are gone after the next boot."""

LAYERED: Final = frozenset(("overlay", "aufs"))
"""Types of the file system of a container: their files are gone with the container."""

_MOUNTS = Path("/proc/self/mountinfo")
_ESCAPED = re.compile(r"\\([0-7]{3})")


@attrs.frozen
class Space:
    """Bytes of a file system: those that this process may still write, and all."""

    free: int
    total: int

    @property
    def full(self) -> bool:
        """Whether nothing more fits."""
        return self.free < FULL

    @property
    def almost_full(self) -> bool:
        """Whether it has to be reported."""
        return self.full or self.free < ALMOST_FULL * self.total


def space_at(path: Path) -> Space:
    """The space of the file system of ``path``. Raises OSError."""
    system = os.statvfs(path)
    free = system.f_bfree if os.geteuid() == 0 else system.f_bavail
    return Space(free * system.f_frsize, system.f_blocks * system.f_frsize)


def type_of(path: Path, mounts: Path = _MOUNTS) -> str:
    """The type of the file system at ``path``, or of its closest parent that exists; "" if it is not known."""
    try:
        lines = mounts.read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return ""
    there = path
    while not there.exists() and there != there.parent:
        there = there.parent
    return _type(there.resolve(), lines)


def _type(path: Path, lines: Iterable[str]) -> str:
    best, found = -1, ""
    for line in lines:  # proc(5): ID PARENT DEVICE ROOT MOUNT-POINT OPTIONS [TAGS…] - TYPE SOURCE OPTIONS
        before, separator, after = line.partition(" - ")
        columns = before.split(" ")
        if not separator or len(columns) < 6:
            continue
        point = Path(_ESCAPED.sub(lambda match: chr(int(match[1], 8)), columns[4]))
        # of two at one place, the later one hides the earlier
        if path.is_relative_to(point) and len(point.parts) >= best:
            best, found = len(point.parts), after.split(" ")[0]
    return found


def is_network(kind: str) -> bool:
    """Whether files of a file system of this type may be written by other machines. FUSE names its types ``fuse.KIND``."""
    return kind in NETWORK or kind.removeprefix("fuse.") in NETWORK or kind == "fuse.sshfs"
