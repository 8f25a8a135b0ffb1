"""People sign in and out in a browser, with scripts and without; what they wanted to see is what they see then."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote

from playwright.sync_api import Page

from tests.integration.browser import OWN, BrowserCase, back, secure, type_password
from tests.integration.harness import LOGIN_ROUTES, USERS, site

SIGN_IN = secure(site(LOGIN_ROUTES))

ASK = "fetch('/data', {method: 'POST', body: 'x'}).then(async answer => [answer.status, await answer.text()])"
SEND_FORM = """
    document.body.insertAdjacentHTML('beforeend', '<form method=post action=/send><input name=x></form>');
    document.forms[0].submit()
"""


def shows(page: Page, name: str, text: str) -> None:
    """Wait until the page of the service shows ``text`` at ``name``."""
    page.wait_for_function("([name, text]) => document.getElementById(name).textContent.includes(text)", arg=[name, text])


class SignInCase(BrowserCase):
    CONFIG = SIGN_IN
    FILES: ClassVar = USERS

    def login_url(self, to: str) -> str:
        """The URL of the login page for a user who asked for ``to``."""
        return f"{self.origin}{OWN}login?to={quote(to)}"

    def arrive(self, page: Page, path: str, username: str = "alice", password: str = "secret") -> None:
        """Ask for ``path``, sign in, and be there."""
        page.goto(path)
        type_password(page, username, password)
        page.wait_for_url(self.origin + path)

    def sign_out(self, page: Page, button: str = "Sign out") -> None:
        """Ask for the page that signs out, and press its button."""
        page.goto(f"{OWN}logout")
        with page.expect_response(f"**{OWN}cleared"):
            page.get_by_role("button", name=button, exact=True).click()
        page.get_by_role("heading", name="You are signed out").wait_for()


class WholeVisitTests(SignInCase):
    def visit(self, javascript: bool) -> None:
        page = self.page(javascript=javascript)
        wanted = "/reports/a%20b?x=1&y=%2F&z="
        response = page.goto(wanted)
        assert response is not None
        self.assertEqual((response.status, page.url), (200, self.login_url(wanted)))
        before = response.request.redirected_from
        assert before is not None
        self.assertEqual(before.response().status, 302)  # type: ignore[union-attr]
        type_password(page, "alice", "wrong")
        page.get_by_text("The user name or the password is wrong.").wait_for()
        fields = [page.input_value(f"input[name={name}]") for name in ("username", "password")]
        self.assertEqual(fields, ["alice", ""])
        type_password(page)
        page.wait_for_url(self.origin + wanted)
        page.wait_for_load_state()
        self.assertEqual(page.inner_text("h1"), "Page of the service")
        self.assertEqual(page.evaluate("getComputedStyle(document.querySelector('h1')).color"), "rgb(0, 128, 128)")
        self.assertEqual(page.evaluate("document.getElementById('picture').naturalWidth"), 40)
        if javascript:
            shows(page, "data", '200 {"user": "alice", "body": "x"}')
            shows(page, "socket", "hello alice")
            shows(page, "events", "3")
            shows(page, "place", wanted)
        with page.expect_download() as download:
            page.click("#download")
        self.assertEqual(Path(download.value.path()).read_bytes(), b"the report\n")

        page.click("#logout")
        page.get_by_role("button", name="Sign out", exact=True).click()
        page.get_by_role("heading", name="You are signed out").wait_for()
        page.wait_for_load_state()
        asked = len(self.service.requests)
        back(page)
        self.assertEqual(page.url, f"{self.origin}{OWN}signed-out")
        back(page)
        self.assertEqual(page.url, self.login_url(wanted))
        page.goto(wanted)
        self.assertEqual(page.url, self.login_url(wanted))
        self.assertEqual(self.service.requests[asked:], [])

    def test_with_scripts(self) -> None:
        self.visit(True)

    def test_without_scripts(self) -> None:
        self.visit(False)

    def test_back_in_one_step_over_the_sign_out(self) -> None:
        """The previous page is in both caches, and is loaded from the gateway."""
        for javascript in (True, False):
            page = self.page(javascript=javascript)
            self.arrive(page, "/kept")
            page.wait_for_load_state()
            page.click("#logout")
            page.get_by_role("button", name="Sign out", exact=True).click()
            page.get_by_role("heading", name="You are signed out").wait_for()
            page.wait_for_load_state()
            back(page, 2)
            self.assertEqual(page.url, self.login_url("/kept"))

    def test_a_download_that_has_no_session_is_no_login_page(self) -> None:
        page = self.page()
        self.arrive(page, "/page")
        self.sign_out(page.context.new_page())
        with page.expect_download() as download:
            page.click("#download")
        self.assertIsNotNone(download.value.failure())
        self.assertEqual(page.url, f"{self.origin}/page")
        self.assertIn('"GET /download/report.txt HTTP/1.1" 401', self.served.audit()[-1])


class TabsTests(SignInCase):
    def test_each_tab_arrives_where_it_wanted(self) -> None:
        """Two at the login page at once, and a third whose place is in a fragment."""
        wanted = ("/first?a=1", "/second", "/app?q=1#/deep?x=1&y=2")
        context = self.context()
        tabs = [context.new_page() for _ in wanted]
        for tab, path in zip(tabs, wanted, strict=True):
            tab.goto(path)
        for tab, path in zip(tabs, wanted, strict=True):
            type_password(tab)
            tab.wait_for_url(self.origin + path)
            shows(tab, "place", path)
        # a form that has gone stale because another browser session came and went since
        late = context.new_page()
        late.goto(f"{OWN}login?again=1&to=/late")
        self.sign_out(tabs[0])
        type_password(late)
        late.wait_for_url(f"{self.origin}/late")

    def test_a_tab_whose_sign_in_went_to_another_page_is_let_in(self) -> None:
        """The cookie of the form is gone with the sign-in of the first tab, or is of another one: no dead end."""
        context = self.context()
        first, second = context.new_page(), context.new_page()
        second.goto("/second")
        self.arrive(first, "/first")
        context.clear_cookies(name="__Host-perimeter-pre")
        type_password(second)
        second.wait_for_url(f"{self.origin}/second")

    def test_the_login_page_redirects_a_signed_in_user(self) -> None:
        page = self.page()
        self.arrive(page, "/page")
        page.goto(f"{OWN}login?to=/other")
        page.wait_for_url(f"{self.origin}/other")

    def test_a_user_without_the_role_sees_their_name_and_can_sign_in_as_another_user(self) -> None:
        page = self.page()
        page.goto("/admin/x")
        type_password(page, "bob", "hunter2")
        page.wait_for_url(f"{self.origin}/admin/x")
        self.assertIn("bob", page.inner_text("body"))
        page.get_by_role("link", name="Sign in as another user").click()
        type_password(page)
        page.wait_for_url(f"{self.origin}/admin/x")
        shows(page, "socket", "hello alice")


class EndedTests(SignInCase):
    def test_a_request_of_a_script_gets_401_and_the_page_stays(self) -> None:
        page = self.page()
        self.arrive(page, "/page?x=1")
        self.assertEqual(page.evaluate(ASK)[0], 200)
        self.sign_out(page.context.new_page())
        status, text = page.evaluate(ASK)
        answer: dict[str, Any] = json.loads(text)
        self.assertEqual((status, page.url), (401, f"{self.origin}/page?x=1"))
        self.assertIn("auth_uri", answer)
        self.assertTrue(answer["login"].startswith(f"{OWN}login"), answer)
        self.assertEqual(page.inner_text("h1"), "Page of the service")

    def test_a_form_that_comes_too_late_is_not_sent_and_says_so(self) -> None:
        page = self.page()
        self.arrive(page, "/page")
        self.sign_out(page.context.new_page())
        seen = len(self.service.requests)
        with page.expect_navigation() as answer:
            page.evaluate(SEND_FORM)
        assert answer.value is not None
        self.assertEqual((answer.value.status, page.url), (401, f"{self.origin}/send"))
        self.assertIn("your form was not processed", page.inner_text("body").lower())
        self.assertEqual([one.line for one in self.service.requests[seen:] if "/send" in one.line], [])
        page.get_by_role("link", name="Sign in").click()
        type_password(page)
        # back to the page with the form
        page.wait_for_url(f"{self.origin}/page")

    def test_a_frame_leads_out_of_itself_to_the_sign_in(self) -> None:
        page = self.page()
        self.arrive(page, "/page")
        self.sign_out(page.context.new_page())
        page.evaluate("document.body.insertAdjacentHTML('beforeend', '<iframe name=part src=/part?x=1></iframe>')")
        page.frame_locator("iframe").get_by_role("link", name="Sign in").click()
        page.wait_for_url(self.login_url("/page"))
        type_password(page)
        page.wait_for_url(f"{self.origin}/page")

    def test_a_gateway_that_is_killed_remembers_who_is_signed_in(self) -> None:
        page = self.page()
        self.arrive(page, "/page")
        self.served.kill()
        self.served.start()
        page.goto("/after")
        self.assertEqual(page.url, f"{self.origin}/after")
        shows(page, "socket", "hello alice")
        # and who is not
        cookies = page.context.cookies()
        self.sign_out(page)
        self.served.kill()
        self.served.start()
        page.context.add_cookies([{**one, "url": None} for one in cookies])  # type: ignore[list-item,misc]
        page.goto("/after")
        self.assertEqual(page.url, self.login_url("/after"))


class KeyboardTests(SignInCase):
    def walk(self, page: Page) -> list[str]:
        """Press Tab until the page is left; each thing that has the focus shows it. Returns their names or texts."""
        seen: list[str] = []
        for _ in range(40):
            focus = page.evaluate(
                """() => {
                    const one = document.activeElement;
                    if (one == null || one == document.body) return null;
                    const style = getComputedStyle(one);
                    const outlined = style.outlineStyle != 'none' && parseFloat(style.outlineWidth) >= 1;
                    return [one.name || one.innerText || one.tagName, outlined || style.boxShadow != 'none'];
                }"""
            )
            if focus is None and seen:
                break
            if focus is not None:
                self.assertTrue(focus[1], f"the focus on {focus[0]} cannot be seen")
                seen.append(focus[0])
            page.keyboard.press("Tab")
        return seen

    def test_sign_in_and_out_by_keyboard(self) -> None:
        page = self.page()
        page.goto("/page")
        # the cursor is in the first field
        page.keyboard.type("alice")
        page.keyboard.press("Tab")
        page.keyboard.type("secret")
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        page.wait_for_url(f"{self.origin}/page")
        page.goto(f"{OWN}logout")
        self.assertIn("Sign out", self.walk(page))
        page.reload()
        while page.evaluate("document.activeElement.innerText") != "Sign out":
            page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        page.get_by_role("heading", name="You are signed out").wait_for()

    def test_every_control_of_the_login_page_can_be_reached(self) -> None:
        page = self.page()
        page.goto(f"{OWN}login")
        reached = self.walk(page)
        self.assertEqual(reached, ["username", "password", "Sign in"])
