"""How SQLite keeps sessions, and their text in the change log."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar

import attrs

from perimeter.model import Principal
from perimeter.sessions.session import EndedSession, EndedUser, EndedVouched, Renewal, Renewed, Seen, Session, Vouched
from perimeter.state.changes import Change
from perimeter.state.kinds import Codec, Execute
from perimeter.tokens.owners import decode_owner, encode_owner

T = TypeVar("T")

FORGET_AFTER: Final = 600.0
"""Seconds for which a session that has ended by idleness is still kept: its last use may not be written yet."""

_TABLES: Final = """
CREATE TABLE session (
    id TEXT PRIMARY KEY, digest BLOB NOT NULL UNIQUE, realm TEXT NOT NULL, username TEXT NOT NULL, owner TEXT NOT NULL,
    created REAL NOT NULL, expires REAL NOT NULL, idle REAL NOT NULL, seen REAL NOT NULL, proved TEXT NOT NULL,
    address TEXT NOT NULL, agent TEXT NOT NULL
);
CREATE INDEX session_of ON session (realm, username);
CREATE TABLE session_user_ended (
    realm TEXT NOT NULL, username TEXT NOT NULL, before REAL NOT NULL, until REAL NOT NULL, PRIMARY KEY (realm, username)
) WITHOUT ROWID;
"""

# The gaps of an earlier session are unknown: it may have been unused for all of that time.
_GAPS: Final = """
ALTER TABLE session ADD COLUMN gap REAL NOT NULL DEFAULT 0;
UPDATE session SET gap = seen - created;
"""

_ORIGINS: Final = """
ALTER TABLE session ADD COLUMN parent TEXT NOT NULL DEFAULT '';
ALTER TABLE session ADD COLUMN vouched TEXT NOT NULL DEFAULT '';
ALTER TABLE session ADD COLUMN sealed BLOB NOT NULL DEFAULT x'';
CREATE INDEX session_from ON session (parent) WHERE parent <> '';
"""

# 0: the provider is never asked again
_RENEWALS: Final = """
ALTER TABLE session ADD COLUMN due REAL NOT NULL DEFAULT 0;
ALTER TABLE session ADD COLUMN unsure INTEGER NOT NULL DEFAULT 0;
"""

# Members of ``vouched`` in columns of their own, to be found by.
_ENDED_THERE: Final = """
ALTER TABLE session ADD COLUMN provider TEXT NOT NULL DEFAULT '';
ALTER TABLE session ADD COLUMN subject TEXT NOT NULL DEFAULT '';
ALTER TABLE session ADD COLUMN sid TEXT NOT NULL DEFAULT '';
CREATE INDEX session_of_subject ON session (provider, subject) WHERE provider <> '';
CREATE INDEX session_of_sid ON session (provider, sid) WHERE provider <> '';
CREATE TABLE session_vouched_ended (
    provider TEXT NOT NULL, subject TEXT NOT NULL, sid TEXT NOT NULL, before REAL NOT NULL, until REAL NOT NULL,
    PRIMARY KEY (provider, subject, sid)
) WITHOUT ROWID;
"""

# To look sessions up. Earlier versions had few enough to read all.
_LOOK_UP: Final = "CREATE INDEX session_age ON session (created);"

SELECT: Final = """
SELECT id, digest, realm, username, owner, created, expires, idle, proved, address, agent, parent, vouched, sealed, due, unsure,
seen, gap FROM session
"""
"""What `read` needs."""
_ALL: Final = f"{SELECT} ORDER BY realm, username, created, parent"
# Not a session that was begun before all of its user's were ended, and is written only now (attack 39), nor one whose parent has
# ended meanwhile, or whose sign-in the provider has ended (attack O6).
_ADD: Final = """
INSERT INTO session
(id, digest, realm, username, owner, created, expires, idle, proved, address, agent, parent, vouched, sealed, due, unsure,
provider, subject, sid, seen)
SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?6
WHERE NOT EXISTS (SELECT 1 FROM session_user_ended WHERE realm = ?3 AND username = ?4 AND before >= ?6)
AND (?12 = '' OR EXISTS (SELECT 1 FROM session WHERE id = ?12))
AND NOT EXISTS (
    SELECT 1 FROM session_vouched_ended
    WHERE provider = ?17 AND subject IN ('', ?18) AND CASE sid WHEN '' THEN before >= ?6 ELSE sid = ?19 END
)
"""
# A parent stays while it has a child, which ends with it.
_FORGET: Final = """
DELETE FROM session WHERE (expires <= ?1 OR (idle > 0 AND seen + idle <= ?2))
AND (parent <> '' OR NOT EXISTS (SELECT 1 FROM session AS child WHERE child.parent = session.id))
"""
_SEEN: Final = "UPDATE session SET seen = max(seen, ?), gap = max(gap, ?) WHERE id = ?"
_RENEW: Final = "UPDATE session SET owner = ?, vouched = ?, sealed = ?, due = ?, unsure = ? WHERE id = ?"
_RENEW_CHILDREN: Final = "UPDATE session SET owner = ? WHERE parent = ? AND parent <> ''"
_END_SID: Final = """
DELETE FROM session WHERE provider <> '' AND provider = ?1 AND sid = ?2 AND ?3 IN ('', subject)
"""
_END_SUBJECT: Final = """
DELETE FROM session WHERE provider <> '' AND provider = ?1 AND subject = ?2 AND created <= ?3
"""
_END_THERE: Final = """
INSERT INTO session_vouched_ended (provider, subject, sid, before, until) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (provider, subject, sid) DO UPDATE SET before = max(before, excluded.before), until = max(until, excluded.until)
"""
_END_USER: Final = """
INSERT INTO session_user_ended (realm, username, before, until) VALUES (?, ?, ?, ?)
ON CONFLICT (realm, username) DO UPDATE SET before = max(before, excluded.before), until = max(until, excluded.until)
"""


class SessionTable:
    """`perimeter.state.kinds.Table` of sessions."""

    migrations: Sequence[str] = (_TABLES, _GAPS, _ORIGINS, _RENEWALS, _ENDED_THERE, _LOOK_UP)

    def load(self, execute: Execute) -> Iterator[Change]:
        """Everything; ended users first, since they decide which sessions count, then users by name."""
        yield from ends(execute)
        yield from read(execute(_ALL))

    def write(self, execute: Execute, change: Change) -> None:
        """Apply one change."""
        if isinstance(change, Session):
            vouched = change.vouched
            found_by = ("", "", "") if vouched is None else (vouched.provider, vouched.subject, vouched.sid)
            execute(_ADD, (*_row(change), *found_by))
        elif isinstance(change, Seen):
            for id, at, gap in change.uses:
                execute(_SEEN, (at, gap, id))
        elif isinstance(change, Renewed):
            owner, renewal = encode_owner(change.owner), change.renewal
            execute(_RENEW, (owner, _voucher(change.vouched), change.sealed, renewal.due, renewal.unsure, change.id))
            execute(_RENEW_CHILDREN, (owner, change.id))
        elif isinstance(change, EndedSession):
            execute("DELETE FROM session WHERE id = ?1 OR parent = ?1", (change.id,))
        elif isinstance(change, EndedUser):
            gone = (change.realm, change.username, change.before)
            execute("DELETE FROM session WHERE realm = ? AND username = ? AND created <= ?", gone)
            execute(_END_USER, (*gone, change.until))
        elif isinstance(change, EndedVouched):
            if change.sid:
                execute(_END_SID, (change.provider, change.sid, change.subject))
            else:
                execute(_END_SUBJECT, (change.provider, change.subject, change.before))
            execute(_END_THERE, attrs.astuple(change))

    def forget(self, execute: Execute, now: float) -> None:
        """Delete what ended by ``now``."""
        execute(_FORGET, (now, now - FORGET_AFTER))
        execute("DELETE FROM session_user_ended WHERE until <= ?", (now,))
        execute("DELETE FROM session_vouched_ended WHERE until <= ?", (now,))


def ends(execute: Execute) -> Iterator[Change]:
    """All that is kept besides sessions."""
    for row in execute("SELECT realm, username, before, until FROM session_user_ended"):
        yield EndedUser(*row)
    for row in execute("SELECT provider, subject, sid, before, until FROM session_vouched_ended"):
        yield EndedVouched(*row)


def read(rows: Iterable[Sequence[Any]]) -> Iterator[Change]:
    """Sessions, and their uses after all of them."""
    shared, uses = _Shared(), []
    for *row, seen, gap in rows:
        session = shared.session(row)
        yield session
        if seen > session.created:
            uses.append((session.id, seen, gap))
    if uses:
        yield Seen(tuple(uses))


def _row(session: Session) -> tuple[Any, ...]:
    owner = session.owner
    return (
        *(session.id, session.digest, owner.realm, owner.username, encode_owner(owner)),
        *(session.created, session.expires, session.idle, json.dumps(session.proved), session.address, session.agent),
        *(session.parent, "" if session.vouched is None else _voucher(session.vouched), session.sealed),
        *((0.0, False) if session.renewal is None else (session.renewal.due, session.renewal.unsure)),
    )


def _voucher(vouched: Vouched) -> str:
    return json.dumps(attrs.astuple(vouched))


class _Shared:
    """Makes sessions of rows. Equal texts, and the owner of rows that follow each other, take memory only once."""

    def __init__(self) -> None:
        self._values: dict[Any, Any] = {}
        self._row: tuple[str, str, str] | None = None
        self._owner: Principal | None = None

    def session(self, row: Sequence[Any]) -> Session:
        """The session of a row. Raises ValueError, TypeError or KeyError."""
        id, digest, realm, username, owner, created, expires, idle, proved, address, agent, *origin = row
        parent, voucher, sealed, due, unsure, *fence = origin
        once = self._once
        if self._owner is None or self._row != (realm, username, owner):
            known = decode_owner(once(realm), username, owner)
            roles = once(tuple(map(once, known.roles)))
            self._owner = attrs.evolve(known, roles=roles, authenticator=once(known.authenticator))
            self._row = realm, username, owner
        proofs = tuple((once(method), created if at == created else at) for method, at in json.loads(proved))
        vouched = Vouched(*map(once, json.loads(voucher))) if voucher else None
        return Session(
            *(id, digest, self._owner, created, expires, once(idle), proofs, once(address), once(agent)),
            *(parent, vouched, sealed, Renewal(due, bool(unsure), *fence) if due else None),
        )

    def _once(self, value: T) -> T:
        """The first value that was equal to ``value``."""
        first: T = self._values.setdefault(value, value)
        return first


_BEFORE: Final = 9
"""Members of a session's text after id and digest, without its origin."""


