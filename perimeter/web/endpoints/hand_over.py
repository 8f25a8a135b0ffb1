"""A host of its own for sign-in: its sessions are handed over to the other hosts (`perimeter.sessions.tickets`, attack B5).

A browser without a session on a host A comes to ``/login`` there, which sets a cookie with a secret and redirects to the sign-in
page on the login host, with ``/hand-over`` as the path to go to after the sign-in, whatever that is made with. ``/hand-over``
issues a ticket for A, and A's ``/enter`` makes a session of it. So the login host is the only one with a page that asks for a
password, and no script of a service shares its origin.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import quote

import attrs

from perimeter.config.language.datatypes import BadValue
from perimeter.config.language.net_types import checked_host
from perimeter.config.site.route_matching import WILDCARDS, canonical_host, hosts_for
from perimeter.errors import BadTicket, NoRoute, NoSuchSession, Refusal
from perimeter.gate.access import ANYBODY
from perimeter.gate.return_path import FRONT, LONGEST, Again, safe_path
from perimeter.http.cookies import own_value
from perimeter.sessions.sealing import key_of
from perimeter.sessions.session import Session
from perimeter.sessions.tickets import Ticket, Tickets, commitment_to, is_commitment
from perimeter.web.endpoints.encrypted import needs_https
from perimeter.web.endpoints.endpoint import reading
from perimeter.web.endpoints.page import PageEndpoint, Pages, note_session, query_fields
from perimeter.web.html.cookies import HAND_OVER, HAND_OVER_LENGTH, hand_over_cookie, session_cookie
from perimeter.web.request import exchange_of, respond

EVENT: Final = "enter"
"""The event in the audit log."""

_HAND_OVER: Final = "/hand-over"
_ENTER: Final = "/enter"
_LOGIN: Final = "/login"


class AppHosts:
    """The hosts to which sign-ins are handed over: names and wildcards (``*.example.com``)."""

    def __init__(self, hosts: Iterable[str]) -> None:
        self._known = frozenset(hosts)
        self._longest = max((len(one) for one in self._known if one.startswith(WILDCARDS)), default=0)

    def has(self, name: str) -> bool:
        """Whether ``name`` is a host name in its canonical form, without a port, and one of these hosts."""
        try:
            canonical = not name.startswith(WILDCARDS) and checked_host(name) == name
        except BadValue:
            return False
        return canonical and any(True for _ in hosts_for(name, self._known, self._longest))


@attrs.frozen
class HandOvers:
    """What the endpoints of the hand-over share. ``login_host`` is a name without a port: all hosts use the same port."""

    login_host: str
    apps: AppHosts
    tickets: Tickets


class HandOver(PageEndpoint):
    """``/hand-over`` on the login host: sends a browser that is signed in back to another host, with a ticket."""

    by_workers = True

    def __init__(self, pages: Pages, hand_overs: HandOvers) -> None:
        super().__init__(_HAND_OVER, reading(ANYBODY), pages)
        self._hand_overs = hand_overs

    def render_GET(self, request: Any) -> bytes:
        """The redirect; first to the sign-in page if the browser is not signed in."""
        fields = query_fields(request)
        host, commitment = fields.get("host", ""), fields.get("n", "")
        if not self._hand_overs.apps.has(host) or not is_commitment(commitment):
            raise BadTicket("the URL of the hand-over names no host of a route with browser_login, or no browser")
        to = safe_path(fields.get("to", ""))
        session = self.session_of(request)
        if session is None:
            back = hand_over_path(self.pages.prefix, host, commitment, to)
            return self.redirect(request, f"{self.pages.prefix}{_LOGIN}?to={quote(back)}")
        note_session(request, session)
        ticket = self._hand_overs.tickets.issue(Ticket(session.id, host, commitment, self._key(request, session)))
        port = self.pages.port(exchange_of(request))
        return self.redirect(request, f"https://{host}{port}{self.pages.prefix}{_ENTER}?ticket={ticket}&to={quote(to)}")

    @staticmethod
    def _key(request: Any, session: Session) -> bytes:
        """The key of what a provider gave, so that requests on the other host can renew the session."""
        cookie = exchange_of(request).head.headers.session
        return key_of(cookie) if session.sealed and cookie is not None else b""


class SendToLogin(PageEndpoint):
    """A page that is on the login host alone: on the others, its ``path`` redirects there, and later back to ``to``."""

    by_workers = True

    def __init__(self, path: str, pages: Pages, hand_overs: HandOvers, https_port: int = 0) -> None:
        super().__init__(path, reading(ANYBODY), pages)
        self._page = path
        self._hand_overs = hand_overs
        self._https_port = https_port

    def render_GET(self, request: Any) -> bytes:
        """The redirect, with the cookie that the ticket will belong to."""
        exchange, fields = exchange_of(request), query_fields(request)
        to = safe_path(fields.get("to", ""))
        host = canonical_host(exchange.head.host)
        if not self._hand_overs.apps.has(host):
            raise NoRoute("people sign in on the hosts of routes with browser_login alone, if [login] host is set")
        if not self.pages.is_secure(exchange):
            return needs_https(self, request, to, self._https_port)
        again = fields.get("again", "")
        if self._page == _LOGIN and not again and self.session_of(request) is not None:
            return self.redirect(request, to)
        more = f"&again={again}" if again in set(Again) else ""
        commitment = commitment_to(self._secret(request))
        back = hand_over_path(self.pages.prefix, host, commitment, to)
        if len(back) > LONGEST:
            back = hand_over_path(self.pages.prefix, host, commitment, FRONT)
        port = self.pages.port(exchange)
        page = f"https://{self._hand_overs.login_host}{port}{self.pages.prefix}{self._page}"
        return self.redirect(request, f"{page}?to={quote(back)}{more}")

    @staticmethod
    def _secret(request: Any) -> bytes:
        """The value of the browser's cookie, which is set if it is not there: several tabs may be on their way."""
        secret = _secret_of(request)
        if secret is None:
            secret = secrets.token_urlsafe(32).encode("ascii")
            request.responseHeaders.addRawHeader(b"Set-Cookie", hand_over_cookie(secret))
        return secret


