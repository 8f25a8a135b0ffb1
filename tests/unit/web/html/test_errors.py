from __future__ import annotations

import base64
import hashlib
import re
from html import unescape

from twisted.trial import unittest

from perimeter.errors import NoRoute, Refusal
from perimeter.web.html.errors import error_page
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