def _encode_session(session: Session) -> str:
    id, digest, *rest, parent, vouched, sealed, due, unsure = _row(session)
    origin = [parent, vouched, sealed.hex(), due, unsure] if parent or vouched or sealed else []  # unknown to earlier versions
    return json.dumps([id, digest.hex(), *rest, *origin, *_fence(session.renewal)])


def _decode_session(text: str) -> Session:
    id, digest, *rest = json.loads(text)
    rest, (parent, vouched, sealed, *renewal) = rest[:_BEFORE], rest[_BEFORE:] or ("", "", "", 0.0, False)
    return _Shared().session([id, bytes.fromhex(digest), *rest, parent, vouched, bytes.fromhex(sealed), *renewal])


def _fence(renewal: Renewal | None) -> tuple[int, ...]:
    """The fence as the end of a text. The table has none: it has one writer at a time."""
    return () if renewal is None or not renewal.fence else (renewal.fence,)


def _encode_renewed(change: Renewed) -> str:
    owner, renewal = change.owner, change.renewal
    return json.dumps(
        [
            *(change.id, owner.realm, owner.username, encode_owner(owner)),
            *(attrs.astuple(change.vouched), change.sealed.hex(), renewal.due, renewal.unsure, *_fence(renewal)),
        ]
    )


