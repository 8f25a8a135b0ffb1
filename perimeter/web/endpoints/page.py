"""The base of the gateway's own pages: for people, in a browser.

A page answers navigations only: a script of a service on the same host cannot read it or send its forms (attack 76). Its
forms are POST navigations with a token (`perimeter.web.html.forms`, attack 27).
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any, ClassVar, Final
from urllib.parse import quote

import attrs

from perimeter.config.language.net_types import PeerNetwork, in_networks
from perimeter.config.site.route_matching import canonical_host
from perimeter.errors import BadRequest, CrossSite, MissingCredentials
from perimeter.gate.access import Access
from perimeter.gate.cross_site import own_origins
from perimeter.gate.decision import Admitted, recognise
from perimeter.gate.forwarded import vouched_https
from perimeter.gate.policy import Policy
from perimeter.gate.return_path import FRONT
from perimeter.http.answers import accepts_html
from perimeter.http.exchange import Exchange
from perimeter.model import ClientConnection, HeaderBlock, Principal, SessionUse
from perimeter.sessions.book import SessionBook
from perimeter.sessions.session import Session, grant_of
from perimeter.web.endpoints.endpoint import Endpoint
from perimeter.web.form import form, parse_form
from perimeter.web.html.forms import TOKEN, check_origin, form_token, is_token
from perimeter.web.html.headers import page_fields
from perimeter.web.html.look import Look
from perimeter.web.request import exchange_of, render_after

_NAVIGATE: Final = b"navigate"
_DOCUMENT, _EMPTY = b"document", b"empty"


@attrs.frozen(eq=False)
class Pages:
    """What all pages of a configuration share.

    ``prefix`` is the path that all of them are below. ``hsts`` has seconds by the name of a listener. What ``trusted_proxies``
    say of scheme and host of a request counts. ``operators`` admits users to the operator's page; None if there is none.
    ``front`` is the path for users who have opened the sign-in page itself.
    """

    prefix: str
    look: Look
    sessions: SessionBook
    hsts: Mapping[str, int] = attrs.field(factory=dict)
    trusted_proxies: tuple[PeerNetwork, ...] = ()
    operators: Policy | None = None
    front: str = FRONT

    def landing(self, to: str) -> str:
        """Where a sign-in leads that was made for the path ``to``."""
        return self.front if to == FRONT else to

    def origins(self, exchange: Exchange) -> frozenset[bytes]:
        """The origins of the pages, as the client of ``exchange`` sees them."""
        connection = exchange.connection
        return own_origins(exchange.head, connection, self._relayed(connection), False)

    def is_secure(self, exchange: Exchange) -> bool:
        """Whether the client uses https: to the gateway, or to a trusted proxy in front of it."""
        connection = exchange.connection
        said = vouched_https(exchange.head.headers) if self._relayed(connection) else None
        return bool(connection.tls) if said is None else said

    def port(self, exchange: Exchange) -> str:
        """The port that a client uses for https, with its colon; "" for the default one.

        A proxy may leave it out of Host, and then names it in X-Forwarded-Host or X-Forwarded-Port.
        """
        name = canonical_host(exchange.head.host)
        for origin in sorted(self.origins(exchange)):
            host = origin.partition(b"://")[2]
            _, port = name_and_port(host)
            if port and canonical_host(host) == name:
                return port
        return ""

    def operates(self, user: Principal | None) -> bool:
        """Whether the operator's page admits ``user``: only then do other pages link to it."""
        return user is not None and self.operators is not None and self.operators.permits(user, "GET")

    def _relayed(self, connection: ClientConnection) -> bool:
        return bool(self.trusted_proxies) and in_networks(connection.address, self.trusted_proxies)


