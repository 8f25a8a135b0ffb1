"""Sessions that came from a sign-in at a certified OpenID provider: renewed, ended there, ended here, and on several workers."""

from __future__ import annotations

import re
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from html import unescape
from urllib.parse import parse_qs, urljoin, urlsplit

from tests.integration.harness import LOGIN_ROUTES, USERS, Gateway, GatewayCase, site
from tests.integration.oidcpeer import SECRET, Browser, SignInProvider, shared_provider
from tests.integration.ports import eventually
from tests.integration.upstreams import Connection
from tests.integration.visitor import Visitor
from tests.integration.wire import Response

OWN = "/.perimeter/"
PROVIDER = """\
[provider corp]
type = oidc
issuer = {issuer}
client_id = gateway
client_secret = {secret}
redirect_uri = https://127.0.0.1:@https@/.perimeter/callback/corp
roles_claim = groups
title = Company login
{more}
"""
UPGRADE = (
    *("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"),
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)
ALICE = {"preferred_username": "alice", "groups": ["admin", "staff"]}


class ProviderSessionCase(GatewayCase):
    """Gateways at which people sign in at ``peer``."""

    def setUp(self) -> None:
        self.peer = shared_provider()

    def begin(self, more: str = "", workers: int = 1) -> Gateway:
        """A gateway with the provider, at which alice has an account."""
        app = self.upstream(self.answer)
        provider = PROVIDER.format(issuer=self.peer.url, secret=SECRET, more=more)
        routes = LOGIN_ROUTES.replace("<service>", app.url)
        perimeter = f"workers = {workers}"
        self.served = self.gateway(site(routes, tls=True, extra=provider, perimeter=perimeter), USERS)
        origin = f"https://127.0.0.1:{self.served['https']}"
        self.peer.client(
            f"{origin}{OWN}callback/corp",
            backchannel_logout_uri=f"{origin}{OWN}backchannel/corp",
            backchannel_logout_session_required=True,
            post_logout_redirect_uris=[f"{origin}{OWN}signed-out"],
        )
        self.peer.account("account-7", **ALICE)
        return self.served

    def answer(self, connection: Connection) -> None:
        while True:
            try:
                request = connection.request()
            except EOFError:
                return
            if "/socket" in request.line:
                connection.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
                connection.read_some()
                return
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    def sign_in(self, browser: Browser | None = None) -> Visitor:
        """A visitor who has signed in at the provider; ``browser`` is theirs there."""
        visitor = Visitor(f"https://127.0.0.1:{self.served['https']}", self.served.directory / "state" / "selfsigned.crt")
        self.addCleanup(visitor.close)
        begun = visitor.navigate(f"{OWN}start/corp?to=/admin/x")
        url = begun.headers["Location"]
        there = browser or Browser()
        page = there.get(url)
        back = page if page.partition("?")[0] == there.awaited(url) else there.submit(page, "account-7")
        parts = urlsplit(back)
        arrived = visitor.navigate(f"{parts.path}?{parts.query}")
        self.assertEqual((arrived.status_code, arrived.headers.get("Location")), (303, f"{OWN}go?to=%2Fadmin%2Fx"), arrived.text)
        return visitor

    def status(self, visitor: Visitor, path: str = "/x") -> int:
        return visitor.get(path).status_code

    def let_it_be_due(self, seconds: float = 1.0) -> None:
        """Stop the gateway, let the renewals of all sessions be due since ``seconds``, and start it again."""
        self.served.stop()
        database = sqlite3.connect(self.served.directory / "state" / "state.db")
        with database:
            database.execute("UPDATE session SET due = ?", (time.time() - seconds,))
        database.close()
        self.served.start()

    def cookie(self, visitor: Visitor) -> str:
        return f"Cookie: __Host-perimeter={visitor.cookie}"

    def refreshes(self) -> int:
        return self.peer.counts().get("refresh_token", 0)


def links(text: str) -> list[str]:
    """Where the links of a page lead."""
    return [unescape(link) for link in re.findall(r'href="([^"]*)"', text)]


class RenewalTests(ProviderSessionCase):
    def test_roles_change_no_token_can_be_read_and_a_disabled_user_is_out(self) -> None:
        self.begin("refresh = 1s")
        visitor = self.sign_in()
        self.assertEqual(self.status(visitor, "/admin/x"), 200)
        self.peer.account("account-7", **{**ALICE, "groups": ["staff"]})
        eventually(lambda: self.status(visitor, "/admin/x") == 403, "the role is gone")
        self.assertEqual(self.status(visitor), 200)
        self.peer.account("account-7", **ALICE)
        eventually(lambda: self.status(visitor, "/admin/x") == 200, "the role is back")
        self.no_token_is_on_the_disk_or_in_a_log()
        wire = self.connect(self.served)
        self.assertEqual(wire.get("/socket", self.cookie(visitor), *UPGRADE).status, 101)
        self.peer.disable("account-7")
        eventually(lambda: self.status(visitor) == 401, "the session has ended")
        self.assertTrue(wire.closed())
        self.served.await_log("the provider corp does not confirm it")

    def no_token_is_on_the_disk_or_in_a_log(self) -> None:
        tokens = self.peer.tokens()
        self.assertGreater(len(tokens), 2)
        kept = b"".join(path.read_bytes() for path in (self.served.directory / "state").iterdir() if path.is_file())
        texts = kept.decode("latin-1") + self.served.log + "".join(self.served.audit())
        for token in (*tokens, "eyJhbGci"):
            self.assertNotIn(token, texts)

    def test_attack_o8_fifty_requests_on_two_workers_refresh_once(self) -> None:
        self.begin("refresh = 15m", workers=2)
        visitor = self.sign_in()
        cookie = self.cookie(visitor)

        def ask(_: int) -> int:
            with self.served.connect("https") as wire:
                return wire.get("/x", cookie).status

        for since, number in ((1.0, 50), (7200.0, 20)):  # beside the requests, and after the grace time, when they wait
            self.let_it_be_due(since)
            before = self.refreshes()
            with ThreadPoolExecutor(number) as pool:
                self.assertEqual(set(pool.map(ask, range(number))), {200}, since)
            eventually(lambda before=before: self.refreshes() > before, "a refresh")  # type: ignore[misc]
            self.assertEqual([self.status(visitor) for _ in range(4)], [200] * 4)
            self.assertEqual(self.refreshes(), before + 1, since)

    def test_attack_o8_a_provider_that_is_down(self) -> None:
        self.peer = SignInProvider()
        self.begin("refresh = 15m\nrefresh_grace = 1m")
        visitor = self.sign_in()
        self.peer.close()
        self.let_it_be_due(61.0)
        answer = visitor.get("/x")
        self.assertEqual((answer.status_code, answer.headers.get("Retry-After")), (503, "5"), answer.text)
        self.assertEqual(self.status(visitor), 503)
        self.served.await_log("provider_unavailable")


