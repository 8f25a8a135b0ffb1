"""The account page in a browser: tokens that programs use, and sessions that end, with scripts and without."""

from __future__ import annotations

import json

from playwright.sync_api import Page

from tests.integration.browser import OWN
from tests.integration.test_sign_in_browser import SignInCase


class AccountPageTests(SignInCase):
    def make(self, page: Page, name: str) -> str:
        """Make an API token by its form; the token that is shown."""
        page.goto(f"{OWN}account")
        page.get_by_role("link", name="New token…").click()
        page.fill("input[name=name]", name)
        page.get_by_role("button", name="Make the token").click()
        page.get_by_role("heading", name="Your new API token").wait_for()
        return page.inner_text("pre#token")

    def status_with(self, token: str) -> int:
        """What a program gets with a token."""
        return self.visitor().get("/page", Authorization=f"Bearer {token}").status_code

    def visit(self, javascript: bool) -> None:
        page = self.page(javascript=javascript)
        self.arrive(page, "/page")
        name = f"nightly {javascript}"
        token = self.make(page, name)
        self.assertIn(token, page.inner_text("pre#curl"))
        self.assertEqual(json.loads(page.inner_text("pre#ecflow"))["tokens"][0]["api"]["key"], token)
        self.assertEqual(page.get_by_role("button", name="Copy: The token").is_visible(), javascript)
        self.assertEqual(self.status_with(token), 200)
        page.get_by_role("link", name="I have copied it").click()
        self.assertNotIn(token, page.content())
        page.on("dialog", lambda dialog: dialog.accept())
        page.get_by_role("button", name=f"End the API token {name}").click()
        page.get_by_text("The API token has ended.").wait_for()
        self.assertEqual(self.status_with(token), 401)

    def test_a_token_is_made_used_and_ended(self) -> None:
        self.visit(javascript=True)

    def test_without_a_script(self) -> None:
        self.visit(javascript=False)

    def test_to_copy_a_token(self) -> None:
        page = self.page()
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        self.arrive(page, "/page")
        token = self.make(page, "copied")
        page.get_by_role("button", name="Copy: The token").click()
        page.wait_for_function("document.getElementById('copied').textContent === 'Copied'")
        self.assertEqual(page.evaluate("navigator.clipboard.readText()"), token)

    def test_a_token_stays_if_its_end_is_not_confirmed(self) -> None:
        page = self.page()
        self.arrive(page, "/page")
        token = self.make(page, "kept")
        page.goto(f"{OWN}account")
        page.on("dialog", lambda dialog: dialog.dismiss())
        page.get_by_role("button", name="End the API token kept").click()
        self.assertEqual(self.status_with(token), 200)

    def test_to_reload_the_page_of_a_new_token_makes_no_second_one(self) -> None:
        page = self.page()
        self.arrive(page, "/page")
        self.make(page, "once")
        page.reload()
        page.get_by_role("heading", name="This API token was made already").wait_for()
        page.goto(f"{OWN}account")
        self.assertEqual(page.get_by_text("once", exact=True).count(), 1)

    def test_a_session_is_ended_from_another_browser(self) -> None:
        page, other = self.page(), self.page()
        self.arrive(other, "/page", "bob", "hunter2")
        self.arrive(page, "/page", "bob", "hunter2")
        page.goto(f"{OWN}account/sessions/others")
        page.get_by_role("button", name="End all others").click()
        page.get_by_text("All other sessions have ended.").wait_for()
        other.goto("/reports")  # which the browser has not kept
        self.assertEqual(other.url, self.login_url("/reports"))
