"""What the operator may do with sessions: the same for the running gateway, and for a command while no gateway runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from perimeter.run.known_realms import known_owner
from perimeter.sessions.session import Session
from perimeter.sessions.stored import StoredSessions
from perimeter.state.page import Page
from perimeter.state.partial import finished
from perimeter.state.writer import finish
from perimeter.tokens.shown import utc_time

PAGE: Final = 1000
"""Sessions in one answer."""


async def list_sessions(
    realms: Iterable[str], stored: StoredSessions, user: str | None, realm: str | None, first: int = 0
) -> dict[str, Any]:
    """Up to `PAGE` sessions, the oldest first, from number ``first`` on; ``next`` is the number to go on with, or None.

    Sessions on other hosts, which came from these and end with them, are not listed. ``user`` and ``realm`` select, unless None.
    ``realms`` are those of the configuration. Raises ValueError if there is no ``realm``, and `perimeter.errors.Unavailable`.
    """
    if realm is not None:
        await known_owner(realm, realms, stored)
    found = await stored.page(Page(stored.seconds(), PAGE + 1, first, user or "", realm or ""))
    return {
        "sessions": [_described(one, stored) for one in found[:PAGE]],
        "next": first + PAGE if len(found) > PAGE else None,
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
    for id in dict.fromkeys(ids):
        if stored.with_id(id) is None:
            await finished(stored.learn(("id", id)))
        session = stored.with_id(id)
        if session is None:
            raise ValueError(f"there is no session {id}")
        sessions.append(session)
    if user is not None:
        await known_owner(user[0], realms, stored)
    await finish(*(stored.end_sign_in(session) for session in sessions))
    more = [] if user is None else await stored.end_user(*user)
    return {"sessions": len(sessions) + len(more)}
