"""The gateway's own pages behind a real gate, and a browser that keeps their cookies."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Sequence
from functools import partial
from html import unescape
from typing import Any
from urllib.parse import urlencode

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone

from perimeter.config.language.net_types import Network
from perimeter.config.site.listener import ListenerSettings
from perimeter.config.site.login import LoginSettings
from perimeter.config.site.operator import OperatorSettings
from perimeter.config.site.provider import ProviderSettings
from perimeter.gate.gate import Gate
from perimeter.gate.identify import Identifier
from perimeter.gate.identity_lines import IdentityLines
from perimeter.gate.routes import RouteTable
from perimeter.gate.sources.session import SessionSource
from perimeter.model import AccessRecord, AuthenticationRequest, BasicCredentials, Credentials, Principal
from perimeter.run.build.endpoints import endpoint_routes
from perimeter.run.build.pages import PageParts
from perimeter.sessions.book import SessionBook
from perimeter.web.bridge import SiteTarget
from perimeter.web.endpoints.endpoint import Endpoint
from perimeter.web.html.look import Look, read_look
from tests.unit.doubles.http_rig import Client, Holding, Response, Site
from tests.unit.doubles.sessions import ALICE, SessionCase

NAVIGATION = ("Sec-Fetch-Site: none", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document", "Accept: text/html,*/*;q=0.8")
OWN_FORM = (
    "Sec-Fetch-Site: same-origin",
    "Sec-Fetch-Mode: navigate",
    "Sec-Fetch-Dest: document",
    "Accept: text/html,*/*;q=0.8",
    "Origin: https://gw.example",
)


class FakeChain:
    """Knows alice's password. ``answer`` is what the authenticators say instead: an exception or a principal."""

    guarded = ()

    def __init__(self) -> None:
        self.asked: list[tuple[Credentials, AuthenticationRequest]] = []
        self.answer: Any = None

    def authenticate(self, credentials: Credentials, request: AuthenticationRequest) -> Awaitable[Principal]:
        self.asked.append((credentials, request))
        if isinstance(self.answer, Exception):
            raise self.answer
        assert isinstance(credentials, BasicCredentials)
        return succeed(self.answer or ALICE)

    def recall(self, owner: Principal, request: AuthenticationRequest) -> Principal | Deferred[Principal]:
        return owner


class Browser:
    """Sends requests to the gateway as a browser does, and keeps its cookies."""

    def __init__(self, case: PageCase, tls: str = "TLSv1.3", peer: str = "192.0.2.7", host: str = "gw.example") -> None:
        self._case = case
        self._host = host
        self._tls = tls
        self._peer = peer
        self.cookies: dict[str, str] = {}

    def ask(self, line: str, *lines: str, body: bytes = b"") -> Response:
        """The response to one request. Its cookies are kept."""
        client = Client(self._case.served, self._tls, self._peer)
        method, _, target = line.partition(" ")
        if self.cookies:
            lines = (*lines, "Cookie: " + "; ".join(f"{name}={value}" for name, value in self.cookies.items()))
        if body or method == "POST":
            lines = (*lines, f"Content-Length: {len(body)}")
        client.request(method, target, *lines, body=body, host=self._host)
        self._case.clock.advance(0)
        response = client.response(method.encode())
        client.transport.lose(ConnectionDone())
        self._case.clock.advance(0)
        self._keep(response)
        return response

    def _keep(self, response: Response) -> None:
        for name, value in response.fields:
            if name == b"set-cookie":
                pair, *attributes = value.decode().split("; ")
                key, _, content = pair.partition("=")
                if "Max-Age=0" in attributes:
                    self.cookies.pop(key, None)
                else:
                    self.cookies[key] = content

    def open(self, target: str, *lines: str) -> Response:
        """The user opens a page."""
        return self.ask(f"GET {target}", *(lines or NAVIGATION))

    def send(self, target: str, fields: dict[str, str], *lines: str) -> Response:
        """The user sends a form of one of the gateway's own pages, or of what ``lines`` say."""
        kind = "Content-Type: application/x-www-form-urlencoded"
        return self.ask(f"POST {target}", kind, *(lines or OWN_FORM), body=urlencode(fields).encode())

    def sign_in(self, to: str = "/", **more: str) -> Response:
        """Open the sign-in page and send its form."""
        page = self.open("/.perimeter/login?again=1&" + urlencode({"to": to}))
        return self.send("/.perimeter/login", {**hidden(page), "username": "alice", "password": "wonderland", **more})


