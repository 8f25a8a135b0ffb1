"""A browser that visits several hosts of the gateway, one of which is for sign-in."""

from __future__ import annotations

from functools import partial
from typing import Any
from urllib.parse import urlencode, urlsplit

import attrs

from perimeter.config.site.login import LoginSettings
from perimeter.gate.gate import Gate
from perimeter.gate.identify import Identifier
from perimeter.gate.identity_lines import IdentityLines
from perimeter.gate.routes import RouteTable
from perimeter.gate.sources.session import SessionSource
from perimeter.run.build.hand_over import page_routes
from perimeter.run.build.pages import PageParts
from perimeter.secrets_key import SecretsKey
from perimeter.sessions.tickets import Tickets
from perimeter.state.once import ONCE
from perimeter.web.bridge import SiteTarget
from perimeter.web.endpoints.hand_over import AppHosts, HandOvers
from tests.unit.doubles.http_rig import Holding, Response, Site
from tests.unit.doubles.pages import OWN_FORM, Browser, PageCase, PageConfig, hidden

LOGIN_HOST = "sso.example"
APPS = ("app.example", "wiki.example", "*.lab.example")


@attrs.frozen
class SomeRoute:
    """The parts of a route's settings that the pages need."""

    hosts: tuple[str, ...]
    browser_login: bool = True


class User:
    """A user with one browser: it has cookies for each host, and follows redirects."""

    def __init__(self, case: HostsCase, peer: str = "192.0.2.7") -> None:
        self._case = case
        self._peer = peer
        self._browsers: dict[str, Browser] = {}
        #: the URL of each response so far
        self.visited: list[str] = []

    def on(self, netloc: str) -> Browser:
        """The browser, as ``netloc`` (a host, perhaps with a port) sees it: cookies do not depend on the port."""
        if netloc not in self._browsers:
            browser = Browser(self._case, peer=self._peer, host=netloc)
            browser.cookies = self.on(netloc.partition(":")[0]).cookies if ":" in netloc else browser.cookies
            self._browsers[netloc] = browser
        return self._browsers[netloc]

    def get(self, url: str) -> Response:
        """Open ``url``, and follow no redirect."""
        parts = urlsplit(url)
        self.visited.append(url)
        return self.on(parts.netloc).open(parts.path + ("?" + parts.query if parts.query else ""))

    def open(self, url: str) -> Response:
        """Open ``url``, and follow redirects up to a page, or up to a path that is not the gateway's own."""
        response = self.get(url)
        while response.status in (302, 303):
            url = self.location(response)
            if not urlsplit(url).path.startswith("/.perimeter"):
                self.visited.append(url)
                return response
            response = self.get(url)
        return response

    def location(self, response: Response) -> str:
        """The absolute URL to which ``response``, that of the last URL, redirects."""
        location = response.get(b"location")
        assert location is not None
        text = location.decode()
        if not text.startswith("/"):
            return text
        here = urlsplit(self.visited[-1])
        return f"{here.scheme}://{here.netloc}{text}"

    @property
    def at(self) -> str:
        """The URL of the last response, or to which it has led."""
        return self.visited[-1]

    def sign_in(self, page: Response, **more: str) -> Response:
        """Fill in the sign-in page that is open, and go on to where its answer and the page after it lead."""
        to, netloc = hidden(page)["to"], urlsplit(self.at).netloc
        self.sign_in_here(page, **more)
        return self.open(f"https://{netloc}{to}")

    def sign_in_here(self, page: Response, **more: str) -> Response:
        """Fill in the sign-in page that is open. The page that leads on."""
        here = urlsplit(self.at)
        form = {**hidden(page), "username": "alice", "password": "wonderland", **more}
        lines = [line if not line.startswith("Origin") else f"Origin: https://{here.netloc}" for line in OWN_FORM]
        answer = self.on(here.netloc).send(here.path, form, *lines)
        self._case.assertEqual(answer.status, 303)
        to = self.location(answer)
        self._case.assertTrue(urlsplit(to).path.endswith("/go"), to)
        leading = self.get(to)
        self._case.assertEqual(leading.status, 200)
        return leading


class HostsCase(PageCase):
    """The pages on `LOGIN_HOST`, and services on `APPS`."""

    login = LoginSettings(host=LOGIN_HOST)
    routes: tuple[SomeRoute, ...] = (SomeRoute(APPS), SomeRoute(("open.example",), browser_login=False))

    def setUp(self) -> None:
        super().setUp()
        self.user = User(self)

    def serve(self, **more: Any) -> None:
        login = attrs.evolve(self.login, **more)
        super().serve(**more)
        config = PageConfig(login, self.trusted_proxies)
        config.routes = self.routes
        parts = PageParts(config, self.look, self.book, self.chain, self)  # type: ignore[arg-type]
        self.key = SecretsKey(bytes(32))
        self.tickets = Tickets(self.key, self.state.view(ONCE), self.clock)
        self.hand_overs = HandOvers(LOGIN_HOST, AppHosts(APPS), self.tickets)
        self.served = Site(Holding(), self.clock)
        to = partial(SiteTarget, "perimeter", clock=self.clock)
        routes = RouteTable(page_routes(parts, self.hand_overs, self.served.audit, to))
        source = SessionSource(self.chain, self.stored, self.clock.seconds, 100, self.trusted_proxies)
        identity = IdentityLines(lambda *_: "", self.clock.seconds, 100)
        gate = Gate(routes, Identifier((source,)), identity, trusted_proxies=self.trusted_proxies)
        self.served.dispatch = gate.dispatch  # type: ignore[method-assign]


def login_url(host: str, to: str = "/", **more: str) -> str:
    """Where the gate sends a browser that asks for the path ``to`` on ``host``."""
    return f"https://{host}/.perimeter/login?" + urlencode({"to": to, **more})
