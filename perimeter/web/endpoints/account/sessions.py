"""``/account/sessions`` below the prefix of the pages: a user ends their sessions."""

from __future__ import annotations

from typing import Any, Final

from perimeter.errors import NoRoute
from perimeter.web.endpoints.account import purposes
from perimeter.web.endpoints.account.base import AccountEndpoint, AccountParts
from perimeter.web.endpoints.endpoint import user_of
from perimeter.web.endpoints.logout import SIGNED_OUT
from perimeter.web.html.cookies import no_session_cookie
from perimeter.web.request import exchange_of, respond

_OTHERS: Final = "others"


class AccountSessions(AccountEndpoint):
    """``POST …/ID/end`` ends one session; ``GET …/others`` asks whether to end all others, and ``POST …/others/end`` does it."""

    beneath = True

    def __init__(self, parts: AccountParts) -> None:
        super().__init__("/sessions", (b"GET", b"HEAD", b"POST"), parts)

    def render_GET(self, request: Any) -> bytes:
        """The question, after a fresh sign-in. Raises `NoRoute` for other paths."""
        match self.beneath_path(request):
            case []:
                return self.redirect(request, self.front)
            case [which] if which == _OTHERS:
                pass
            case _:
                raise NoRoute("the account page does not have this path")
        again = self.stale(request, f"{self.path}/{_OTHERS}")
        if again is not None:
            return again
        others = len(self.pages.sessions.owned(user_of(request))) - 1
        return self.render_page(
            request, "account_others.html", others=others, token=self.token_for(request, purposes.SESSIONS_END)
        )

    def render_POST(self, request: Any) -> int:
        """End one, or all others."""
        return respond(request, self._end(request))

    async def _end(self, request: Any) -> bytes:
        match self.beneath_path(request):
            case [which, "end"]:
                exchange_of(request).event = purposes.SESSION_END
            case _:
                raise NoRoute("the account page does not have this path")
        user, session, book = user_of(request), self.signed_in(request), self.pages.sessions
        if which == _OTHERS:
            self.form(request, purposes.SESSIONS_END)
            again = self.stale(request, f"{self.path}/{_OTHERS}")
            if again is not None:
                return again
            await book.end_others(user, session.id)
            return self.redirect(request, f"{self.front}?done=sessions")
        self.form(request, purposes.SESSION_END)
        await book.end(user, which)
        if which == session.id:
            request.responseHeaders.addRawHeader(b"Set-Cookie", no_session_cookie())
            return self.redirect(request, self.pages.prefix + SIGNED_OUT)
        return self.redirect(request, f"{self.front}?done=session")