LOGIN_HOST, APP_HOST = "sso.gateway.test", "app.gateway.test"


class TwoHosts:
    """A browser at two hosts of ``served`` and at the provider: it keeps cookies, and goes where pages and redirects lead."""

    def __init__(self, served: Gateway) -> None:
        self._served = served
        self._there = Browser()
        self.cookies: dict[str, dict[str, str]] = {LOGIN_HOST: {}, APP_HOST: {}}

    def ask(self, url: str) -> Response:
        """The answer of the gateway to one request."""
        parts = urlsplit(url)
        cookies = self.cookies[parts.hostname or ""]
        line = "; ".join(f"{name}={value}" for name, value in cookies.items())
        with self._served.connect("https") as wire:
            target = f"{parts.path}?{parts.query}" if parts.query else parts.path
            answer = wire.get(target, f"Cookie: {line or 'none=1'}", "Accept: text/html", host=parts.netloc)
        for header in answer.get_all("set-cookie"):
            pair, *attributes = header.split("; ")
            name, _, value = pair.partition("=")
            if "Max-Age=0" in attributes:
                cookies.pop(name, None)
            else:
                cookies[name] = value
        return answer

    def sign_in(self, url: str) -> tuple[str, Response]:
        """Open ``url``, sign in at the provider, and go on to the end."""
        for _ in range(20):
            answer = self.ask(url)
            found = answer.get("location")
            if found is None:
                ways = [link for link in links(answer.text) if "/start/" in link]
                onwards = re.search(r'id="onwards" href="([^"]*)"', answer.text)
                if not ways and onwards is None:
                    return url, answer
                found = ways[0] if ways else unescape(onwards[1]) if onwards else ""
            url = urljoin(url, found)
            if urlsplit(url).hostname not in self.cookies:
                page = self._there.get(url)
                url = page if page.partition("?")[0] == self._there.awaited(url) else self._there.submit(page, "account-7")
        raise AssertionError(f"goes on for ever: {url}")


class TwoHostTests(ProviderSessionCase):
    def test_requests_on_another_host_renew_the_session(self) -> None:
        app = self.upstream(self.answer)
        more = f"refresh = 1s\n[login]\nhost = {LOGIN_HOST}"
        provider = PROVIDER.format(issuer=self.peer.url, secret=SECRET, more=more).replace("127.0.0.1:@", f"{LOGIN_HOST}:@")
        routes = LOGIN_ROUTES.replace("<service>", app.url).replace(
            "browser_login = yes", f"browser_login = yes\nhost = {APP_HOST}"
        )
        self.served = self.gateway(site(routes, tls=True, extra=provider, perimeter="workers = 2"), USERS)
        self.peer.client(f"https://{LOGIN_HOST}:{self.served['https']}{OWN}callback/corp")
        self.peer.account("account-7", **ALICE)
        browser, url = TwoHosts(self.served), f"https://{APP_HOST}:{self.served['https']}/admin/x"
        arrived, answer = browser.sign_in(url)
        self.assertEqual((arrived, answer.status, answer.text), (url, 200, "ok"))
        before = self.refreshes()
        self.peer.account("account-7", **{**ALICE, "groups": ["staff"]})
        eventually(lambda: browser.ask(url).status == 403, "the role is gone")
        self.assertGreater(self.refreshes(), before)
        self.peer.disable("account-7")
        eventually(lambda: browser.ask(url).status == 302, "the session has ended")


class SignOutTests(ProviderSessionCase):
    def test_sign_out_leads_to_the_provider_and_back(self) -> None:
        self.begin()
        there = Browser()
        visitor = self.sign_in(there)
        page = visitor.sign_out(elsewhere="1")
        self.assertEqual(page.status_code, 200, page.text)
        self.assertEqual(self.status(visitor), 401)
        (url,) = {link for link in links(page.text) if link.startswith(self.peer.url)}
        asked = parse_qs(urlsplit(url).query)
        self.assertEqual(asked["client_id"], ["gateway"])
        self.assertTrue(asked["id_token_hint"])
        back = there.sign_out(url)
        self.assertEqual(urlsplit(back).path, f"{OWN}signed-out")
        self.assertEqual(visitor.navigate(urlsplit(back).path).status_code, 200)
        self.assertNotIn("code", parse_qs(urlsplit(there.get(self.start(visitor))).query), "signed out there, too")

    def start(self, visitor: Visitor) -> str:
        """Where a new sign-in begins at the provider."""
        return visitor.navigate(f"{OWN}start/corp?to=/").headers["Location"]
