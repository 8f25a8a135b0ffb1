"""Files and directories: which users may read and change them, whether the gateway may, and their file systems."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from perimeter.auth.kinds.kerberos.settings import KerberosSettings
from perimeter.auth.kinds.realm_file import RealmFileSettings
from perimeter.doctor.finding import Finding, Grade, Name
from perimeter.doctor.subject import Subject
from perimeter.file_systems import LAYERED, VOLATILE, is_network, space_at, type_of
from perimeter.run.build.inspection import SHARED, shared_logs
from perimeter.run.build.user import read_files, written_files

_OTHERS_READ, _OTHERS_WRITE = 0o004, 0o002


def state(subject: Subject) -> Iterator[Finding]:
    """Files in ``state_dir`` that other users may read or write. The gateway does not start with such keys or databases."""
    directory = subject.config.perimeter.state_dir
    for path in sorted(directory.iterdir()) if directory.is_dir() else ():
        if path.name != "selfsigned.crt" and _mode(path) & 0o066 and not stat.S_ISDIR(path.stat().st_mode):
            yield _read_by_others(path, "keys and tokens of the gateway", f"chmod 600 {path}")


def secrets(subject: Subject) -> Iterator[Finding]:
    """Files with secrets, and realm files, that other users may read."""
    config = subject.config
    found: list[tuple[Path | None, str]] = []
    for listener in config.listeners:
        found += [(path, "a private key") for path in (*listener.private_key, listener.keystore)]
    found += [(one.file, "a secret") for one in subject.document.secrets()]
    tickets = [one.settings for one in config.authenticators if isinstance(one.settings, KerberosSettings)]
    found += [(one.keytab, "the gateway's Kerberos key, with which anyone can make tickets for every user") for one in tickets]
    if any(not one.origin for one in subject.document.secrets()):
        found.append((config.file, "passwords or keys (which could be references: file:PATH, credential:NAME)"))
    for named, what in dict.fromkeys(found):
        if named is not None and _mode(named) & _OTHERS_READ:
            yield _read_by_others(named, what, f"chmod o= {named}")
    for one in config.authenticators:
        if isinstance(one.settings, RealmFileSettings) and _mode(one.settings.path) & _OTHERS_READ:
            path = one.settings.path
            message = f"every user of this machine may read the password hashes in {path}, and guess passwords"
            yield Finding(Name.FILE_READABLE, Grade.SOON, str(path), message, f"chmod o= {path}")


def _read_by_others(path: Path, what: str, remedy: str) -> Finding:
    return Finding(Name.FILE_READABLE, Grade.OPEN, str(path), f"other users may read {path}, which holds {what}", remedy)


def changeable(subject: Subject) -> Iterator[Finding]:
    """Files that other users may write, and directories above them in which other users could replace them."""
    state = subject.config.perimeter.state_dir
    files = [*read_files(subject.config), *subject.audit_logs, *([state] if state.is_dir() else [])]
    for path in dict.fromkeys(files):
        if _mode(path) & _OTHERS_WRITE and not stat.S_ISCHR(path.stat().st_mode):  # /dev/stdout is no file of ours
            message = f"every user of this machine may change {path}"
            yield Finding(Name.FILE_WRITABLE, Grade.OPEN, str(path), message, f"chmod o-w {path}, and find out who changed it")
    parents = dict.fromkeys(parent for path in files for real in (path, _real(path)) for parent in real.parents)
    for parent in parents:
        mode = _mode(parent)
        if mode & _OTHERS_WRITE and not mode & stat.S_ISVTX and str(parent) != "/dev":
            message = f"every user of this machine may replace files in {parent}, in which or below which the gateway has files"
            yield Finding(Name.DIRECTORY_WRITABLE, Grade.OPEN, str(parent), message, f"chmod o-w {parent}")


def sockets(subject: Subject) -> Iterator[Finding]:
    """Unix sockets of services that the gateway's user may not connect to: that takes write permission (unix(7))."""
    user = subject.user
    remedy = f"let the service make it with mode 0660 and a group of {user.name}, in a directory that this user may enter"
    for upstream in subject.config.upstreams:
        for path in (Path(server.path) for server in upstream.servers if server.path):
            with suppress(OSError):  # another look reports a socket that cannot be looked at, or is missing
                if path.exists() and not user.may(path, os.W_OK):
                    message = f"user {user.name}, as whom the gateway runs, may not connect to {path}"
                    yield Finding(Name.FILE_UNWRITABLE, Grade.FAILS, str(path), message, remedy)


def unusable(subject: Subject) -> Iterator[Finding]:
    """Files that the gateway's user may not read or write. Files that systemd passes as credentials have other paths."""
    user, config = subject.user, subject.config
    for path in read_files(config):
        if not user.may(path, os.R_OK):
            message = f"user {user.name}, as whom the gateway runs, may not read {path}"
            remedy = f"let the user read it: chgrp to a group of {user.name} and chmod g+r, or setfacl -m u:{user.name}:r"
            yield Finding(Name.FILE_UNREADABLE, Grade.FAILS, str(path), message, remedy)
    directory = config.perimeter.state_dir
    missing = [] if directory.exists() else [_nearest(directory)]  # a start makes it there
    for path in (*written_files(config), *missing):
        wanted = os.W_OK | (os.X_OK if path.is_dir() else os.R_OK)
        if not user.may(path, wanted):
            message = f"user {user.name}, as whom the gateway runs, may not write {path}"
            yield Finding(Name.FILE_UNWRITABLE, Grade.DOWN, str(path), message, f"chown {user.name} {path}")


def file_systems(subject: Subject) -> Iterator[Finding]:
    """The file systems of the state and the audit logs: shared with other machines, in memory, in a container, or full."""
    state = subject.config.perimeter.state_dir
    kind = type_of(state)
    if is_network(kind):
        message = f"state_dir {state} is on a network file system ({kind}), whose locks SQLite cannot rely on"
        yield Finding(Name.STATE_SHARED, Grade.SOON, str(state), message, "set state_dir to a directory on a local disk")
    elif kind in VOLATILE or kind in LAYERED:
        gone = "at the next boot" if kind in VOLATILE else "with the container"
        message = f"state_dir {state} is on {kind}: keys, API tokens and sessions are lost {gone}"
        yield Finding(Name.STATE_VOLATILE, Grade.SOON, str(state), message, "set state_dir to a directory that stays (a volume)")
    for path, kind in shared_logs(subject.config).items():
        message, _, remedy = SHARED.format(kind=kind).partition(": ")
        yield Finding(Name.AUDIT_SHARED, Grade.SOON, str(path), message, remedy)
    yield from _full((*subject.audit_logs, state))


def _full(paths: Iterable[Path]) -> Iterator[Finding]:
    for path in paths:
        place = _nearest(path)
        if not (place.is_file() or place.is_dir()):
            continue
        space = space_at(place)
        if space.almost_full:
            grade = Grade.DOWN if space.full else Grade.SOON
            message = f"the file system of {path} is {'' if space.full else 'almost '}full: {space.free >> 20} MiB are free"
            yield Finding(Name.DISK_FULL, grade, str(path), message, "make room: remove old files, or lower keep in [audit]")


def _nearest(path: Path) -> Path:
    """``path``, or its closest parent that exists."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def _mode(path: Path) -> int:
    try:
        return path.stat().st_mode
    except OSError:
        return 0  # missing, or in a directory that this user may not enter


def _real(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, RuntimeError):
        return path
