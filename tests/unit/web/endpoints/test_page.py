"""Who may ask for a page of the gateway's own."""

from __future__ import annotations

from twisted.trial import unittest

from perimeter.errors import CrossSite
from perimeter.http.grammar import parse_block
from perimeter.web.endpoints.page import check_navigation

HTML = "Accept: text/html,*/*;q=0.8"


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
