"""The tokens of forms, durations in words, and cookies."""

from __future__ import annotations

import base64
import hashlib
import hmac

from twisted.trial.unittest import TestCase

from perimeter.web.html.cookies import (
    FLOWS,
    before_login_cookie,
    flow_cookie,
    manual_cookie,
    no_manual_cookie,
    no_session_cookie,
    session_cookie,
)
from perimeter.web.html.forms import form_token, is_token
from perimeter.web.html.headers import strict_transport
from perimeter.web.html.words import in_words


class TokenTests(TestCase):
    def test_how_it_is_made(self) -> None:
        made = form_token(b"cookie", "id", "logout")
        digest = hmac.new(b"cookie", b"csrf\0id\0logout", hashlib.sha256).digest()
        self.assertEqual(made, base64.urlsafe_b64encode(digest).decode().rstrip("="))

    def test_attack_27_it_is_for_one_cookie_session_and_purpose(self) -> None:
        made = form_token(b"cookie", "id", "logout")
        self.assertTrue(is_token(made, b"cookie", "id", "logout"))
        for other in (
            (b"cookie2", "id", "logout"),
            (b"cookie", "id2", "logout"),
            (b"cookie", "id", "login"),
            (b"cookie", "", "id"),
        ):
            self.assertFalse(is_token(made, *other), other)
        for text in ("", made[:-1], made + "=", "é"):
            self.assertFalse(is_token(text, b"cookie", "id", "logout"), text)


class CookieTests(TestCase):
    def test_attack_28_attributes(self) -> None:
        common = b"; Path=/; Secure; HttpOnly; SameSite=Lax"
        self.assertEqual(session_cookie(b"v"), b"__Host-perimeter=v" + common)
        self.assertEqual(session_cookie(b"v", 60), b"__Host-perimeter=v" + common + b"; Max-Age=60")
        self.assertEqual(no_session_cookie(), b"__Host-perimeter=" + common + b"; Max-Age=0")
        self.assertEqual(before_login_cookie(b"v"), b"__Host-perimeter-pre=v" + common + b"; Max-Age=3600")
        self.assertEqual([name[-7:] for name in FLOWS], [b"-flow-0", b"-flow-1", b"-flow-2", b"-flow-3", b"-flow-4"])
        self.assertEqual(flow_cookie(FLOWS[4], b"v"), b"__Host-perimeter-flow-4=v" + common + b"; Max-Age=600")
        self.assertEqual(manual_cookie(), b"__Host-perimeter-manual=1" + common + b"; Max-Age=600")
        self.assertEqual(no_manual_cookie(), b"__Host-perimeter-manual=" + common + b"; Max-Age=0")


class WordTests(TestCase):
    def test_durations(self) -> None:
        for seconds, words in (
            (0, "1 second"),
            (1, "1 second"),
            (1.2, "2 seconds"),
            (60, "60 seconds"),
            (99, "99 seconds"),
            (100, "2 minutes"),
            (121, "3 minutes"),
            (900, "15 minutes"),
            (3600, "1 hour"),
            (3601, "2 hours"),
            (86400, "1 day"),
            (30 * 86400, "30 days"),
        ):
            self.assertEqual(in_words(seconds), words, seconds)

    def test_hsts(self) -> None:
        self.assertEqual(strict_transport(0), ())
        self.assertEqual(strict_transport(9), ((b"Strict-Transport-Security", b"max-age=9"),))
