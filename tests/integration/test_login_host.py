"""A host of its own for sign-in: one sign-in serves two sites, in a browser, and a sign-out ends it on both.

Two workers share the requests, so that a ticket is often redeemed by another one than has issued it.
"""

from __future__ import annotations

from typing import ClassVar
from urllib.parse import urlsplit

from playwright.sync_api import Page

from tests.integration.browser import HOST, OWN, SISTER, STRANGER, BrowserCase, back, secure, type_password
from tests.integration.harness import LOGIN_ROUTES, USERS, site
from tests.integration.oidcpeer import SECRET, shared_provider
from tests.integration.test_forward_auth_browser import ProxiedCase as Proxied
from tests.integration.test_second_factor import App

HOSTS = f"host = {HOST}, {STRANGER}\nbrowser_login = yes\n"
PROVIDER = f"""
[provider corp]
type = oidc
issuer = <provider>
client_id = gateway
client_secret = {SECRET}
redirect_uri = https://{SISTER}:@https@/.perimeter/callback/corp
"""
FACTORS = "[second_factor]\nmethods = totp\n"
ROUTES = LOGIN_ROUTES.replace("browser_login = yes\n", HOSTS)
CONFIG = secure(site(ROUTES, extra=f"[login]\nhost = {SISTER}\n", perimeter="workers = 2"))


class LoginHostCase(BrowserCase):
    CONFIG = CONFIG
    FILES: ClassVar = USERS

    def setUp(self) -> None:
        super().setUp()
        self.port = self.served["https"]
        self.sso, self.other = (f"https://{host}:{self.port}" for host in (SISTER, STRANGER))
        self.hosts = tuple(f"{host}:{self.port}" for host in (SISTER, STRANGER))

    def at_sign_in(self, page: Page) -> None:
        self.assertTrue(page.url.startswith(f"{self.sso}{OWN}login?"), page.url)
        page.get_by_role("button", name="Sign in", exact=True).wait_for()


class VisitTests(LoginHostCase):
    def visit(self, javascript: bool) -> None:
        page = self.page(javascript=javascript, hosts=self.hosts)
        wanted = "/reports/a%20b?x=1&y=%2F&z="
        page.goto(wanted)
        self.at_sign_in(page)
        type_password(page, "alice", "wrong")
        page.get_by_text("The user name or the password is wrong.").wait_for()
        type_password(page)
        page.wait_for_url(self.origin + wanted)
        self.assertEqual(page.inner_text("h1"), "Page of the service")

        page.goto(f"{self.other}/kept")
        self.assertEqual(page.url, f"{self.other}/kept", "no second sign-in")
        page.wait_for_load_state()
        names = {(one["name"], one["domain"]) for one in page.context.cookies() if one["name"] == "__Host-perimeter"}
        self.assertEqual(names, {("__Host-perimeter", host) for host in (HOST, SISTER, STRANGER)})

        page.click("#logout")
        page.get_by_role("button", name="Sign out", exact=True).click()
        page.get_by_role("heading", name="You are signed out").wait_for()
        page.wait_for_load_state()
        self.assertEqual(urlsplit(page.url).netloc, urlsplit(self.other).netloc)
        back(page, 2)
        self.at_sign_in(page)
        page.goto("/x")
        self.at_sign_in(page)

    def test_with_scripts(self) -> None:
        self.visit(True)

    def test_without_scripts(self) -> None:
        self.visit(False)

    def test_the_fragment_arrives(self) -> None:
        page = self.page(hosts=self.hosts)
        page.goto("/deep#/panel?x=1&y=2")
        self.at_sign_in(page)
        type_password(page)
        page.wait_for_url(f"{self.origin}/deep#/panel?x=1&y=2")

    def test_two_tabs_arrive_where_they_wanted(self) -> None:
        context = self.context(hosts=self.hosts)
        one, two = context.new_page(), context.new_page()
        one.goto("/one")
        two.goto("/two")
        for page, path in ((two, "/two"), (one, "/one")):
            self.at_sign_in(page)
            type_password(page)
            page.wait_for_url(self.origin + path)

    def test_the_account_page_shows_one_session_and_ends_it_on_all_hosts(self) -> None:
        page = self.page(hosts=self.hosts)
        page.goto("/x")
        type_password(page, "bob", "hunter2")  # who signs in nowhere else
        page.wait_for_url(f"{self.origin}/x")
        page.goto(f"{self.other}/x")
        page.wait_for_url(f"{self.other}/x")
        page.goto(f"{self.sso}{OWN}account")
        self.assertEqual(page.locator(".badge", has_text="this one").count(), 1)
        self.assertEqual(page.locator("td.address").count(), 1)
        page.goto(f"{self.sso}{OWN}logout")
        page.get_by_role("button", name="Sign out", exact=True).click()
        page.get_by_role("heading", name="You are signed out").wait_for()
        page.goto(f"{self.other}/not-in-the-cache-of-the-browser")
        self.at_sign_in(page)

    def test_attack_b5_a_ticket_is_of_no_use_to_another_browser(self) -> None:
        page = self.page(hosts=self.hosts)
        entered = list[str]()
        page.on("request", lambda request: entered.append(request.url) if f"{OWN}enter?" in request.url else None)
        page.goto("/x")
        type_password(page)
        page.wait_for_url(f"{self.origin}/x")
        (url,) = entered
        again = page.goto(url)
        assert again is not None
        self.assertEqual(again.status, 403)
        page.get_by_role("link", name="Continue").click()
        page.wait_for_url(f"{self.origin}/x")
        thief = self.page(hosts=self.hosts)
        stolen = thief.goto(url)
        assert stolen is not None
        self.assertEqual(stolen.status, 403)
        thief.get_by_role("link", name="Continue").click()
        self.at_sign_in(thief)
        log = (self.served.directory / "access.log").read_text() + self.served.log
        self.assertNotIn(url.partition("ticket=")[2][:40], log)


