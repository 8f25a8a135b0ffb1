"""Passkeys in a browser, with an authenticator of Chromium's own: registered, used to sign in, renamed and removed."""

from __future__ import annotations

from typing import ClassVar

from playwright.sync_api import Page

from tests.integration.browser import HOST, OWN, BrowserCase, secure, type_password
from tests.integration.harness import LOGIN_ROUTES, USERS, site
from tests.integration.virtual_authenticator import VirtualAuthenticator

PASSKEYS = f"""\
[login]
passkeys = yes

[second_factor]
methods = webauthn, totp
rp_id = {HOST}
"""


class PasskeyTests(BrowserCase):
    CONFIG = secure(site(LOGIN_ROUTES, extra=PASSKEYS))
    FILES: ClassVar = USERS

    def signed_in(self, page: Page, username: str = "alice", password: str = "secret") -> None:
        page.goto("/page")
        type_password(page, username, password)
        page.wait_for_url(f"{self.origin}/page")

    def add(self, page: Page, name: str) -> None:
        """Add a passkey on the account page."""
        page.goto(f"{OWN}account")
        page.get_by_role("link", name="Add a passkey…").click()
        page.fill("input[name=name]", name)
        page.get_by_role("button", name="Add the passkey").click()

    def test_it_is_added_and_is_all_that_a_sign_in_needs(self) -> None:
        page = self.page()
        device = VirtualAuthenticator(page)
        self.signed_in(page)
        self.add(page, "my laptop")
        page.get_by_role("heading", name="Your recovery codes").wait_for()
        self.assertEqual(len(page.inner_text("pre#codes").split()), 10)
        self.assertEqual(len(device.credentials), 1)
        page.context.clear_cookies()
        page.goto("/reports#deep")
        page.get_by_role("button", name="Sign in with a passkey").click()
        page.wait_for_url(f"{self.origin}/reports#deep")
        page.goto(f"{OWN}account")
        self.assertIn("passkey", page.inner_text("table.facts"))
        page.get_by_role("link", name="Change my laptop").click()
        page.get_by_role("button", name="Remove it").click()
        page.get_by_text("The second factor was removed.").wait_for()
