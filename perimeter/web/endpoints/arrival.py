"""How every sign-in ends, whatever it was made with: a session begins, and the browser is led on to where it wanted to go."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final
from urllib.parse import quote

import attrs

from perimeter.model import Principal
from perimeter.plugin.redirect import SignedIn
from perimeter.sessions.session import HERE, Origin, Renewal, Vouched
from perimeter.tokens.owners import encode_owner
from perimeter.web.endpoints.page import PageEndpoint, note_session
from perimeter.web.html.cookies import session_cookie
from perimeter.web.request import exchange_of

PASSWORD: Final = "password"  # noqa: S105  # a method of sign-in


@attrs.frozen
class Arrival:
    """A user who has shown who they are.

    ``methods`` are those of `perimeter.sessions.session.Session.proved`; the first one is the method in the metrics. ``to`` is a
    path on this host, ``fragment`` the end of the URL that the user wanted, with its ``#``, or "". ``signed_in`` is set after a
    sign-in at the provider called ``provider``; its principal is the user as the provider knows them, before augmenters.
    """

    principal: Principal
    methods: tuple[str, ...]
    to: str
    fragment: str = ""
    stay: bool = False
    provider: str = ""
    signed_in: SignedIn | None = None

    @property
    def origin(self) -> Origin:
        """Where the session comes from."""
        found = self.signed_in
        if found is None:
            return HERE
        vouched = Vouched(self.provider, found.issuer, found.subject, found.sid, encode_owner(found.principal))
        return Origin(vouched=vouched, secret=found.secret, renewal=Renewal(found.renew_after) if found.renew_after else None)


class Arrivals:
    """Ends sign-ins. ``stay``: seconds of a session that stays signed in, or 0. ``count`` takes the method and the outcome of
    each sign-in."""

    def __init__(self, stay: float = 0.0, count: Callable[[str, str], None] | None = None) -> None:
        self.stay = stay
        self._count = count

    async def arrive(self, page: PageEndpoint, request: Any, arrival: Arrival) -> bytes:
        """Begin the session, and answer with the page that leads on.

        Raises a `perimeter.errors.Refusal`, such as `Overloaded` or `Unavailable`, if the session cannot begin: ``page`` shows
        it.
        """
        exchange = exchange_of(request)
        decision, peer = exchange.decision, exchange.connection.address
        stays = arrival.stay and self.stay > 0
        cookie, session = await page.pages.sessions.begin(
            arrival.principal,
            address=peer if decision is None else decision.address,
            agent=(request.getHeader(b"user-agent") or b"").decode("utf-8", "replace"),  # any bytes
            methods=arrival.methods,
            stay=stays,
            old=exchange.head.headers.session,
            origin=arrival.origin,
        )
        self.note(arrival.methods[0], "success")
        note_session(request, session)
        kept = int(self.stay) if stays else 0
        request.responseHeaders.addRawHeader(b"Set-Cookie", session_cookie(cookie.encode("ascii"), kept))
        return self.lead_on(page, request, arrival.to, arrival.fragment)

    def note(self, method: str, outcome: str) -> None:
        """Count a sign-in by ``method`` with its ``outcome`` (``success``, ``wrong`` …)."""
        if self._count is not None:
            self._count(method, outcome)

    def lead_on(self, page: PageEndpoint, request: Any, to: str, fragment: str = "") -> bytes:
        """The page that leads on: Chromium refuses a redirect to another site that follows a form, so none does."""
        return page.redirect(request, f"{page.pages.prefix}/go?to={quote(to, safe='')}{fragment}")
