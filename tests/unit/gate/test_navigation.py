"""Which requests are sent to the login page: what Chromium 156 sends, and what programs send."""

from __future__ import annotations

from twisted.trial import unittest

from perimeter.gate.navigation import Shown, shown
from perimeter.http.grammar import parse_block, parse_request
from perimeter.model import RequestHead

HTML = "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
ANY = "Accept: */*"


def fetch(mode: str, dest: str) -> tuple[str, str, str]:
    return f"Sec-Fetch-Mode: {mode}", f"Sec-Fetch-Dest: {dest}", "Sec-Fetch-Site: none"


class NavigationTests(unittest.TestCase):
    def navigates(self, *lines: str, method: str = "GET") -> bool:
        return shown(self.head(*lines, method=method)) is Shown.PAGE

    def head(self, *lines: str, method: str) -> RequestHead:
        fields = "".join(f"{line}\r\n" for line in ("Host: gw", *lines))
        return parse_request(f"{method} / HTTP/1.1".encode(), parse_block(fields.encode(), 20))

    def test_of_browsers_with_fetch_metadata(self) -> None:
        for lines, navigates in (
            # the address bar, a link, a form with GET
            ((*fetch("navigate", "document"), HTML), True),
            ((*fetch("navigate", "document"), ANY), True),
            ((*fetch("navigate", "document"), "Sec-Fetch-User: ?1", "Upgrade-Insecure-Requests: 1"), True),
            ((*fetch("navigate", "iframe"), HTML), False),
            ((*fetch("navigate", "frame"), HTML), False),
            ((*fetch("navigate", "embed"), HTML), False),
            # <a download>
            ((*fetch("navigate", "empty"), ANY), False),
            # a service worker hands a navigation on
            ((*fetch("navigate", "empty"), HTML), True),
            ((*fetch("navigate", "empty"), HTML, "Sec-Purpose: prefetch"), False),
            ((*fetch("same-origin", "empty"), HTML), False),
            # fetch and XMLHttpRequest, which can send any Accept
            ((*fetch("cors", "empty"), ANY), False),
            ((*fetch("cors", "empty"), HTML), False),
            ((*fetch("same-origin", "empty"), HTML), False),
            ((*fetch("no-cors", "image"), ANY), False),
            ((*fetch("no-cors", "script"), ANY), False),
            ((*fetch("no-cors", "document"), HTML), False),
            ((*fetch("cors", "empty"), "Accept: text/event-stream"), False),
            ((*fetch("websocket", "empty"), ANY), False),
            # a page that is loaded ahead of time
            ((*fetch("navigate", "document"), HTML, "Sec-Purpose: prefetch"), False),
            ((*fetch("navigate", "document"), HTML, "Sec-Purpose: prefetch;prerender"), False),
            ((*fetch("navigate", "document"), HTML, "Purpose: prefetch"), False),
            ((*fetch("navigate", "document"), HTML, "X-Moz: prefetch"), False),
            # in part, twice, in another spelling
            (("Sec-Fetch-Mode: navigate", HTML), False),
            (("Sec-Fetch-Dest: document", HTML), False),
            (("Sec-Fetch-Site: none", HTML), False),
            ((*fetch("navigate", "document"), "Sec-Fetch-Dest: document", HTML), False),
            ((*fetch("Navigate", "document"), HTML), False),
            ((*fetch("navigate", "document"), HTML, "Upgrade: websocket"), False),
            ((*fetch("navigate", "document"), HTML, "Sec-WebSocket-Key: x"), False),
        ):
            self.assertEqual(self.navigates(*lines), navigates, lines)

    def test_of_programs_and_of_browsers_over_plain_http(self) -> None:
        for lines, navigates in (
            ((HTML,), True),
            (("Accept: text/html",), True),
            (("Accept: application/json, text/html;q=0.1",), True),
            (("Accept: TEXT/HTML",), True),
            ((ANY,), False),
            ((), False),
            (("Accept: text/html;q=0",), False),
            (("Accept: text/*",), False),
            (("Accept: text/htmlx",), False),
            (("Accept: application/json",), False),
            (("Accept: text/event-stream",), False),
            ((HTML, "Origin: https://gw"), False),
            ((HTML, "X-Requested-With: XMLHttpRequest"), False),
            ((HTML, "Connection: upgrade", "Upgrade: websocket"), False),
            ((HTML, "Purpose: prefetch"), False),
        ):
            self.assertEqual(self.navigates(*lines), navigates, lines)

    def test_where_an_answer_is_shown(self) -> None:
        at_home, plain = fetch("navigate", "document"), (HTML,)
        for method, lines, place in (
            ("GET", at_home, Shown.PAGE),
            ("HEAD", at_home, Shown.PAGE),
            ("POST", at_home, Shown.FORM),
            ("PUT", at_home, Shown.FORM),
            ("GET", fetch("navigate", "iframe"), Shown.FRAME),
            ("GET", fetch("navigate", "frame"), Shown.FRAME),
            ("GET", fetch("navigate", "object"), Shown.NOWHERE),
            ("GET", fetch("navigate", "empty"), Shown.NOWHERE),
            ("POST", fetch("navigate", "iframe"), Shown.FORM),
            ("POST", fetch("navigate", "empty"), Shown.NOWHERE),
            ("POST", (*fetch("navigate", "empty"), HTML), Shown.FORM),
            ("POST", fetch("cors", "empty"), Shown.NOWHERE),
            ("POST", fetch("cors", "document"), Shown.NOWHERE),
            ("POST", (*at_home, "Sec-Purpose: prefetch"), Shown.NOWHERE),
            ("GET", plain, Shown.PAGE),
            ("POST", plain, Shown.FORM),
            ("POST", (*plain, "Origin: https://gw"), Shown.FORM),
            ("GET", (*plain, "Origin: https://gw"), Shown.NOWHERE),
            ("POST", (*plain, "X-Requested-With: XMLHttpRequest"), Shown.NOWHERE),
            ("POST", (ANY,), Shown.NOWHERE),
        ):
            self.assertIs(shown(self.head(*lines, method=method)), place, (method, lines))

    def test_methods(self) -> None:
        for method in ("GET", "HEAD"):
            self.assertTrue(self.navigates(HTML, method=method))
            self.assertTrue(self.navigates(*fetch("navigate", "document"), method=method))
        for method in ("POST", "PUT", "DELETE", "OPTIONS", "get"):
            self.assertFalse(self.navigates(HTML, method=method))
            self.assertFalse(self.navigates(*fetch("navigate", "document"), method=method))
