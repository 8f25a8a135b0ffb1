"""The state in an SQLite database, ``state.db`` in ``state_dir``: one machine, nothing to set up, nothing lost when it stops.

Several processes may have it open (a command beside the gateway): each sees at once what another has written, and asks
`SqliteStore.changed` whether that was so. Every method blocks; none is called by two threads at a time.
"""

from __future__ import annotations

import json
import os
import sqlite3
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Final

from zope.interface import implementer

from perimeter.errors import StartupError, StateUnavailable
from perimeter.model import Principal, Restriction
from perimeter.state.changes import Change, Held, Removed, RevokedGrant, RevokedUser
from perimeter.state.store import IStateStore
from perimeter.tokens.api_token import ApiToken

NAME: Final = "state.db"
_VERSION: Final = 1
_APPLICATION: Final = 0x5065726D  # "Perm", for file(1)
_BUSY: Final = 5.0
"""Seconds to wait for another process that is writing."""

_TABLES: Final = """
CREATE TABLE api_token (
    id TEXT PRIMARY KEY, digest BLOB NOT NULL UNIQUE, name TEXT NOT NULL, realm TEXT NOT NULL, username TEXT NOT NULL,
    owner TEXT NOT NULL, created REAL NOT NULL, expires REAL NOT NULL, restriction TEXT, passing INTEGER NOT NULL
);
CREATE TABLE revoked_grant (id TEXT PRIMARY KEY, expires REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE revoked_user (
    realm TEXT NOT NULL, username TEXT NOT NULL, before REAL NOT NULL, until REAL NOT NULL, PRIMARY KEY (realm, username)
) WITHOUT ROWID;
"""


@implementer(IStateStore)
class SqliteStore:
    """Opens ``state.db`` in ``directory``, and makes it where there is none. Raises `StartupError` where it cannot be used."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / NAME
        with self._told():
            status = _made_sure_of(self.path)
            self._file = (status.st_dev, status.st_ino)
            # Not by the thread that opened it alone, but never by two at a time.
            self._db = sqlite3.connect(self.path, timeout=_BUSY, isolation_level=None, check_same_thread=False)
            try:
                self._prepare()
            except BaseException:
                self._db.close()
                raise
        self._seen = 0

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Faults while the gateway starts, as one line."""
        try:
            yield
        except OSError as problem:
            raise StartupError(f"{self.path}: {problem.strerror or problem}") from problem
        except (sqlite3.Error, ValueError, TypeError, KeyError) as problem:
            raise StartupError(f"{self.path}: cannot be used: {problem}") from problem

    def _prepare(self) -> None:
        execute = self._db.execute
        execute("PRAGMA journal_mode = WAL")
        execute("PRAGMA trusted_schema = OFF")
        with self._transaction():
            version = self._pragma("user_version")
            if version > _VERSION:
                raise StartupError(f"{self.path}: written by a newer version of Perimeter (format {version}, not {_VERSION})")
            if not version:
                for statement in _TABLES.split(";\n"):
                    execute(statement)
                execute(f"PRAGMA application_id = {_APPLICATION}")
                execute(f"PRAGMA user_version = {_VERSION}")

    def _pragma(self, name: str) -> int:
        return int(self._db.execute(f"PRAGMA {name}").fetchone()[0])

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            # Some faults of the disk end it already; one that stayed open would be the last that this connection ever began.
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def _check_place(self) -> None:
        """Raise `StateUnavailable` where what is written would go to a file that nobody can find any more."""
        try:
            status = os.stat(self.path, follow_symlinks=False)
        except OSError:
            status = None
        if status is None or (status.st_dev, status.st_ino) != self._file:
            raise StateUnavailable(f"{self.path}: replaced or removed while in use; restart the gateway, or put it back")

    # -- IStateStore

    def load(self) -> Held:
        """Everything. Raises `StartupError` where the file is damaged: an unreadable list of revocations revokes nothing."""
        with self._told():
            execute = self._db.execute
            execute("BEGIN")  # one picture of all three
            try:
                self._seen = self._pragma("data_version")
                return Held(
                    [_token(row) for row in execute(_ALL)],
                    [RevokedGrant(*row) for row in execute("SELECT id, expires FROM revoked_grant")],
                    [RevokedUser(*row) for row in execute("SELECT realm, username, before, until FROM revoked_user")],
                )
            finally:
                execute("ROLLBACK")

    def changed(self) -> bool:
        """Whether another process has written since the last `load`. Raises `StateUnavailable`."""
        self._check_place()
        try:
            return self._pragma("data_version") != self._seen
        except sqlite3.Error as problem:
            raise StateUnavailable(f"{self.path}: {problem}") from problem

    def write(self, changes: Sequence[Change]) -> None:
        """Make all of ``changes``, or none. Raises `StateUnavailable`."""
        # A token that lives for an hour may be lost with the power; whatever was taken away, and what was promised, may not.
        passing = all(isinstance(change, ApiToken | Removed) and change.passing for change in changes)
        self._check_place()
        try:
            self._db.execute(f"PRAGMA synchronous = {'NORMAL' if passing else 'FULL'}")
            with self._transaction():
                for change in changes:
                    self._write(change)
        except sqlite3.Error as problem:
            raise StateUnavailable(f"{self.path}: {problem}") from problem

    def _write(self, change: Change) -> None:
        execute = self._db.execute
        if isinstance(change, ApiToken):
            execute(_ADD, _row(change))
        elif isinstance(change, Removed):
            execute("DELETE FROM api_token WHERE id = ?", (change.id,))
        elif isinstance(change, RevokedGrant):
            execute("INSERT OR REPLACE INTO revoked_grant VALUES (?, ?)", (change.id, change.expires))
        else:
            execute("DELETE FROM api_token WHERE realm = ? AND username = ?", (change.realm, change.username))
            execute(_REVOKE_USER, (change.realm, change.username, change.before, change.until))

    def forget(self, now: float) -> None:
        """Drop what had ended by ``now`` (epoch seconds). Raises `StateUnavailable`."""
        self._check_place()
        try:
            with self._transaction():
                self._db.execute("DELETE FROM api_token WHERE expires <= ?", (now,))
                self._db.execute("DELETE FROM revoked_grant WHERE expires <= ?", (now,))
                self._db.execute("DELETE FROM revoked_user WHERE until <= ?", (now,))
        except sqlite3.Error as problem:
            raise StateUnavailable(f"{self.path}: {problem}") from problem

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()


