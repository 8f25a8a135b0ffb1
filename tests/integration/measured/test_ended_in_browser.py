"""How soon a page notices that its session has ended."""

from __future__ import annotations

import time

from tests.integration import test_sign_in_browser
from tests.integration.browser import OWN
from tests.integration.test_sign_in_browser import ASK, shows


class EndedTests(test_sign_in_browser.SignInCase):
    def test_attack_21_a_session_ended_from_another_browser(self) -> None:
        """Its next request is 401, and its WebSocket and event stream are cut within a second."""
        page, other = self.page(), self.page()
        self.arrive(page, "/page")
        shows(page, "socket", "hello alice")
        shows(page, "events", "2")
        self.arrive(other, "/page")
        other.goto(f"{OWN}logout")
        began = time.monotonic()
        other.get_by_role("button", name="Sign out everywhere", exact=True).click()
        shows(page, "socket", "closed")
        shows(page, "events", "cut")
        self.assertLess(time.monotonic() - began, 1.0)
        self.assertEqual(page.evaluate(ASK)[0], 401)
        page.reload()
        self.assertEqual(page.url, self.login_url("/page"))
