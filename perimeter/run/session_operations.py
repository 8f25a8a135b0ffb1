"""What the operator may do with sessions: the same for the running gateway, and for a command while no gateway runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from perimeter.run.known_realms import known_realm
from perimeter.sessions.session import Session
from perimeter.sessions.stored import StoredSessions
from perimeter.state.writer import finish, look
from perimeter.tokens.shown import utc_time

PAGE: Final = 1000
"""Sessions in one answer."""


def list_sessions(
    realms: Iterable[str], stored: StoredSessions, user: str | None, realm: str | None, first: int = 0
) -> dict[str, Any]:
    """Up to `PAGE` sessions, the oldest first, from number ``first`` on; ``next`` is the number to go on with, or None.

    Sessions on other hosts, which came from these and end with them, are not listed. ``user`` and ``realm`` select, unless None.
    ``realms`` are those of the configuration. Raises ValueError if there is no ``realm``.
    """
    if realm is not None:
        known_realm(realm, realms, stored.realms())
    roots = (one for one in stored.all() if not one.parent)
    found = [one for one in roots if user in (None, one.owner.username) and realm in (None, one.owner.realm)]
    page = found[first : first + PAGE]
    return {
        "sessions": [_described(one, stored) for one in page],
        "next": first + PAGE if len(found) > first + PAGE else None,
    }


def _described(session: Session, stored: StoredSessions) -> dict[str, Any]:
    return {
        "id": session.id,
        "username": session.owner.username,
        "realm": session.owner.realm,
        "created": utc_time(session.created),
        "seen": utc_time(stored.seen_at(session.id)),
        "expires": utc_time(stored.ends(session)),
        "address": session.address,
        "agent": session.agent,
        "proved": [method for method, _ in session.proved],
    }


async def end_sessions(
    realms: Iterable[str], stored: StoredSessions, ids: Sequence[str], user: tuple[str, str] | None
) -> dict[str, int]:
    """End the sessions ``ids``, on all hosts, and every session of ``user`` (realm and name).

    ``realms`` are those of the configuration. Returns how many ended, as ``sessions``. Raises ValueError, with the reason, if
    nothing ended, and `perimeter.errors.Unavailable` if the end is in force but could not be written.
    """
    sessions = []
    if any(stored.with_id(id) is None for id in ids):
        await look(stored)
    for id in dict.fromkeys(ids):
        session = stored.with_id(id)
        if session is None:
            raise ValueError(f"there is no session {id}")
        sessions.append(session)
    if user is not None:
        known_realm(user[0], realms, stored.realms())
    await finish(*(stored.end_sign_in(session) for session in sessions))
    more = [] if user is None else await stored.end_user(*user)
    return {"sessions": len(sessions) + len(more)}
