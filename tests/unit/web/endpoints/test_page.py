"""Who may ask for a page of the gateway's own."""

from __future__ import annotations

import json
from typing import Any

from twisted.trial import unittest

from perimeter.config.site.login import LoginSettings
from perimeter.errors import CrossSite
from perimeter.gate.access import Access, Asks, Restricted
from perimeter.http.grammar import parse_block
from perimeter.web.endpoints.endpoint import Endpoint, compact, reading
from perimeter.web.endpoints.page import PageEndpoint, Pages, check_navigation
from tests.unit.doubles.pages import NAVIGATION, OWN_FORM, Browser, PageCase

HTML = "Accept: text/html,*/*;q=0.8"


PROBE = "/.perimeter/probe"


class Probe(PageEndpoint):
    """A page for those who are signed in: its GET has the token of its form, its POST needs a fresh sign-in."""

    def __init__(self, pages: Pages) -> None:
        access = Access(Asks.SESSION, Restricted.NOTHING, login=b"/.perimeter/login")
        super().__init__("/probe", {**reading(access), b"POST": access}, pages)

    def render_GET(self, request: Any) -> bytes:
        session = self.session_of(request)
        assert session is not None
        return compact({"token": self.token_for(request, "probe"), "id": session.id})

    def render_POST(self, request: Any) -> bytes:
        fields = self.form(request, "probe")
        return self.stale(request) or compact(fields)


class SignedInTests(PageCase):
    def endpoints(self, login: LoginSettings) -> list[Endpoint]:
        own = super().endpoints(login)
        page = own[0]
        assert isinstance(page, PageEndpoint)
        return [Probe(page.pages), *own]

    def setUp(self) -> None:
        super().setUp()
        self.browser.sign_in()

    def test_the_page_knows_the_session(self) -> None:
        (session,) = self.stored.all()
        self.assertEqual(json.loads(self.browser.open(PROBE).body)["id"], session.id)

    def test_without_a_session(self) -> None:
        reply = Browser(self).open(PROBE)
        self.assertEqual((reply.status, reply.get(b"location")), (302, b"/.perimeter/login?to=/.perimeter/probe"))
        self.assertEqual(Browser(self).send(PROBE, {}).status, 401)

    def test_a_form(self) -> None:
        token = json.loads(self.browser.open(PROBE).body)["token"]
        reply = self.browser.send(PROBE, {"token": token, "a": "é"})
        self.assertEqual((reply.status, json.loads(reply.body)["a"]), (200, "é"))

    def test_attack_27_a_form_of_another_page_session_or_site(self) -> None:
        token = json.loads(self.browser.open(PROBE).body)["token"]
        other = Browser(self)
        other.sign_in()
        theirs = json.loads(other.open(PROBE).body)["token"]
        for wrong in ("", theirs, token[1:]):
            self.assertEqual(self.browser.send(PROBE, {"token": wrong}).status, 403)
            self.assertEqual(self.record.reason, "cross_site")
        for lines in (("Origin: null",), ("Sec-Fetch-Site: same-site",), ("Sec-Fetch-Mode: cors", "Sec-Fetch-Dest: empty")):
            self.assertEqual(self.browser.send(PROBE, {"token": token}, *lines).status, 403, lines)
        self.browser.sign_in()
        self.assertEqual(self.browser.send(PROBE, {"token": token}).status, 403, "of the session before")

    def test_an_old_sign_in_is_repeated(self) -> None:
        token = json.loads(self.browser.open(PROBE).body)["token"]
        self.clock.advance(899)
        self.assertEqual(self.browser.send(PROBE, {"token": token}).status, 200)
        self.clock.advance(1)
        reply = self.browser.send(PROBE, {"token": token})
        self.assertEqual((reply.status, reply.get(b"location")), (303, b"/.perimeter/login?again=1&to=%2F.perimeter%2Fprobe"))
        self.assertIn(b'value="alice"', self.browser.open("/.perimeter/login?again=1").body)
        self.browser.sign_in()
        token = json.loads(self.browser.open(PROBE).body)["token"]
        self.assertEqual(self.browser.send(PROBE, {"token": token}).status, 200)

    def test_attack_80_the_cookie_over_plain_http(self) -> None:
        plain = Browser(self, tls="")
        plain.cookies = dict(self.browser.cookies)
        self.assertEqual(plain.open(PROBE, *NAVIGATION).status, 302)
        self.assertEqual(plain.send("/.perimeter/logout", {}, *OWN_FORM[:4]).status, 303)
        self.assertEqual(len(self.stored.all()), 1)


class NavigationTests(unittest.TestCase):
    def is_good(self, *lines: str, by_workers: bool = False) -> bool:
        headers = parse_block("".join(f"{line}\r\n" for line in ("Host: gw", *lines)).encode(), 20)
        try:
            check_navigation(headers, by_workers)
        except CrossSite:
            return False
        return True

    def test_attack_76_only_a_navigation_gets_a_page(self) -> None:
        mode, wanted = "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"
        for lines, good in (
            ((), True),
            ((mode, wanted), True),
            ((mode,), True),
            ((wanted,), True),
            ((mode, wanted, wanted), False),
            ((mode, mode, wanted), False),
            (("Sec-Fetch-Mode: same-origin", wanted), False),
            (("Sec-Fetch-Mode: cors",), False),
            ((mode, "Sec-Fetch-Dest: iframe"), False),
            ((mode, "Sec-Fetch-Dest: object"), False),
        ):
            for by_workers in (False, True):
                self.assertEqual(self.is_good(*lines, HTML, by_workers=by_workers), good, (lines, by_workers))

    def test_attack_76_a_service_worker_gets_no_page_that_gives_out_rights(self) -> None:
        """It asks in place of a navigation, with ``empty``; a download has that, too, and names no HTML."""
        handed_on = ("Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: empty")
        self.assertFalse(self.is_good(*handed_on, HTML))
        self.assertTrue(self.is_good(*handed_on, HTML, by_workers=True))
        self.assertFalse(self.is_good(*handed_on, "Accept: */*", by_workers=True))
        self.assertFalse(self.is_good("Sec-Fetch-Mode: same-origin", "Sec-Fetch-Dest: empty", HTML, by_workers=True))
        self.assertFalse(self.is_good(*handed_on, handed_on[1], HTML, by_workers=True))
