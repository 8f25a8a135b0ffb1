"""A User-Agent in words."""

from __future__ import annotations

from twisted.trial.unittest import TestCase

from perimeter.web.html.browser import browser_in_words

CHROME = "(KHTML, like Gecko) Chrome/156.0.0.0"


class BrowserTests(TestCase):
    def test_browsers_and_systems(self) -> None:
        for agent, words in (
            ("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "Firefox 140 on Linux"),
            (f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 {CHROME} Safari/537.36", "Chrome 156 on Windows"),
            (f"Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 {CHROME} Safari/537.36 Edg/156.0", "Edge 156 on Windows"),
            (f"Mozilla/5.0 (X11; CrOS x86_64 1) AppleWebKit/537.36 {CHROME} Safari/537.36", "Chrome 156 on ChromeOS"),
            (f"Mozilla/5.0 (Linux; Android 16; Pixel) AppleWebKit/537.36 {CHROME} Mobile Safari/537.36", "Chrome 156 on Android"),
            ("Mozilla/5.0 (iPhone; CPU iPhone OS 26_0 like Mac OS X) Version/26.0 Mobile/1 Safari/6", "Safari 26 on iPhone"),
            ("Mozilla/5.0 (iPad; CPU OS 26_0 like Mac OS X) CriOS/140.0 Safari/6", "Chrome 140 on iPad"),
            ("Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15) Version/26.1 Safari/605", "Safari 26 on macOS"),
            ("Mozilla/5.0 Firefox/140.0", "Firefox 140"),
            ("Mozilla/5.0", "Mozilla 5"),
        ):
            self.assertEqual(browser_in_words(agent), words)

    def test_other_programs_are_their_first_product(self) -> None:
        for agent, words in (
            ("curl/8.14.1", "curl 8"),
            ("python-requests/2.32 Firefox/140", "python-requests 2"),
            ("Wget", "Wget"),
            ("", "unknown"),
            ("<script>", "unknown"),
            ("x<script>/1", "x"),
            ("x" * 41 + "/1", "x" * 40),
        ):
            self.assertEqual(browser_in_words(agent), words)
