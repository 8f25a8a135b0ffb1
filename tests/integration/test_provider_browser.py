"""People sign in at OpenID providers, in a browser: with passwords and two providers on one page, or at one provider by
itself."""

from __future__ import annotations

from typing import Any, ClassVar
from urllib.parse import urlsplit

from playwright.sync_api import Page

from tests.integration.axe import barriers
from tests.integration.browser import HOST, OWN, BrowserCase, secure, type_password
from tests.integration.harness import LOGIN_ROUTES, USERS, site
from tests.integration.oidcpeer import SECRET, SignInProvider, shared_provider

PROVIDERS = f"""\
[provider corp]
type = oidc
issuer = <corp>
client_id = gateway
client_secret = {SECRET}
realm = corp
title = Company login
logout = local
redirect_uri = https://{HOST}:@https@/.perimeter/callback/corp

[provider guests]
type = oidc
issuer = <guests>
client_id = gateway
client_secret = {SECRET}
title = Guest login
redirect_uri = https://{HOST}:@https@/.perimeter/callback/guests

[operator]
role = admin
"""


def providers() -> tuple[SignInProvider, SignInProvider]:
    """Those of `PROVIDERS`."""
    return shared_provider(claims="id_token"), shared_provider()


class ProviderCase(BrowserCase):
    FILES: ClassVar = USERS
    LOGIN: ClassVar = ""

    @property
    def CONFIG(self) -> str:  # type: ignore[override]
        corp, guests = providers()
        text = secure(site(LOGIN_ROUTES, extra=PROVIDERS + self.LOGIN))
        return text.replace("<corp>", corp.url).replace("<guests>", guests.url)

    def setUp(self) -> None:
        super().setUp()
        for provider, name in zip(providers(), ("corp", "guests"), strict=True):
            provider.client(f"{self.origin}{OWN}callback/{name}")

    def visit(self, **options: Any) -> Page:
        return self.page(hosts=tuple(urlsplit(provider.url).netloc for provider in providers()), **options)

    def at_provider(self, page: Page, account: str) -> None:
        page.fill("input[name=account]", account)
        page.fill("input[name=password]", "any")
        page.get_by_role("button", name="Sign in at the provider").click()


class OnePageTests(ProviderCase):
    def test_a_deep_link_with_its_fragment_is_kept(self) -> None:
        corp, _ = providers()
        corp.account("sub-carol", preferred_username="carol")
        page = self.visit()
        page.goto("/reports/a%20b?x=1&y=%2F#/deep?z=1")
        page.get_by_role("link", name="Sign in with Company login").click()
        self.at_provider(page, "sub-carol")
        page.wait_for_url(f"{self.origin}/reports/a%20b?x=1&y=%2F#/deep?z=1")
        for name in ("data", "events", "socket"):
            page.wait_for_function("name => document.getElementById(name).textContent", arg=name)
        page.goto(f"{OWN}account")
        self.assertIn("carol", page.inner_text("main"))

    def test_two_providers_and_passwords_on_one_page(self) -> None:
        _, guests = providers()
        guests.account("sub-dave", preferred_username="dave")
        page = self.visit()
        page.goto("/x")
        names = [one.inner_text() for one in page.locator("a.button, button").all()]
        self.assertEqual(names, ["Sign in", "Sign in with Company login", "Sign in with Guest login"])
        type_password(page)
        page.wait_for_url(self.origin + "/x")
        page.goto(f"{OWN}operator/authenticators")
        shown = " ".join(page.inner_text("main").split())
        self.assertRegex(shown, r"corp in use Type oidc \(line \d+\) Realm corp Takes sign-in page")
        page = self.visit(javascript=False)
        page.goto("/x")
        page.get_by_role("link", name="Sign in with Guest login").click()
        self.at_provider(page, "sub-dave")
        page.wait_for_url(self.origin + "/x")

    def test_the_pages_have_no_barriers(self) -> None:
        corp, _ = providers()
        page = self.visit()
        page.goto("/x")
        self.assertEqual(barriers(page), [])
        for subject in ("sub-frank", "sub-impostor"):
            corp.account(subject, preferred_username="frank")
            page = self.visit()
            page.goto("/x")
            page.get_by_role("link", name="Sign in with Company login").click()
            self.at_provider(page, subject)
            page.wait_for_url(f"{self.origin}/**")
        page.get_by_role("heading", name="You are not signed in").wait_for()
        self.assertIn("The user name frank belongs to another account here.", page.inner_text("main"))
        self.assertEqual(barriers(page), [])


class AutomaticTests(ProviderCase):
    LOGIN = "\n[login]\nautomatic = corp\n"

    def test_the_sign_in_page_is_left_at_once(self) -> None:
        corp, _ = providers()
        corp.account("sub-erin", preferred_username="erin")
        page = self.visit()
        page.goto("/deep#/there")
        page.wait_for_url(f"{corp.url}/**")
        self.assertEqual(urlsplit(page.url).fragment, "")
        self.at_provider(page, "sub-erin")
        page.wait_for_url(f"{self.origin}/deep#/there")
        page.goto(f"{OWN}logout")
        page.get_by_role("button", name="Sign out", exact=True).click()
        page.get_by_role("link", name="Sign in again").click()
        page.get_by_role("link", name="Sign in with Company login").wait_for()