class SecondFactorTests(LoginHostCase):
    """A route on a host of services demands two factors: they are shown on the host of the pages, and count here."""

    CONFIG = secure(
        site(ROUTES.replace("path = /admin\n", "path = /admin\nfactors = 2\n"), extra=f"[login]\nhost = {SISTER}\n{FACTORS}")
    )

    def test_the_factor_of_the_login_host_counts_on_the_others(self) -> None:
        page = self.page(hosts=self.hosts)
        page.goto("/x")
        type_password(page)
        page.wait_for_url(f"{self.origin}/x")
        page.goto("/admin/y?z=1")
        self.assertTrue(page.url.startswith(f"{self.sso}{OWN}factor?"), page.url)
        page.fill("input[name=code]", App(page.content()).first())
        page.get_by_role("button", name="Register the app").click()
        page.get_by_role("link", name="I have saved them").click()
        page.wait_for_url(f"{self.origin}/admin/y?z=1")
        page.goto(f"{self.other}/admin/y")
        page.wait_for_url(f"{self.other}/admin/y")


class ProviderTests(LoginHostCase):
    """A provider sends browsers back to the host of the pages, and they end up on the host that they came from."""

    @property
    def CONFIG(self) -> str:  # type: ignore[override]
        provider = PROVIDER.replace("<provider>", shared_provider().url)
        return secure(site(ROUTES, extra=f"[login]\nhost = {SISTER}\n{provider}"))

    def test_a_sign_in_at_a_provider_serves_all_hosts(self) -> None:
        provider = shared_provider()
        provider.client(f"{self.sso}{OWN}callback/corp", post_logout_redirect_uris=[f"{self.sso}{OWN}signed-out"])
        provider.account("sub-heidi", preferred_username="heidi")
        page = self.page(hosts=(*self.hosts, urlsplit(provider.url).netloc))
        page.goto("/deep?x=1#/panel")
        page.get_by_role("link", name="Sign in with corp").click()
        page.fill("input[name=account]", "sub-heidi")
        page.fill("input[name=password]", "any")
        page.get_by_role("button", name="Sign in at the provider").click()
        page.wait_for_url(f"{self.origin}/deep?x=1#/panel")
        page.goto(f"{self.other}/x")
        page.wait_for_url(f"{self.other}/x")
        page.goto(f"{self.other}{OWN}logout")
        page.get_by_role("button", name="Sign out", exact=True).click()
        page.get_by_role("button", name="Sign out at the provider").click()
        page.wait_for_url(f"{self.sso}{OWN}signed-out**")
        page.goto("/not-in-the-cache-of-the-browser")
        self.at_sign_in(page)


class BehindNginxTests(Proxied):
    """The same with a proxy in front that asks the gateway about each request. nginx leaves the port out of Host."""

    KIND = "nginx"
    CONFIG = Proxied.CONFIG.replace("browser_login = yes\n", HOSTS) + f"[login]\nhost = {SISTER}\n"

    def test_one_sign_in_for_two_sites(self) -> None:
        port = urlsplit(self.origin).port
        sso, other = (f"https://{host}:{port}" for host in (SISTER, STRANGER))
        page = self.page(hosts=tuple(urlsplit(url).netloc for url in (sso, other)))
        page.goto("/page?a=b%20c")
        self.assertTrue(page.url.startswith(f"{sso}{OWN}login?"), page.url)
        type_password(page)
        page.wait_for_url(f"{self.origin}/page?a=b%20c")
        page.goto(f"{other}/page")
        page.wait_for_url(f"{other}/page")
        page.goto(f"{other}{OWN}logout")
        page.get_by_role("button", name="Sign out", exact=True).click()
        page.get_by_role("heading", name="You are signed out").wait_for()
        page.goto("/not-in-the-cache-of-the-browser")
        self.assertTrue(page.url.startswith(f"{sso}{OWN}login?"), page.url)
        for received in self.service.requests:
            self.assertNotIn(b"__Host-perimeter", received.head)
