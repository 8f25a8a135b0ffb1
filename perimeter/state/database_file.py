"""The file of the state: created with its mode, refused if another user owns, reads or writes it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from perimeter.errors import StartupError


def open_database_file(path: Path) -> os.stat_result:
    """Status of the file at ``path``, which is created if there is none. Raises OSError and `StartupError`."""
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
    owner = os.stat(path.parent)
    try:
        # With its mode from the beginning: SQLite gives the same mode and owner to the files that it adds.
        handle, created = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o600), True
    except FileExistsError:
        handle, created = os.open(path, flags), False
    try:
        user = os.geteuid()
        if created and user == 0:  # by a command of the administrator's: the gateway must be able to use the file
            os.fchown(handle, owner.st_uid, owner.st_gid)
        status = os.fstat(handle)
    finally:
        os.close(handle)
    if not stat.S_ISREG(status.st_mode):
        raise StartupError(f"{path}: not a regular file")
    if status.st_uid != user and not (user == 0 and status.st_uid == owner.st_uid):
        raise StartupError(f"{path}: belongs to user {status.st_uid}, not to user {user} who runs this")
    if status.st_mode & 0o077:
        raise StartupError(f"{path}: others may read or write it; chmod 600 {path}")
    return status