class PageCase(SessionCase):
    """The pages of a site with ``login`` and a listener ``https``."""

    login = LoginSettings()
    trusted_proxies: tuple[Network, ...] = ()

    def setUp(self) -> None:
        super().setUp()
        self.chain = FakeChain()
        self.logins: list[tuple[str, str]] = []
        self.second_factors: list[tuple[str, str]] = []
        self.serve()
        self.browser = Browser(self)

    def serve(self, **more: Any) -> None:
        """Serve with other ``[login]`` settings."""
        login = attrs.evolve(self.login, **more)
        self.book = SessionBook(self.stored, self.clock, login)
        self.look = read_look(login, "example")
        self.use_endpoints(self.endpoints(login), login)

    def endpoints(self, login: LoginSettings) -> list[Endpoint]:
        """Those that are tested."""
        config = PageConfig(login, self.trusted_proxies)
        return PageParts(config, self.look, self.book, self.chain, self).endpoints()  # type: ignore[arg-type]

    def count_login(self, method: str, outcome: str) -> None:
        """`perimeter.metrics.counts.Metrics`."""
        self.logins.append((method, outcome))

    def count_second_factor(self, kind: str, outcome: str) -> None:
        """`perimeter.metrics.counts.Metrics`."""
        self.second_factors.append((kind, outcome))

    def use_endpoints(self, endpoints: list[Endpoint], login: LoginSettings) -> None:
        """Serve ``endpoints`` by a gate of their own."""
        self.served = Site(Holding(), self.clock)
        routes = RouteTable(endpoint_routes(endpoints, self.served.audit, partial(SiteTarget, "perimeter", clock=self.clock)))
        source = SessionSource(self.chain, self.stored, self.clock.seconds, 100, self.trusted_proxies)
        identity = IdentityLines(_sign, self.clock.seconds, 100)
        gate = Gate(routes, Identifier((source,)), identity, trusted_proxies=self.trusted_proxies)
        self.served.dispatch = gate.dispatch  # type: ignore[method-assign]

    @property
    def record(self) -> AccessRecord:
        """The latest audit record."""
        return self.served.audit.records[-1]


@attrs.frozen
class _Perimeter:
    trusted_proxies: tuple[Network, ...]


class PageConfig:
    """The parts of a `perimeter.config.site.config.SiteConfig` that the pages need."""

    signs_people_in = True
    listeners = (ListenerSettings("https", port=9443, tls=True, hsts=60.0),)
    providers: tuple[ProviderSettings, ...] = ()
    routes: Sequence[Any] = ()

    def __init__(
        self, login: LoginSettings, trusted_proxies: tuple[Network, ...], operator: OperatorSettings | None = None
    ) -> None:
        self.login = login
        self.operator = operator or OperatorSettings()
        self.perimeter = _Perimeter(trusted_proxies)


def _sign(principal: Principal, audience: str, lifetime: float) -> str:
    raise AssertionError("nothing to sign")


def hidden(page: Response) -> dict[str, str]:
    """The hidden fields of the form on a page."""
    found = re.findall(rb'<input type="hidden" name="([^"]*)" value="([^"]*)"', page.body)
    return {name.decode(): unescape(value.decode()) for name, value in found}


def text_of(page: Response) -> str:
    """The text of a page's error notice; "" without one."""
    found = re.search(rb'role="alert"><p>(.*?)</p>', page.body)
    return unescape(found[1].decode()) if found else ""


__all__ = ["NAVIGATION", "OWN_FORM", "Browser", "FakeChain", "Look", "PageCase", "PageConfig", "hidden", "text_of"]
