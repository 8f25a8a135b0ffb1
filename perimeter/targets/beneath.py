"""Opens files below a directory, and never outside of it (attack 7). It blocks, so it runs in the offload pool only.

The path from the root to the file is walked one directory at a time on open descriptors. The kernel follows no symbolic link: a
link is read and resolved here, where ``..`` can only step back to a directory that is already open. So even if files are renamed
or replaced meanwhile, the path that is checked is the path that is opened.
"""

from __future__ import annotations

import errno
import os
import stat
from collections import deque
from collections.abc import Sequence
from urllib.parse import unquote_to_bytes

from perimeter.errors import NoRoute, Unreadable

#: Symbolic links that are followed on one path. The kernel has a similar limit.
_MAX_LINKS = 20
_ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL, errno.ENXIO, errno.ENODEV})


def path_segments(path: bytes) -> list[bytes]:
    """The segments of a URL path, percent-decoded once, without the empty one at the end.

    Raises `NoRoute` for what could lead elsewhere or is hidden: dot segments, encoded separators and control bytes, and names
    that begin with a dot (``.git``, ``.htpasswd``), except ``.well-known`` at the beginning (RFC 8615, section 3).
    """
    segments = [unquote_to_bytes(segment) for segment in path.split(b"/")[1:]]
    if segments and not segments[-1]:
        segments.pop()
    for place, segment in enumerate(segments):
        if not segment or (segment.startswith(b".") and (place or segment != b".well-known")):
            raise NoRoute("a dot segment or a hidden file")
        if b"/" in segment or b"\\" in segment or any(byte < 0x20 or byte == 0x7F for byte in segment):
            raise NoRoute("a separator or control byte in a file name")
    return segments


class Directory(Exception):  # a result, not an error
    """The path leads to a directory, which exists."""


def open_beneath(root: str, segments: Sequence[bytes]) -> int:
    """A descriptor of the regular file at ``segments`` under ``root``, open for reading; the caller closes it.

    Raises `NoRoute` if there is no such file (or it lies outside, or is special), `Unreadable`, or `Directory`.
    """
    walk = _OpenPath(root)
    try:
        return walk.go(segments)
    except OSError as problem:
        if problem.errno in _ABSENT:
            raise NoRoute(f"no such file: {os.strerror(problem.errno)}") from None
        if problem.errno in (errno.EACCES, errno.EPERM):
            raise Unreadable("the file system denies access to a file") from None
        raise
    finally:
        walk.close()


class _OpenPath:
    """The open directories on the path, the root first."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._way: list[int] = []

    def close(self) -> None:
        while self._way:
            os.close(self._way.pop())

    def go(self, segments: Sequence[bytes]) -> int:
        self._way.append(os.open(self._root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
        ahead = deque(segments)
        links = 0
        while ahead:
            name = ahead.popleft()
            if name in (b"", b"."):
                continue
            if name == b"..":
                self._back()
                continue
            here = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._way[-1])
            kind = stat.S_IFMT(os.fstat(here).st_mode)
            if kind == stat.S_IFDIR:
                self._way.append(here)
                continue
            try:
                if kind == stat.S_IFLNK:
                    links += 1
                    if links > _MAX_LINKS:
                        raise NoRoute("too many symbolic links")
                    ahead.extendleft(reversed(self._follow(os.readlink(b"", dir_fd=here))))
                    continue
            finally:
                os.close(here)
            if kind != stat.S_IFREG or any(rest not in (b"", b".") for rest in ahead):
                raise NoRoute("not a regular file")
            return self._open(name)
        raise Directory

    def _back(self) -> None:
        if len(self._way) == 1:
            raise NoRoute("a symbolic link out of the directory")
        os.close(self._way.pop())

    def _follow(self, target: bytes) -> list[bytes]:
        """The segments of a link's target, from the current directory; an absolute target begins at the root again."""
        if not target.startswith(b"/"):
            return target.split(b"/")
        for root in {os.fsencode(self._root), os.fsencode(os.path.realpath(self._root))}:
            prefix = root.rstrip(b"/") + b"/"
            if target.startswith(prefix):
                while len(self._way) > 1:
                    os.close(self._way.pop())
                return target[len(prefix) :].split(b"/")
        raise NoRoute("a symbolic link out of the directory")

    def _open(self, name: bytes) -> int:
        # If the file has become a pipe or a terminal since the check, opening it does not wait and has no effect.
        file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, dir_fd=self._way[-1])
        if not stat.S_ISREG(os.fstat(file).st_mode):
            os.close(file)
            raise NoRoute("not a regular file")
        return file