def _decode_renewed(text: str) -> Renewed:
    id, realm, username, owner, vouched, sealed, *renewal = json.loads(text)
    return Renewed(id, decode_owner(realm, username, owner), Vouched(*vouched), bytes.fromhex(sealed), Renewal(*renewal))


def _decode_seen(text: str) -> Seen:
    def use(id: str, at: float, gap: float = 0.0) -> tuple[str, float, float]:  # earlier versions wrote no gap
        return id, at, gap

    return Seen(tuple(use(*given) for given in json.loads(text)))


CODECS: Final[Mapping[str, Codec[Any]]] = {
    "session": Codec(Session, _encode_session, _decode_session),
    "session_seen": Codec(Seen, lambda seen: json.dumps(seen.uses, separators=(",", ":")), _decode_seen),
    "session_renewed": Codec(Renewed, _encode_renewed, _decode_renewed),
    "session_ended": Codec(EndedSession, lambda ended: json.dumps([ended.id]), lambda text: EndedSession(*json.loads(text))),
    "session_user_ended": Codec(
        EndedUser,
        lambda user: json.dumps([user.realm, user.username, user.before, user.until]),
        lambda text: EndedUser(*json.loads(text)),
    ),
    "session_vouched_ended": Codec(
        EndedVouched, lambda ended: json.dumps(attrs.astuple(ended)), lambda text: EndedVouched(*json.loads(text))
    ),
}
"""By the word in the log. The meaning of a word and its text must never change: processes of two versions may share a log."""
