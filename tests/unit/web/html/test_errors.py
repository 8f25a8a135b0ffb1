from __future__ import annotations

import base64
import hashlib
import re
from html import unescape

from twisted.trial import unittest

from perimeter.errors import NoRoute, Refusal, SignIn
from perimeter.web.html.errors import error_page, sign_in_page
from perimeter.web.html.inline import inline_page


def every_refusal(kind: type[Refusal] = Refusal) -> list[type[Refusal]]:
    return [kind, *(found for below in kind.__subclasses__() for found in every_refusal(below))]


class PageTests(unittest.TestCase):
    def test_every_refusal_has_a_page(self) -> None:
        for kind in every_refusal():
            page = unescape(error_page(kind.status, kind.phrase).body.decode())
            self.assertIn(f"<h1>{kind.phrase}</h1>", page)
            self.assertIn(f"<title>{kind.status} {kind.phrase}</title>", page)
            self.assertIn(f'<p class="status">{kind.status}</p>', page)

    def test_the_policy_allows_this_style_and_nothing_else(self) -> None:
        page = error_page(404, "x")
        policy = dict(page.fields)[b"Content-Security-Policy"].decode()
        style = re.search(rb"<style>(.*?)</style>", page.body, re.DOTALL)
        assert style is not None
        digest = base64.b64encode(hashlib.sha256(style[1]).digest()).decode()
        self.assertIn(f"default-src 'none'; style-src 'sha256-{digest}'", policy)
        self.assertNotIn("unsafe", policy)

    def test_each_page_has_a_policy_of_its_own(self) -> None:
        """A page with a form may send it; an error page with the same text never may."""
        for page, allowed in (
            (error_page(401, "x"), "'none'"),
            (inline_page("error.html", "'self'", status=1, phrase="", hint=""), "'self'"),
        ):
            policy = dict(page.fields)[b"Content-Security-Policy"].decode()
            self.assertIn(f"; form-action {allowed}; frame-ancestors 'none'", policy)

    def test_nothing_comes_from_elsewhere(self) -> None:
        page = error_page(502, NoRoute.phrase).body
        for forbidden in (b"<script", b"<link", b"<img", b"http:", b"https:", b"url(", b"@import", b" style="):
            self.assertNotIn(forbidden, page)

    def test_attack_26_text_is_escaped(self) -> None:
        page = error_page(400, '"><svg onload=alert(1)>')
        self.assertNotIn(b"<svg", page.body)

    def test_the_page_can_be_read_by_machines_that_read_aloud(self) -> None:
        page = error_page(404, "There is nothing here").body
        self.assertTrue(page.startswith(b'<!doctype html>\n<html lang="en">'))
        self.assertEqual((page.count(b"<main "), page.count(b"<h1>")), (1, 1))


class SignInPageTests(unittest.TestCase):
    def page(self, status: int, sign_in: SignIn) -> str:
        return sign_in_page(status, "What was wrong", sign_in).body.decode()

    def test_a_link_to_the_sign_in_page(self) -> None:
        page = self.page(401, SignIn("/.perimeter/login?to=/a%3Fb"))
        self.assertIn('href="/.perimeter/login?to=/a%3Fb">Sign in</a>', page)
        self.assertIn("<h1>What was wrong</h1>", page)
        for words in ("not processed", "signed in as", "_top"):
            self.assertNotIn(words, page)

    def test_in_a_frame(self) -> None:
        framed = sign_in_page(401, "x", SignIn("/l", framed=True))
        self.assertIn(b'href="/l" target="_top">', framed.body)
        for page, ancestors in ((framed, b"'self'"), (sign_in_page(401, "x", SignIn("/l")), b"'none'")):
            self.assertIn(b"frame-ancestors " + ancestors, dict(page.fields)[b"Content-Security-Policy"])

    def test_after_a_form(self) -> None:
        self.assertIn("Your form was not processed.", self.page(401, SignIn("/l", sent=True)))

    def test_a_user_who_may_not(self) -> None:
        page = self.page(403, SignIn("/l?to=/&again=other", user="alice"))
        self.assertIn("You are signed in as <strong>alice</strong>.", page)
        self.assertIn('href="/l?to=/&amp;again=other">Sign in as another user</a>', page)
        self.assertIn("ask the operator of this service", page)

    def test_attack_26_a_name_is_text(self) -> None:
        page = self.page(403, SignIn('/l?to="><svg>', user="<svg onload=alert(1)>"))
        self.assertNotIn("<svg", page)
