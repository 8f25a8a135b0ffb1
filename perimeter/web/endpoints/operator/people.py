"""Who is signed in, who holds API tokens, and who has to wait after wrong passwords. The operator may end all three."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode

from perimeter.errors import NoSuchToken
from perimeter.sessions.session import Session
from perimeter.state.page import Page
from perimeter.state.partial import finished
from perimeter.tokens.api_token import ApiToken
from perimeter.tokens.revoking import Revocation
from perimeter.web.endpoints.operator.section import PAGE, Action, Asked, Refused, Section, first_of, moment


def _pages(asked: Asked, more: bool) -> dict[str, str]:
    """What the template shows of the other pages of a list: ``more`` if there is one after this."""
    first = first_of(asked)
    kept = {name: asked.field(name) for name in ("user", "realm", "passing") if asked.field(name)}

    def link(at: int) -> str:
        return "?" + urlencode({**kept, "first": at})

    return {
        "previous": link(max(0, first - PAGE)) if first else "",
        "next": link(first + PAGE) if more else "",
        "user": asked.field("user"),
        "realm": asked.field("realm"),
    }


# -- sessions


async def _sessions(asked: Asked) -> Mapping[str, Any]:
    stored = asked.gateway.assembly.sessions
    user, realm, first = asked.field("user"), asked.field("realm"), first_of(asked)
    rows = await stored.page(Page(stored.seconds(), PAGE + 1, first, user, realm, latest=True))
    own = "" if asked.user.grant is None else asked.user.grant.id
    return {
        "sessions": [_session(one, stored.seen_at(one.id), own) for one in rows[:PAGE]],
        "pages": _pages(asked, len(rows) > PAGE),
        "count": len(stored),
    }


def _session(session: Session, seen: float, own: str) -> dict[str, Any]:
    return {
        "id": session.id,
        "user": session.owner.username,
        "realm": session.owner.realm,
        "roles": ", ".join(session.owner.roles),
        "created": moment(session.created),
        "seen": moment(seen),
        "expires": moment(session.expires),
        "address": session.address,
        "agent": session.agent,
        "own": session.id == own,
        "end": urlencode({"id": session.id}),
        "end_all": urlencode({"user": session.owner.username, "realm": session.owner.realm}),
    }


async def _end_session(asked: Asked) -> str:
    stored = asked.gateway.assembly.sessions
    id = asked.field("id")
    if stored.with_id(id) is None:
        await finished(stored.learn(("id", id)))
    session = stored.with_id(id)
    if session is None:
        raise Refused("This session has ended already.")
    await stored.end_sign_in(session)
    return f"The session {session.id} of {session.owner.username} has ended."


async def _end_user(asked: Asked) -> str:
    """End all sessions of a user, and all their tokens of both kinds."""
    user, realm = asked.field("user"), asked.field("realm")
    if not user or not realm:
        raise Refused("Give both the name and the realm of the user.")
    await asked.gateway.assembly.revoker.revoke(Revocation(user=(realm, user)))
    return f"All sessions and tokens of {user} of realm {realm} have ended."


# -- API tokens


async def _tokens(asked: Asked) -> Mapping[str, Any]:
    passing, user, realm = asked.field("passing") == "1", asked.field("user"), asked.field("realm")
    stored = asked.gateway.assembly.tokens
    rows = await stored.page(Page(stored.seconds(), PAGE + 1, first_of(asked), user, realm, passing, latest=True))
    return {
        "tokens_found": [_token(one) for one in rows[:PAGE]],
        "pages": _pages(asked, len(rows) > PAGE),
        "count": len(stored),
        "passing": passing,
    }


def _token(token: ApiToken) -> dict[str, Any]:
    limits = token.restriction
    return {
        "id": token.id,
        "name": token.name,
        "user": token.owner.username,
        "realm": token.owner.realm,
        "created": moment(token.created),
        "expires": moment(token.expires),
        "routes": ", ".join(sorted(limits.routes)) if limits is not None else "",
        "methods": ", ".join(sorted(limits.methods)) if limits is not None else "",
        "networks": ", ".join(map(str, limits.networks)) if limits is not None else "",
        "end": urlencode({"id": token.id}),
    }


async def _end_token(asked: Asked) -> str:
    id = asked.field("id")
    try:
        await asked.gateway.assembly.revoker.revoke(Revocation(ids=(id,)))
    except NoSuchToken:
        raise Refused("This token has ended already.") from None
    return f"The token {id} has ended."


# -- wrong passwords


async def _waiting(asked: Asked) -> Mapping[str, Any]:
    return {
        "waiting": [
            {
                "kind": str(key.kind),
                "value": key.value,
                "realm": key.realm,
                "failures": attempts.failures,
                "last": moment(attempts.last),
                "seconds": seconds,
                "release": urlencode({"what": key.value}),
            }
            for key, attempts, seconds in asked.gateway.assembly.chain.refused()
        ]
    }


async def _release(asked: Asked) -> str:
    what = asked.field("what")
    released = await asked.gateway.assembly.chain.release(what) if what else []
    if not released:
        raise Refused("There were no wrong passwords for this name or address.")
    return f"May try again: {', '.join(map(str, released))}."


SESSIONS: Final = Section(
    "sessions",
    "Sessions",
    "operator_sessions.html",
    _sessions,
    actions={"end": Action("session_end", _end_session), "end-user": Action("user_end", _end_user)},
)
TOKENS: Final = Section(
    "tokens",
    "API tokens",
    "operator_tokens.html",
    _tokens,
    actions={"end": Action("token_end", _end_token), "end-user": Action("user_end", _end_user)},
)
WAITING: Final = Section(
    "waiting", "Wrong passwords", "operator_waiting.html", _waiting, actions={"release": Action("unban", _release)}
)
