"""Sessions as records, which can be looked up one by one: what they are found by, and what ends or alters them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from perimeter.sessions.session import EndedSession, EndedUser, EndedVouched, Renewed, Seen, Session
from perimeter.sessions.tables import SELECT, ends, read
from perimeter.state.changes import Change
from perimeter.state.kinds import Effect, Execute, Listed, Records
from perimeter.state.page import PAGE, Page
from perimeter.state.writer import LookupKey

_FIND: Final = {
    "digest": "digest = ?",
    "id": "id = ?",
    "parent": "parent = ? AND parent <> ''",
    "owner": "realm = ? AND username = ?",
    "sub": "provider = ? AND subject = ? AND provider <> ''",
    "sid": "provider = ? AND sid = ? AND provider <> ''",
}
# Of a sign-in that has not ended: it, or a session that came from it, was used not long ago.
_OPEN: Final = """
parent = '' AND expires > ? AND (idle = 0 OR seen + idle > ? OR EXISTS (
    SELECT 1 FROM session AS child WHERE child.parent = session.id AND child.seen + session.idle > ?
))
"""


def find(execute: Execute, key: LookupKey) -> Iterator[Change]:
    """The sessions with ``key``, and when they were used last.

    Keys are ``digest`` (hexadecimal), ``id``, ``parent`` (an id), ``owner`` (realm and user name), ``sub`` and ``sid`` (the name
    of a provider, and its id of the user or of its session); and a `perimeter.state.page.Page`, of sessions without a parent,
    with all that came from them. Raises KeyError for another key.
    """
    word, *values = key
    if word == PAGE:
        return read(_page(execute, Page.of(key)))
    given = (bytes.fromhex(*values),) if word == "digest" else values
    return read(execute(f"{SELECT} WHERE {_FIND[word]} ORDER BY parent <> '', created", given))


def _page(execute: Execute, page: Page) -> Iterator[Sequence[Any]]:
    ids = []
    for row in execute(*page.sql(SELECT, _OPEN, (page.now,) * 3)).fetchall():
        ids.append(row[0])
        yield row
    for id in ids:
        yield from execute(f"{SELECT} WHERE {_FIND['parent']}", (id,)).fetchall()


def count(execute: Execute) -> int:
    """How many sessions there are, with those that have ended a short time ago."""
    return int(execute("SELECT count(*) FROM session").fetchone()[0])


def _keys(session: Session) -> Sequence[LookupKey]:
    found: list[LookupKey] = [("digest", session.digest.hex()), ("id", session.id)]
    found.append(("owner", session.owner.realm, session.owner.username))
    if session.parent:
        found.append(("parent", session.parent))
    vouched = session.vouched
    if vouched is not None:
        found.append(("sub", vouched.provider, vouched.subject))
        if vouched.sid:
            found.append(("sid", vouched.provider, vouched.sid))
    return found


def _effect(change: Change) -> Effect[Session] | None:
    """What ends sessions, renews them, or notes their use."""
    if isinstance(change, EndedSession):
        return Effect((("id", change.id), ("parent", change.id)), lambda _: None)
    if isinstance(change, EndedUser):
        user = change
        return Effect((("owner", user.realm, user.username),), lambda session: None if user.covers(session) else session)
    if isinstance(change, EndedVouched):
        there = change
        key = ("sid", there.provider, there.sid) if there.sid else ("sub", there.provider, there.subject)
        return Effect((key,), lambda session: None if there.covers(session) else session)
    if isinstance(change, Renewed):
        return Effect((("id", change.id), ("parent", change.id)), change.applied)
    if isinstance(change, Seen):
        return Effect([("id", id) for id, *_ in change.uses], lambda session: session, change.beside)
    return None


def _listed(session: Session) -> Listed | None:
    return None if session.parent else Listed(session.created, session.owner.realm, session.owner.username)


RECORDS: Final = Records(Session, _keys, lambda session: session.expires, _effect, find, count, ends, _listed)
"""Sessions, which can be looked up one by one."""
