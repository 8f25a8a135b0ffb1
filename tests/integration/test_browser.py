"""The stage of the browser tests finds what it looks for, and its caches are on."""

from __future__ import annotations

from typing import ClassVar

from playwright.sync_api import Page

from tests.integration.axe import violations
from tests.integration.browser import HOST, BrowserCase, back, secure
from tests.integration.harness import USERS, site

ROUTES = """\
[upstream service]
servers = <service>

[route all]
path = /
upstream = service
auth = none
"""

OPEN = secure(site(ROUTES))

FORM = "<!DOCTYPE html><title>x</title><input name=q><p style='color: #ccc; background: #fff'>pale</p>"


class StageTests(BrowserCase):
    CONFIG = OPEN
    FILES: ClassVar = USERS

    def showing(self, body: str, path: str = "/x", status: int = 200, **headers: str) -> Page:
        """A page that is not the service's, but ``body``."""
        page = self.page()
        fields = {"content-type": "text/html", **{name.replace("_", "-"): value for name, value in headers.items()}}
        page.route(f"**{path}", lambda route: route.fulfill(status=status, body=body, headers=fields))
        page.goto(path)
        return page

    def fault(self, part: str) -> None:
        """The stage has found ``part``, and nothing else."""
        self.assertEqual([part in one for one in self.watch.faults], [True], self.watch.faults)
        self.watch.faults.clear()

    def test_a_request_to_another_host_is_found(self) -> None:
        self.showing("<img src=https://elsewhere.test/x>").wait_for_load_state()
        self.fault("another host: https://elsewhere.test/x")
        page = self.showing("<title>x</title>")
        page.evaluate("new Promise(done => { new WebSocket('wss://elsewhere.test/').onerror = done })")
        self.fault("another host: wss://elsewhere.test/")

    def test_what_a_policy_refuses_is_found(self) -> None:
        self.showing("<p style='color: red'>x</p>", content_security_policy="default-src 'none'")
        self.fault("Content Security Policy")

    def test_an_error_in_a_script_is_found(self) -> None:
        self.showing("<script>nowhere()</script>")
        self.fault("nowhere is not defined")

    def test_an_own_page_that_caches_may_keep_is_found(self) -> None:
        self.showing("x", "/.perimeter/login")
        self.fault("200 for /.perimeter/login may be kept")
        self.showing("x", "/.perimeter/static/style.0123.css", cache_control="public")
        self.showing("x", "/.perimeter/login", cache_control="no-store")
        self.assertEqual(self.watch.faults, [])
        self.showing("x", "/x", 403)
        self.fault("403 for /x may be kept")

    def test_axe_finds_what_it_should(self) -> None:
        page = self.showing(FORM)
        found = {one.partition(":")[0] for one in violations(page)}
        self.assertLessEqual({"html-has-lang", "label", "color-contrast"}, found)

    def test_both_caches_are_on(self) -> None:
        """Going back asks the service for nothing, and shows the page as it was left: with scripts and without."""
        for javascript in (True, False):
            page = self.page(javascript=javascript)
            page.goto("/first?a=1#b")
            if javascript:
                page.wait_for_function("document.getElementById('socket').textContent == 'hello None'")
            page.evaluate("document.getElementById('title').textContent = 'changed'")
            page.goto("/second")
            seen = len(self.service.requests)
            back(page)
            self.assertEqual(page.url, f"https://{HOST}:{self.served['https']}/first?a=1#b")
            self.assertEqual(page.inner_text("h1"), "changed")
            # and where the page itself was not kept, the HTTP cache has it
            page.goto("/first?a=1")
            self.assertEqual([one.line for one in self.service.requests[seen:] if "/first" in one.line], [])