class PageEndpoint(Endpoint):
    """A page at ``path`` (``/login``) below the prefix of ``pages``. See `Endpoint` for ``access``."""

    by_workers: ClassVar[bool] = False
    """Whether a service worker may get the page on behalf of a navigation.

    A service may register one for the whole host. It can read requests and responses, and replace pages. If it did not get these
    pages, users could not sign in or out while it is registered; pages that give out rights are not for it.
    """

    def __init__(self, path: str, access: Mapping[bytes, Access], pages: Pages) -> None:
        super().__init__(pages.prefix + path, access)
        self.name = path[1:]
        self.pages = pages

    def render(self, request: Any) -> Any:
        """Answer a navigation by ``render_GET`` or the like. Raises `CrossSite` for what a script asks for."""
        self.check_navigation(request)
        if self.all_in_memory:
            return super().render(request)
        return render_after(request, self.gather(request), super().render)

    @property
    def all_in_memory(self) -> bool:
        """Whether there is nothing to `gather`."""
        return self.pages.sessions.complete

    async def gather(self, request: Any) -> None:
        """Look up what `render` needs of the state, if not all of it is in memory. Raises `Unavailable`."""
        cookie = self._cookie(request)
        if cookie is not None:
            await self.pages.sessions.learn(cookie)

    async def gather_owned(self, request: Any) -> None:
        """Look up all sessions of the user, too."""
        session = self.session_of(request)
        if session is not None:
            await self.pages.sessions.gather(session.owner)

    def check_navigation(self, request: Any) -> None:
        """Raise `CrossSite` if a browser says that a script, a frame or the like asks, and no user who opens a page."""
        check_navigation(exchange_of(request).head.headers, self.by_workers)

    # -- the user

    def session_of(self, request: Any) -> Session | None:
        """The session that the request belongs to, if it has a good one. Raises `StateUnavailable` if that is not known."""
        cookie = self._cookie(request)
        return None if cookie is None else self.pages.sessions.current(cookie)

    def known_session(self, request: Any) -> Session | None:
        """Like `session_of`, also while another machine may have ended the session: for what gives out nothing."""
        cookie = self._cookie(request)
        return None if cookie is None else self.pages.sessions.known(cookie)

    def stale(self, request: Any, back: str = "") -> bytes | None:
        """If the user's sign-in is not fresh any more: the response that asks for the password again. Otherwise None.

        The browser returns to the path ``back``, or to this page.
        """
        session = self.session_of(request)
        if session is not None and self.pages.sessions.fresh(session):
            return None
        return self.redirect(request, f"{self.pages.prefix}/login?again=1&to={quote(back or self.path, safe='')}")

    # -- forms

    def token_for(self, request: Any, purpose: str) -> str:
        """The token of a form for ``purpose`` in the user's session. Raises `MissingCredentials` without one."""
        cookie, session = self._cookie(request), self.session_of(request)
        if cookie is None or session is None:
            raise MissingCredentials("the session has ended meanwhile")
        return form_token(cookie, session.id, purpose)

    def form(self, request: Any, purpose: str) -> dict[str, str]:
        """The fields of a form that this page has sent, the last value of each. See `form_lists`."""
        return {name: values[-1] for name, values in self.form_lists(request, purpose).items()}

    def form_lists(self, request: Any, purpose: str) -> dict[str, list[str]]:
        """The fields of a form that this page has sent, with all values of each.

        Raises `CrossSite` if it was sent by another site, without its token, or with that of another purpose or session, and
        `BadRequest` if it is malformed.
        """
        self.check_origin(request)
        fields = text_lists(form(request))
        if not self.has_token(request, fields.get(TOKEN, [""])[-1], purpose):
            raise CrossSite("a form without the token of its page in this session")
        return fields

    def has_token(self, request: Any, text: str, purpose: str) -> bool:
        """Whether ``text`` is the token for ``purpose`` in the user's session (`token_for`)."""
        cookie, session = self._cookie(request), self.session_of(request)
        return cookie is not None and session is not None and is_token(text, cookie, session.id, purpose)

    def check_origin(self, request: Any) -> None:
        """Raise `CrossSite` if a page of another origin has sent the request."""
        exchange = exchange_of(request)
        check_origin(exchange.head.headers, self.pages.origins(exchange))

    def _cookie(self, request: Any) -> bytes | None:
        exchange = exchange_of(request)
        return exchange.head.headers.session if self.pages.is_secure(exchange) else None

    # -- responses

    def render_page(self, request: Any, template: str, status: int = 200, **values: Any) -> bytes:
        """The page that ``template`` makes of ``values``, with its headers and ``status``.

        A template gets ``nonce`` (for style sheets and scripts), ``user`` (the signed-in principal, or None) and ``operates``
        (whether the operator's page admits them) besides.
        """
        nonce = secrets.token_urlsafe(16)
        decision = exchange_of(request).decision
        user = None if decision is None else decision.principal
        body = self.pages.look.render(template, {"nonce": nonce, "user": user, "operates": self.pages.operates(user), **values})
        request.setResponseCode(status)
        hsts = self.pages.hsts.get(exchange_of(request).connection.listener, 0)
        for name, value in page_fields(nonce, hsts):
            request.setHeader(name, value)
        return body

    def redirect(self, request: Any, location: str) -> bytes:
        """A 303 to a path on this host, or a URL (RFC 9110, section 15.4.4), which is encoded already."""
        request.setResponseCode(303)
        request.setHeader(b"Location", location.encode("ascii"))
        request.setHeader(b"Cache-Control", b"no-store")
        return b""


