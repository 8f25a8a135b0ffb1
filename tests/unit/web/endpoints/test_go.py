"""The page that leads on after the sign-in."""

from __future__ import annotations

import re
from html import unescape
from urllib.parse import quote

from tests.unit.doubles.pages import NAVIGATION, Browser, PageCase
from tests.unit.web.endpoints.test_login import ELSEWHERE

GO = "/.perimeter/go"


class GoTests(PageCase):
    def setUp(self) -> None:
        super().setUp()
        self.browser.sign_in()

    def test_it_leads_on_by_script_and_without(self) -> None:
        page = self.browser.open(f"{GO}?to=/x%3Fy%3D1%26z")
        self.assertEqual(page.status, 200)
        self.assertIn(b'<noscript><meta http-equiv="refresh" content="0;url=/x?y=1&amp;z"></noscript>', page.body)
        self.assertIn(b'id="onwards" href="/x?y=1&amp;z"', page.body)
        self.assertIn(b"location.replace(", page.body)
        self.assertEqual(page.get(b"referrer-policy"), b"no-referrer")
        self.assertEqual(page.get(b"cache-control"), b"no-store")

    def test_who_comes_from_another_site_gets_a_link(self) -> None:
        for site in ("cross-site", "same-site"):
            page = self.browser.open(f"{GO}?to=/x", f"Sec-Fetch-Site: {site}", *NAVIGATION[1:])
            self.assertEqual(page.status, 200)
            self.assertIn(b'href="/x"', page.body)
            self.assertNotIn(b"refresh", page.body)
            self.assertNotIn(b"<script", page.body)

    def test_a_browser_without_cookies_is_not_sent_round_in_a_circle(self) -> None:
        page = Browser(self).open(f"{GO}?to=/x")
        self.assertEqual(page.status, 200)
        self.assertIn(b"Allow cookies for this site", page.body)
        self.assertIn(b'href="/.perimeter/login?to=%2Fx"', page.body)
        self.assertNotIn(b"refresh", page.body)

    def test_attack_24_another_site(self) -> None:
        for to in ELSEWHERE:
            for form in (quote(to, safe=""), quote(quote(to, safe=""), safe="")):
                page = self.browser.open(f"{GO}?to={form}")
                found = re.findall(rb'url=([^"]*)"|id="onwards" href="([^"]*)"', page.body)
                places = {unescape((one or other).decode()) for one, other in found}
                self.assertEqual(len(found), 2)
                self.assertTrue(places <= {"/"} or to == "/" + "x" * 2000, (to, places))

    def test_attack_26_markup(self) -> None:
        page = self.browser.open(f"{GO}?to={quote('/<svg>&quot;' + chr(34) + '>', safe='')}")
        self.assertNotIn(b"<svg", page.body)
        self.assertIn(b'href="/&lt;svg&gt;&amp;quot;&#34;&gt;"', page.body)
