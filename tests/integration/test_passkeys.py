"""Second factors in a browser, with an authenticator of Chromium's own: added, shown at the sign-in, and used alone."""

from __future__ import annotations

import re
from typing import ClassVar

from playwright.sync_api import Page
from pyotp import TOTP

from tests.integration.browser import HOST, OWN, BrowserCase, secure, type_password
from tests.integration.harness import LOGIN_ROUTES, site
from tests.integration.virtual_authenticator import VirtualAuthenticator

NAMES = ("alice", "bob", "carol", "dave")
PASSKEYS = f"""\
[login]
passkeys = yes

[second_factor]
methods = webauthn, totp
rp_id = {HOST}
"""


class PasskeyTests(BrowserCase):
    CONFIG = secure(site(LOGIN_ROUTES, extra=PASSKEYS, perimeter="workers = 2"))
    FILES: ClassVar = {"users.realm": "".join(f"{name}: secret\n" for name in NAMES)}

    def type_password(self, page: Page, username: str, path: str) -> None:
        """Ask for a page that the browser has not kept, and send the form of the sign-in page."""
        page.goto(path)
        type_password(page, username)

    def sign_in(self, page: Page, username: str) -> None:
        """Sign a user in who has no second factor."""
        self.type_password(page, username, "/page")
        page.wait_for_url(f"{self.origin}/page")

    def with_passkey(self, page: Page, username: str) -> VirtualAuthenticator:
        """A user is signed in and has added a passkey."""
        device = VirtualAuthenticator(page)
        self.sign_in(page, username)
        page.goto(f"{OWN}account")
        page.get_by_role("link", name="Add a passkey…").click()
        page.fill("input[name=name]", "my laptop")
        page.get_by_role("button", name="Add the passkey").click()
        page.get_by_role("heading", name="Your recovery codes").wait_for()
        return device

    def use_passkey_alone(self, page: Page, path: str) -> None:
        page.goto(path)
        page.get_by_role("button", name="Sign in with a passkey").click()

    def test_a_passkey_is_all_that_a_sign_in_needs(self) -> None:
        page = self.page()
        device = self.with_passkey(page, "alice")
        self.assertEqual(len(page.inner_text("pre#codes").split()), 10)
        self.assertEqual(len(device.credentials), 1)
        page.context.clear_cookies()
        device.verify(False)
        self.use_passkey_alone(page, "/reports#deep")
        page.get_by_text("The passkey was not used: it was cancelled, or took too long. Try again.").wait_for()
        device.verify(True)
        page.get_by_role("button", name="Sign in with a passkey").click()
        page.wait_for_url(f"{self.origin}/reports#deep")
        page.goto(f"{OWN}account")
        self.assertIn("passkey", page.inner_text("table.facts"))
        page.get_by_role("link", name="Change my laptop").click()
        page.get_by_role("button", name="Remove it").click()
        page.get_by_text("The second factor was removed.").wait_for()
        page.context.clear_cookies()
        self.use_passkey_alone(page, "/data")
        page.get_by_text("The passkey was not accepted.").wait_for()

    def test_a_passkey_beside_the_password(self) -> None:
        page = self.page()
        self.with_passkey(page, "bob")
        codes = page.inner_text("pre#codes").split()
        page.goto(f"{OWN}account/factors/recovery")  # the password alone is no proof any more
        page.get_by_role("button", name="Use a passkey").click()
        page.get_by_role("heading", name="Make new recovery codes?").wait_for()
        page.context.clear_cookies()
        self.type_password(page, "bob", "/reports?1")
        page.get_by_role("button", name="Use a passkey").click()
        page.wait_for_url(f"{self.origin}/reports?1")
        page.context.clear_cookies()
        self.type_password(page, "bob", "/reports?2")
        page.fill("input[name=code]", codes[0])
        page.get_by_role("button", name="Confirm").click()
        page.wait_for_url(f"{self.origin}/reports?2")
        page.goto(f"{OWN}account")
        page.get_by_text("You have 9 recovery codes").wait_for()

    def test_an_authenticator_app_without_scripts(self) -> None:
        page = self.page(javascript=False)
        self.sign_in(page, "carol")
        page.goto(f"{OWN}account/factors/passkey")
        page.get_by_text("Passkeys need JavaScript").wait_for()
        self.assertFalse(page.get_by_role("button", name="Add the passkey").is_visible())
        page.goto(f"{OWN}account/factors/app")
        secret = page.inner_text("code.any")
        page.fill("input[name=code]", TOTP(secret).now())
        page.get_by_role("button", name="Add the app").click()
        self.assertRegex(page.inner_text("pre#codes"), re.compile("^([a-z2-7]{4}-){3}[a-z2-7]{4}$", re.MULTILINE))
        page.context.clear_cookies()
        self.type_password(page, "carol", "/reports")
        page.get_by_role("heading", name="Confirm that it is you").wait_for()

    def test_attack_b4_a_copy_of_a_passkey(self) -> None:
        page, other = self.page(), self.page()
        device = self.with_passkey(page, "dave")
        (copied,) = device.credentials
        VirtualAuthenticator(other).add(copied)
        page.context.clear_cookies()
        self.use_passkey_alone(page, "/reports")
        page.wait_for_url(f"{self.origin}/reports")
        self.use_passkey_alone(other, "/reports")
        other.get_by_text("The passkey was not accepted.").wait_for()
        self.assertIn("there may be a copy of it", self.served.log)
        self.assertNotIn("__Host-perimeter", [one["name"] for one in other.context.cookies()])  # type: ignore[typeddict-item]