def check_navigation(headers: HeaderBlock, by_workers: bool = False) -> None:
    """Raise `CrossSite` if a browser says that a script, a frame or the like asks, and no user who opens a page.

    ``by_workers``: a service worker, too, may ask on behalf of a navigation. Clients without Fetch Metadata pass.
    """
    mode, wanted = headers.get_all(b"sec-fetch-mode"), headers.get_all(b"sec-fetch-dest")
    if mode and mode != [_NAVIGATE]:
        raise CrossSite("a script asks for a page of the gateway, which only its users may open")
    if not wanted or wanted == [_DOCUMENT]:
        return
    if wanted != [_EMPTY]:
        raise CrossSite("a frame or the like asks for a page of the gateway, which only its users may open")
    if not (by_workers and accepts_html(headers)):
        raise CrossSite("a service worker of a service stands between the user and a page of the gateway, and could read it")


def note_session(request: Any, session: Session) -> None:
    """Let the audit record of an open page name the user and the session that the page has found."""
    exchange = exchange_of(request)
    assert isinstance(exchange.decision, Admitted)
    user = attrs.evolve(session.owner, grant=grant_of(session, SessionUse(session.created)))
    exchange.decision = recognise(exchange.decision, user)


def note_user(request: Any, user: Principal) -> None:
    """Let the audit record of an open page name the user whom the page has found, and who has no session."""
    exchange = exchange_of(request)
    assert isinstance(exchange.decision, Admitted)
    exchange.decision = recognise(exchange.decision, attrs.evolve(user, grant=None))


def query_fields(request: Any) -> dict[str, str]:
    """The parameters in the URL, the last value of each; none if they are malformed."""
    try:
        return text_fields(parse_form(request.uri.partition(b"?")[2]))
    except BadRequest:
        return {}


def text_fields(fields: Mapping[bytes, list[bytes]]) -> dict[str, str]:
    """The last value of each field, as text. Raises `BadRequest` if one is not UTF-8."""
    return {name: values[-1] for name, values in text_lists(fields).items()}


def text_lists(fields: Mapping[bytes, list[bytes]]) -> dict[str, list[str]]:
    """The values of each field, as text. Raises `BadRequest` if one is not UTF-8."""
    try:
        return {name.decode("utf-8"): [value.decode("utf-8") for value in values] for name, values in fields.items()}
    except UnicodeDecodeError:
        raise BadRequest("the form is not UTF-8") from None


def name_and_port(host: bytes) -> tuple[str, str]:
    """The two parts of a Host value: the name as it was sent, and the port with its colon, or ""."""
    text = host.decode("ascii", "replace")
    at = text.find("]") + 1 if text.startswith("[") else len(text.partition(":")[0])
    return text[:at], text[at:]