class Enter(PageEndpoint):
    """``/enter`` on a host of services: makes a session of a ticket, and leads to the path in ``to``."""

    by_workers = True

    def __init__(self, pages: Pages, hand_overs: HandOvers) -> None:
        super().__init__(_ENTER, reading(ANYBODY), pages)
        self._tickets = hand_overs.tickets

    def render_GET(self, request: Any) -> int:
        """The redirect with the session's cookie, or a page that says why not."""
        return respond(request, self._enter(request))

    async def _enter(self, request: Any) -> bytes:
        exchange = exchange_of(request)
        exchange.event = EVENT
        fields = query_fields(request)
        to = safe_path(fields.get("to", ""))
        try:
            if not self.pages.is_secure(exchange):
                raise BadTicket("a ticket that came over plain HTTP")
            host = canonical_host(exchange.head.host)
            ticket = await self._tickets.redeem(fields.get("ticket", ""), host, _secret_of(request))
            await self._begin(request, ticket)
        except NoSuchSession as gone:
            return self._refused(request, BadTicket(gone.detail), to)
        except Refusal as refusal:
            return self._refused(request, refusal, to)
        return self.redirect(request, to)

    async def _begin(self, request: Any, ticket: Ticket) -> None:
        current = self.session_of(request)
        if current is not None and current.parent == ticket.parent:  # in another tab, whose open connections go on
            note_session(request, current)
            return
        exchange = exchange_of(request)
        decision, peer = exchange.decision, exchange.connection.address
        cookie, session = await self.pages.sessions.begin_child(
            ticket.parent,
            address=peer if decision is None else decision.address,
            agent=(request.getHeader(b"user-agent") or b"").decode("utf-8", "replace"),  # any bytes
            old=exchange.head.headers.session,
            key=ticket.key,
        )
        note_session(request, session)
        # Until the browser is closed, also after "stay signed in": the login host then hands the session over again.
        request.responseHeaders.addRawHeader(b"Set-Cookie", session_cookie(cookie.encode("ascii")))

    def _refused(self, request: Any, refusal: Refusal, to: str) -> bytes:
        exchange_of(request).explain(refusal, refusal.status)
        body = self.render_page(
            request,
            "message.html",
            refusal.status,
            heading="You are not signed in on this site yet",
            text=f"{refusal.phrase}.",
            link=to,
            label="Continue",
        )
        request.setHeader(b"Referrer-Policy", b"no-referrer")  # the URL of this page has a ticket
        return body


def hand_over_path(prefix: str, host: str, commitment: str, to: str) -> str:
    """The path on the login host that leads a browser back to the path ``to`` on ``host``."""
    return f"{prefix}{_HAND_OVER}?host={quote(host)}&n={commitment}&to={quote(to)}"


def _secret_of(request: Any) -> bytes | None:
    return own_value(exchange_of(request).head.headers.get_all(b"cookie"), HAND_OVER, HAND_OVER_LENGTH)
