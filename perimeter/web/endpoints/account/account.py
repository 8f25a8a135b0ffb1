"""``/account`` below the prefix of the pages: who the user is, and what they have."""

from __future__ import annotations

from math import inf
from typing import Any, Final

from perimeter.factors.factor import RECOVERY, FactorKind
from perimeter.model import Principal, Restriction
from perimeter.sessions.session import BY_PROVIDER, Session
from perimeter.tokens.api_token import ApiToken
from perimeter.tokens.book import MOST_NAMED
from perimeter.tokens.shown import utc_time
from perimeter.web.endpoints.account import purposes
from perimeter.web.endpoints.account.base import AccountEndpoint, AccountParts
from perimeter.web.endpoints.account.factors import KINDS, FactorParts
from perimeter.web.endpoints.endpoint import user_of
from perimeter.web.endpoints.page import query_fields
from perimeter.web.html.browser import browser_in_words
from perimeter.web.html.words import moment

_DONE: Final = {
    "session": "The session has ended.",
    "sessions": "All other sessions have ended.",
    "token": "The API token has ended.",
    "factor": "The second factor was added.",
    "factor_name": "The second factor has its new name.",
    "factor_end": "The second factor was removed.",
}
#: methods of a sign-in, in words
_METHODS: Final = {
    "password": "password",
    FactorKind.TOTP: "code of an authenticator app",
    FactorKind.WEBAUTHN: "passkey",
    RECOVERY: "recovery code",
}


class Account(AccountEndpoint):
    """The page. What is changed on it is sent to other paths."""

    def __init__(self, parts: AccountParts, factors: FactorParts | None = None) -> None:
        super().__init__("", (b"GET", b"HEAD"), parts)
        self._factors = factors

    def render_GET(self, request: Any) -> bytes:
        """The page. ``done`` in the URL says what has just been done."""
        user, session, book = user_of(request), self.signed_in(request), self.parts.tokens
        owned = [] if book is None else book.owned(user)
        sessions = sorted(self.pages.sessions.owned(user), key=lambda one: (one.id != session.id, -one.created))
        named = [token for token in owned if not token.passing]
        return self.render_page(
            request,
            "account.html",
            done=_DONE.get(query_fields(request).get("done", ""), ""),
            facts=_facts(user, session),
            sessions=[self._session(one, session) for one in sessions],
            tokens=[described(token) for token in reversed(named)],
            passing=len(owned) - len(named),
            full=len(named) >= MOST_NAMED,
            most=MOST_NAMED,
            with_tokens=book is not None,
            factors=self._factors_of(user),
            end_session=self.token_for(request, purposes.SESSION_END),
            end_token=self.token_for(request, purposes.TOKEN_END),
        )

    def _factors_of(self, user: Principal) -> dict[str, Any] | None:
        """What the page shows of the user's second factors; None if there are none here."""
        parts = self._factors
        if parts is None:
            return None
        return {
            "apps": parts.apps,
            "passkeys": parts.passkeys is not None,
            "demanded": parts.demanded(user),
            "left": parts.left(user),
            "all": [
                {
                    "id": one.id,
                    "name": one.name,
                    "kind": KINDS[one.kind],
                    "created": time_of(one.created),
                    "used": time_of(one.used or inf),
                }
                for one in parts.of(user)
            ],
        }

    def _session(self, session: Session, current: Session) -> dict[str, Any]:
        """What the page shows of a session."""
        seen = self.pages.sessions.seen_at(session)
        return {
            "id": session.id,
            "current": session.id == current.id,
            "browser": browser_in_words(session.agent),
            "address": session.address,
            "since": time_of(session.created),
            "seen": time_of(seen),
        }


def time_of(seconds: float) -> tuple[str, str]:
    """A time for programs and for people; two empty strings for "never"."""
    exact = utc_time(seconds)
    return ("", "") if exact is None else (exact, moment(seconds))


def described(token: ApiToken) -> dict[str, Any]:
    """What the page shows of an API token: never the token."""
    restriction = token.restriction or Restriction()
    limits = {
        "routes": sorted(restriction.routes),
        "methods": sorted(restriction.methods),
        "networks": [str(network) for network in restriction.networks],
    }
    return {
        "id": token.id,
        "name": token.name,
        "created": time_of(token.created),
        "expires": time_of(token.expires),
        "limits": [(name, ", ".join(values)) for name, values in limits.items() if values],
    }


def _in_words(method: str) -> str:
    if method.startswith(BY_PROVIDER):
        return f"second factor at {method.removeprefix(BY_PROVIDER)}"
    return _METHODS.get(method, method.removeprefix("provider:"))


def _facts(user: Principal, session: Session) -> list[tuple[str, str]]:
    """Who the user is, as rows of a table."""
    ways = [(_in_words(method), moment(at)) for method, at in session.proved]
    return [
        ("Name", user.username),
        ("Realm", user.realm),
        ("Roles", ", ".join(user.roles) or "none"),
        *((name, value) for name, value in sorted(user.attributes.items())),
        ("Vouched for by", user.authenticator),
        ("Signed in with", "; ".join(f"{way}, {at} UTC" for way, at in ways)),
    ]
