"""Changes a file as a whole: other processes see it as it was or as it is now, and no change that they make is lost. Blocks.

The new contents are written beside the file and then take its place. Where the system can exchange two files in one step (Linux),
what was displaced is looked at afterwards: if another process changed or replaced the file in the meantime, its version is put
back.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import stat
import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path

from perimeter.errors import PerimeterError

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


class NotRewritten(PerimeterError):
    """The file is as it was, and why."""


def rewrite(path: Path, change: Callable[[bytes], bytes]) -> None:
    """Replace the contents of the file ``path`` by what ``change`` makes of them. Links, mode, owner and attributes stay.

    Raises `NotRewritten`, and what ``change`` raises. The file is then as it was.
    """
    try:
        _rewrite(Path(os.path.realpath(path)), change)
    except OSError as error:
        raise NotRewritten(f"{path} cannot be written: {error.strerror or type(error).__name__}") from error


def _rewrite(path: Path, change: Callable[[bytes], bytes]) -> None:
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        before = os.fstat(file.fileno())
        if not stat.S_ISREG(before.st_mode):
            raise NotRewritten(f"{path} is not a regular file")
        if before.st_nlink > 1:
            raise NotRewritten(f"{path} has another hard link, which would keep the old contents")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise NotRewritten(f"{path} is being changed by another process") from None
        old = file.read()
        data = change(old)
        if data == old:
            return
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        ours = os.fstat(handle).st_ino
        try:
            with os.fdopen(handle, "wb") as new:
                new.write(data)
                _keep_attributes(path, before, new.fileno())
                new.flush()
                os.fsync(new.fileno())
            if not _same(os.stat(path), before):
                raise NotRewritten(f"{path} was changed by another process")
            _put_in_place(name, path, before)
        finally:
            # after an exchange, the name is that of the old file; never that of a file which another process wrote
            with suppress(OSError):
                if os.stat(name).st_ino in (ours, before.st_ino):
                    os.unlink(name)
    _sync_directory(path.parent)


def _keep_attributes(path: Path, before: os.stat_result, new: int) -> None:
    status = os.fstat(new)
    if (status.st_uid, status.st_gid) != (before.st_uid, before.st_gid):
        try:
            os.fchown(new, before.st_uid, before.st_gid)
        except PermissionError:
            raise NotRewritten(f"{path} would get another owner or group") from None
    os.fchmod(new, stat.S_IMODE(before.st_mode))
    for attribute in os.listxattr(path):
        try:
            os.setxattr(new, attribute, os.getxattr(path, attribute))
        except OSError as error:
            # Labels of a security module come from its policy; an access list would be lost.
            if attribute.startswith("system.posix_acl"):
                raise NotRewritten(f"{path} would lose its access list: {error.strerror}") from None


def _same(one: os.stat_result, other: os.stat_result) -> bool:
    """The same file with the same contents. A change of its name changes the ctime, which does not count."""
    return _contents_of(one) == _contents_of(other)


def _contents_of(status: os.stat_result) -> tuple[int, int, int, int]:
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


def _put_in_place(name: str, path: Path, before: os.stat_result) -> None:
    if not _exchange(name, path):
        os.replace(name, path)
    elif not _same(os.stat(name), before):
        _exchange(name, path)
        raise NotRewritten(f"{path} was changed by another process")


@cache
def _renameat2() -> Callable[..., int] | None:
    with suppress(OSError, AttributeError):
        function: Callable[..., int] = ctypes.CDLL(None, use_errno=True).renameat2
        return function
    return None


def _exchange(one: str | Path, other: str | Path) -> bool:
    """Whether the two files have changed places; False where this system or file system cannot do that. Raises OSError."""
    function = _renameat2()
    if function is None:
        return False
    if function(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
        return False
    raise OSError(code, os.strerror(code))


def _sync_directory(directory: Path) -> None:
    with suppress(OSError):  # some file systems cannot; the file itself is whole either way
        handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
