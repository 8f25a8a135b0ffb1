"""``/logout`` and ``/signed-out`` below the prefix of the pages: people sign out, in this browser or everywhere.

A user who has signed in at a provider is still signed in there. The form offers to end that as well (OpenID Connect RP-Initiated
Logout 1.0): the session here ends first, then a page leads to the provider, which sends the browser back to ``/signed-out``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import attrs
from twisted.logger import Logger

from perimeter.config.site.login import Cleared
from perimeter.errors import Refusal, Unavailable
from perimeter.gate.access import ANYBODY
from perimeter.plugin.redirect import IEndsElsewhere
from perimeter.sessions.session import Session
from perimeter.web.endpoints.cleared import clear_site_data
from perimeter.web.endpoints.endpoint import reading
from perimeter.web.endpoints.page import PageEndpoint, Pages, note_session
from perimeter.web.endpoints.providers.parts import Provider
from perimeter.web.html.cookies import manual_cookie, no_session_cookie
from perimeter.web.request import exchange_of, respond

_log = Logger()

EVENT: Final = "logout"
"""The event in the audit log, and the purpose of the form's token."""

SIGNED_OUT: Final = "/signed-out"
"""The path of the page after the sign-out, below the prefix."""


@attrs.frozen
class Elsewhere:
    """A provider at which users can sign out, too. It sends the browser back to ``return_to``. ``reactor`` is the clock."""

    provider: Provider
    return_to: str
    reactor: Any

    async def url(self, secret: bytes) -> str:
        """Where the provider signs the user out; "" if it has no page for that, or does not answer."""
        authenticator: Any = self.provider.authenticator
        try:
            return await self.provider.ask(self.reactor, lambda: authenticator.sign_out_url(secret, self.return_to, ""))
        except Refusal as error:
            _log.warn("no sign-out at the provider {name}: {why}", name=self.provider.name, why=error.detail)
            return ""


class Logout(PageEndpoint):
    """Asks, and ends the session. ``cleared`` is the data of the whole host that the browser deletes. ``elsewhere`` has
    providers by their configured names. ``manual``: the browser's next sign-in does not begin by itself."""

    by_workers = True

    def __init__(
        self,
        pages: Pages,
        cleared: Sequence[Cleared],
        elsewhere: Mapping[str, Elsewhere] | None = None,
        manual: bool = False,
    ) -> None:
        super().__init__("/logout", {**reading(ANYBODY), b"POST": ANYBODY}, pages)
        self._cleared = clear_site_data(cleared)
        self._elsewhere = elsewhere or {}
        self._manual = manual

    def session_of(self, request: Any) -> Session | None:
        """The session that is to end, also if another machine may have ended it already."""
        return self.known_session(request)

    async def gather(self, request: Any) -> None:
        """See `PageEndpoint.gather`. The page shows how many other sessions there are, if that is known."""
        await super().gather(request)
        with suppress(Unavailable):
            await self.gather_owned(request)

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
            elsewhere="" if (there := self._there(session)) is None else there.provider.title,
        )

    def _there(self, session: Session) -> Elsewhere | None:
        """Where the user of ``session`` can sign out besides."""
        vouched = self.pages.sessions.vouched(session)
        found = None if vouched is None else self._elsewhere.get(vouched.provider)
        return found if found is not None and IEndsElsewhere.providedBy(found.provider.authenticator) else None

    def render_POST(self, request: Any) -> int:
        """End this session, or with ``everywhere`` all sessions of the user; with ``elsewhere`` lead to the provider then."""
        return respond(request, self._end(request))

    async def _end(self, request: Any) -> bytes:
        exchange = exchange_of(request)
        exchange.event = EVENT
        self.check_origin(request)
        cookie, session = exchange.head.headers.session, self.session_of(request)
        if cookie is None:  # a form of another site has none, and must not make a browser forget
            return self.redirect(request, self.pages.prefix + SIGNED_OUT)
        there, secret = None, b""
        if session is None:
            self.pages.sessions.check_fresh()  # a cookie is cleared only if its session has surely ended
        else:
            fields = self.form(request, EVENT)
            if fields.get("elsewhere"):
                there, secret = self._there(session), self.pages.sessions.secret(session, cookie)
            note_session(request, session)
            if fields.get("everywhere"):
                await self.pages.sessions.end_all(session.owner)
            else:
                await self.pages.sessions.end_cookie(cookie)
        request.responseHeaders.addRawHeader(b"Set-Cookie", no_session_cookie())
        if self._manual:
            request.responseHeaders.addRawHeader(b"Set-Cookie", manual_cookie())
        if self._cleared:
            request.setHeader(b"Clear-Site-Data", self._cleared)
        url = await there.url(secret) if there is not None and secret else ""
        if there is None or not url:
            return self.redirect(request, self.pages.prefix + SIGNED_OUT)
        # A page and no redirect: Chromium would refuse one to another site that follows a form.
        return self.render_page(request, "signed_out_here.html", location=url, title=there.provider.title)


class SignedOut(PageEndpoint):
    """The page after the sign-out. A picture on it clears the browser's cache (`Cleared`)."""

    by_workers = True

    def __init__(self, pages: Pages) -> None:
        super().__init__(SIGNED_OUT, reading(ANYBODY), pages)

    def render_GET(self, request: Any) -> bytes:
        """The page."""
        return self.render_page(request, "signed_out.html")
