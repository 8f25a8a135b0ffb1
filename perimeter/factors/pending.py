"""Sign-ins that wait for a second factor: the password was right, and there is no session yet.

The browser has a cookie of its own for it, and the gate cannot look that up: a half sign-in opens nothing. It ends after five
minutes, and after five wrong codes, in all processes together.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred

from perimeter.model import Principal
from perimeter.sessions.session import Proof
from perimeter.state.changes import Change
from perimeter.state.kinds import Codec, Execute, IndexedView, Kind
from perimeter.state.writer import ChangeWriter
from perimeter.tokens.owners import decode_owner, encode_owner

LIFETIME: Final = 300.0
"""Seconds that a sign-in waits for its second factor."""

MOST: Final = 10_000
"""Sign-ins that wait at a time: the oldest ends if one more begins."""

MOST_OF_ADDRESS: Final = 20
"""Those from one address."""

TRIES: Final = 5
"""Codes that can be tried for one sign-in."""


@attrs.frozen(slots=True)
class PendingSignIn(Change):
    """A sign-in that waits. Times are seconds since the epoch.

    ``digest`` is the SHA-256 of the cookie's value. ``owner`` has shown what ``proved`` says. ``sealed`` is what the page needs
    to go on, under the cookie's value (`perimeter.sessions.sealing`).
    """

    digest: bytes = attrs.field(repr=False)
    owner: Principal
    proved: tuple[Proof, ...]
    created: float
    address: str
    sealed: bytes = attrs.field(repr=False)

    @property
    def adds(self) -> bool:
        """True: it counts once it is written."""
        return True

    @property
    def passing(self) -> bool:
        """True: after a power failure, its user signs in again."""
        return True


@attrs.frozen(slots=True)
class EndedPending(Change):
    """The sign-in is over: it has become a session, or was given up."""

    digest: bytes = attrs.field(repr=False)

    @property
    def passing(self) -> bool:
        """True: it cuts no connection, and its codes are claimed besides."""
        return True


class PendingTable:
    """`perimeter.state.kinds.Table` of sign-ins that wait."""

    migrations: Sequence[str] = (
        """
CREATE TABLE pending (
    digest BLOB PRIMARY KEY, realm TEXT NOT NULL, username TEXT NOT NULL, owner TEXT NOT NULL, proved TEXT NOT NULL,
    created REAL NOT NULL, address TEXT NOT NULL, sealed BLOB NOT NULL
) WITHOUT ROWID;
""",
    )

    def load(self, execute: Execute) -> Iterator[Change]:
        """Everything, the oldest first."""
        for row in execute(
            "SELECT digest, realm, username, owner, proved, created, address, sealed FROM pending ORDER BY created"
        ):
            yield _pending(*row)

    def write(self, execute: Execute, change: Change) -> None:
        """Apply one change."""
        if isinstance(change, PendingSignIn):
            execute("INSERT OR REPLACE INTO pending VALUES (?, ?, ?, ?, ?, ?, ?, ?)", _row(change))
        elif isinstance(change, EndedPending):
            execute("DELETE FROM pending WHERE digest = ?", (change.digest,))

    def forget(self, execute: Execute, now: float) -> None:
        """Delete what ended by ``now``."""
        execute("DELETE FROM pending WHERE created <= ?", (now - LIFETIME,))


def _row(one: PendingSignIn) -> tuple[Any, ...]:
    owner = one.owner
    who = (owner.realm, owner.username, encode_owner(owner))
    return (one.digest, *who, json.dumps(one.proved), one.created, one.address, one.sealed)


def _pending(
    digest: bytes, realm: str, username: str, owner: str, proved: str, created: float, address: str, sealed: bytes
) -> PendingSignIn:
    """The sign-in of a row. Raises ValueError, TypeError or KeyError."""
    proofs = tuple((method, at) for method, at in json.loads(proved))
    return PendingSignIn(digest, decode_owner(realm, username, owner), proofs, created, address, sealed)


def _encode(one: PendingSignIn) -> str:
    return json.dumps([value.hex() if isinstance(value, bytes) else value for value in _row(one)])


def _decode(text: str) -> PendingSignIn:
    digest, realm, username, owner, proved, created, address, sealed = json.loads(text)
    return _pending(bytes.fromhex(digest), realm, username, owner, proved, created, address, bytes.fromhex(sealed))


CODECS: Final[Mapping[str, Codec[Any]]] = {
    "pending": Codec(PendingSignIn, _encode, _decode),
    "pending_ended": Codec(
        EndedPending, lambda one: json.dumps([one.digest.hex()]), lambda text: EndedPending(bytes.fromhex(json.loads(text)[0]))
    ),
}
"""By the word in the log. The meaning of a word and its text must never change: processes of two versions may share a log."""


class PendingIndex:
    """The sign-ins that wait, in memory, the oldest first."""

    def __init__(self) -> None:
        self.by_digest: dict[bytes, PendingSignIn] = {}
        #: by address: the digests from there, the oldest first
        self.of_address: dict[str, list[bytes]] = {}

    def apply(self, change: Change) -> None:
        """Put one change in force."""
        if isinstance(change, PendingSignIn) and change.digest not in self.by_digest:
            self._add(change)
        elif isinstance(change, EndedPending):
            self.drop(change.digest)

    def _add(self, one: PendingSignIn) -> None:
        there = self.of_address.setdefault(one.address, [])
        self.by_digest[one.digest] = one
        there.append(one.digest)
        if len(there) > MOST_OF_ADDRESS:
            self.drop(there[0])
        elif len(self.by_digest) > MOST:
            self.drop(next(iter(self.by_digest)))

    def drop(self, digest: bytes) -> None:
        """Drop the one with this digest, if there is one."""
        one = self.by_digest.pop(digest, None)
        if one is None:
            return
        there = self.of_address[one.address]
        there.remove(digest)
        if not there:
            del self.of_address[one.address]

    def forget(self, now: float) -> None:
        """Drop what had ended by ``now`` (epoch seconds)."""
        for one in [one for one in self.by_digest.values() if one.created <= now - LIFETIME]:
            self.drop(one.digest)


class StoredPending(IndexedView[PendingIndex]):
    """The sign-ins that wait for a second factor (`perimeter.state.kinds.View`)."""

    def __init__(self, writer: ChangeWriter) -> None:
        super().__init__(writer, PendingIndex)

    def __len__(self) -> int:
        """How many there are, with those that have ended a short time ago."""
        return len(self._index.by_digest)

    def find(self, digest: bytes) -> PendingSignIn | None:
        """The one whose cookie has this SHA-256, perhaps over."""
        return self._index.by_digest.get(digest)

    def add(self, one: PendingSignIn) -> Deferred[None]:
        """Keep a new one, which counts once this has fired. Fails with `Unavailable`."""
        return self._writer.add(one)

    def end(self, one: PendingSignIn) -> Deferred[None]:
        """End one, at once; fires when that is written, or fails with `Unavailable`."""
        return self._writer.remove(EndedPending(one.digest))


PENDING: Final[Kind[StoredPending]] = Kind("pending", CODECS, PendingTable(), StoredPending)
"""Sign-ins that wait for a second factor."""
