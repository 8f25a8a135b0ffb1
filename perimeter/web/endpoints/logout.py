"""``/logout`` and ``/signed-out`` below the prefix of the pages: people sign out, in this browser or everywhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from perimeter.config.site.login import Cleared
from perimeter.gate.access import ANYBODY
from perimeter.web.endpoints.cleared import clear_site_data
from perimeter.web.endpoints.endpoint import reading
from perimeter.web.endpoints.page import PageEndpoint, Pages, note_session
from perimeter.web.html.cookies import no_session_cookie
from perimeter.web.request import exchange_of, respond

EVENT: Final = "logout"
"""The event in the audit log, and the purpose of the form's token."""

SIGNED_OUT: Final = "/signed-out"
"""The path of the page after the sign-out, below the prefix."""


class Logout(PageEndpoint):
    """Asks, and ends the session. ``cleared`` is the data of the whole host that the browser deletes."""

    by_workers = True

    def __init__(self, pages: Pages, cleared: Sequence[Cleared]) -> None:
        super().__init__("/logout", {**reading(ANYBODY), b"POST": ANYBODY}, pages)
        self._cleared = clear_site_data(cleared)

    def render_GET(self, request: Any) -> bytes:
        """The question; a browser that is not signed in has signed out already."""
        session = self.session_of(request)
        if session is None:
            return self.redirect(request, self.pages.prefix + SIGNED_OUT)
        return self.render_page(
            request,
            "logout.html",
            current=session.owner.username,
            realm=session.owner.realm,
            token=self.token_for(request, EVENT),
            others=len(self.pages.sessions.owned(session.owner)) - 1,
        )

    def render_POST(self, request: Any) -> int:
        """End this session, or with ``everywhere`` all sessions of the user."""
        return respond(request, self._end(request))

    async def _end(self, request: Any) -> bytes:
        exchange = exchange_of(request)
        exchange.event = EVENT
        self.check_origin(request)
        cookie, session = exchange.head.headers.session, self.session_of(request)
        if cookie is None:  # a form of another site has none, and must not make a browser forget
            return self.redirect(request, self.pages.prefix + SIGNED_OUT)
        if session is not None:
            everywhere = bool(self.form(request, EVENT).get("everywhere"))
            note_session(request, session)
            if everywhere:
                await self.pages.sessions.end_all(session.owner)
            else:
                await self.pages.sessions.end_cookie(cookie)
        request.responseHeaders.addRawHeader(b"Set-Cookie", no_session_cookie())
        if self._cleared:
            request.setHeader(b"Clear-Site-Data", self._cleared)
        return self.redirect(request, self.pages.prefix + SIGNED_OUT)


class SignedOut(PageEndpoint):
    """The page after the sign-out. A picture on it clears the browser's cache (`Cleared`)."""

    by_workers = True

    def __init__(self, pages: Pages) -> None:
        super().__init__(SIGNED_OUT, reading(ANYBODY), pages)

    def render_GET(self, request: Any) -> bytes:
        """The page."""
        return self.render_page(request, "signed_out.html")