def _made_sure_of(path: Path) -> os.stat_result:
    """The file at ``path``, made where there is none, and nobody else's. Raises OSError and `StartupError`."""
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    owner = os.stat(path.parent)
    try:
        # With its mode from the beginning: SQLite gives the same one, and the same owner, to the files beside it.
        handle, made = os.open(path, flags | os.O_EXCL, 0o600), True
    except FileExistsError:
        handle, made = os.open(path, flags, 0o600), False
    try:
        user = os.geteuid()
        if made and user == 0:  # a command of the administrator's: the gateway must be able to use it all the same
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


# -- rows

_ALL: Final = """
SELECT id, digest, name, realm, username, owner, created, expires, restriction, passing FROM api_token ORDER BY created
"""
# But for one that was made before all of its owner's were revoked, and is only written after that (attack 39).
_ADD: Final = """
INSERT INTO api_token (id, digest, name, realm, username, owner, created, expires, restriction, passing)
SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10
WHERE NOT EXISTS (SELECT 1 FROM revoked_user WHERE realm = ?4 AND username = ?5 AND before >= ?7)
"""
_REVOKE_USER: Final = """
INSERT INTO revoked_user (realm, username, before, until) VALUES (?, ?, ?, ?)
ON CONFLICT (realm, username) DO UPDATE SET before = max(before, excluded.before), until = max(until, excluded.until)
"""


def _row(token: ApiToken) -> tuple[Any, ...]:
    owner = token.owner
    known = {
        "roles": list(owner.roles),
        "authenticator": owner.authenticator,
        "attributes": dict(owner.attributes),
        "scopes": {service: list(scopes) for service, scopes in owner.scopes.items()},
    }
    restriction = token.restriction
    limits = None if restriction is None else json.dumps(
        {
            "routes": sorted(restriction.routes),
            "methods": sorted(restriction.methods),
            "networks": [str(network) for network in restriction.networks],
        }
    )  # fmt: skip
    return (
        *(token.id, token.digest, token.name, owner.realm, owner.username, json.dumps(known)),
        *(token.created, token.expires, limits, int(token.passing)),
    )


def _token(row: tuple[Any, ...]) -> ApiToken:
    id, digest, name, realm, username, owner, created, expires, limits, passing = row
    known = json.loads(owner)
    restriction = None
    if limits is not None:
        limit = json.loads(limits)
        restriction = Restriction(
            frozenset(limit["routes"]), frozenset(limit["methods"]), tuple(map(ip_network, limit["networks"]))
        )
    principal = Principal(
        username,
        realm,
        tuple(known["roles"]),
        known["authenticator"],
        known["attributes"],
        {service: tuple(scopes) for service, scopes in known["scopes"].items()},
    )
    return ApiToken(id, digest, name, principal, created, expires, restriction, bool(passing))
