"""The user that the daemon becomes at the end of its start, if root has started it with ``twistd --uid``.

Root binds the ports and reads the files of the configuration. What the daemon writes, it writes as this user from the beginning:
then the files belong to the user, and root follows no symbolic link that the user has put in a directory of theirs (attack 63).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import attrs

from perimeter.config.site.config import SiteConfig
from perimeter.errors import StartupError

_MOST_NAMED: Final = 8


@attrs.frozen
class DaemonUser:
    """``name`` is that of the system user ``uid``; ``gid`` is the group that the daemon gets."""

    uid: int
    gid: int
    name: str

    @contextmanager
    def acting(self) -> Iterator[None]:
        """Act as this user until the end of the block: for files, in all threads. Does nothing once the process is this user."""
        if os.geteuid() == self.uid:
            yield
            return
        groups, gid = os.getgroups(), os.getegid()
        os.initgroups(self.name, self.gid)
        os.setegid(self.gid)
        os.seteuid(self.uid)
        try:
            yield
        finally:
            os.seteuid(0)
            os.setegid(gid)
            os.setgroups(groups)

    def make_state_dir(self, path: Path) -> None:
        """Make ``path`` and what is missing above it, for this user alone: as root, where the user may not. Raises OSError."""
        with self.acting(), suppress(PermissionError):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            return
        missing = []
        while not path.exists():
            missing.append(path)
            path = path.parent
        for directory in reversed(missing):
            directory.mkdir(mode=0o700)
            os.chown(directory, self.uid, self.gid, follow_symlinks=False)

    def refuse_unwritable(self, config: SiteConfig) -> None:
        """Raise `StartupError` if the daemon has to write a file of ``config`` that this user may not write. Names them all."""
        written = written_files(config)
        with self.acting():
            faulty = [path for path in written if not _access(path, os.R_OK | os.W_OK)]
        if not faulty:
            return
        named = ", ".join(str(path) for path in faulty[:_MOST_NAMED])
        more = f" and {len(faulty) - _MOST_NAMED} more" if len(faulty) > _MOST_NAMED else ""
        owned = " ".join(dict.fromkeys(str(_topmost(path, faulty)) for path in faulty))
        raise StartupError(
            f"user {self.name} may not read and write {named}{more}; "
            f"chown -R {self.uid}:{self.gid} {owned}, or start as the user that they belong to"
        )

    def unreadable(self, config: SiteConfig) -> list[Path]:
        """The files of ``config`` that this user may not read: they are read at the start, and not at a reload."""
        read = read_files(config)
        with self.acting():
            return [path for path in read if not _access(path, os.R_OK)]


def _access(path: Path, mode: int) -> bool:
    return os.access(path, mode, effective_ids=True)


def _topmost(path: Path, others: Iterable[Path]) -> Path:
    return min((other for other in others if path == other or other in path.parents), key=lambda one: len(one.parts))


def written_files(config: SiteConfig) -> list[Path]:
    """What the daemon writes, as far as it exists: the state, and the audit logs or the directories that they will be in."""
    state_dir = config.perimeter.state_dir
    logs = dict.fromkeys(path for path in (config.audit.path, *(route.audit for route in config.routes)) if path is not None)
    found = [state_dir, *sorted(state_dir.iterdir())] if state_dir.is_dir() else []
    for log in logs:
        if log.exists():
            found.append(log)
        elif log.parent != state_dir and log.parent.exists():
            found.append(log.parent)
    return [path for path in dict.fromkeys(found) if path.is_dir() or path.is_file()]


def read_files(config: SiteConfig) -> list[Path]:
    """What the sections name and the daemon only reads."""
    written = {config.perimeter.state_dir, config.audit.path, *(route.audit for route in config.routes)}
    sections = (
        *config.listeners,
        *config.upstreams,
        *config.routes,
        config.acme,
        *(one.settings for one in config.authenticators),
        *(one.settings for one in config.augmenters),
        *(one.settings for one in config.providers),
    )
    named = [path for section in sections for path in _paths(section) if path not in written]
    return [path for path in dict.fromkeys((config.file, *named)) if path.exists()]


def _paths(settings: Any) -> Iterator[Path]:
    """The paths among the options of a section, whatever its class."""
    if attrs.has(type(settings)):
        for field in attrs.fields(type(settings)):
            value = getattr(settings, field.name)
            if isinstance(value, Path):
                yield value
