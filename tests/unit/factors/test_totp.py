"""Codes of authenticator apps, by the vectors of RFC 6238 and what apps do with them."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

from twisted.trial.unittest import TestCase

from perimeter.factors.totp import app_uri, encoded, step_of
from perimeter.web.endpoints.account.new_factors import qr_picture

SECRET = b"12345678901234567890"


class TotpTests(TestCase):
    def test_the_vectors_of_rfc_6238(self) -> None:
        # appendix B, the last six of eight digits
        for at, code in ((59, "287082"), (1111111109, "081804"), (1234567890, "005924"), (20000000000, "353130")):
            self.assertEqual(step_of(SECRET, code, at), at // 30)

    def test_a_step_before_and_after_the_present_one(self) -> None:
        code, own = "005924", 1234567890 // 30
        for step, found in ((own - 2, None), (own - 1, own), (own, own), (own + 1, own), (own + 2, None)):
            self.assertEqual(step_of(SECRET, code, step * 30 + 29), found)
            self.assertEqual(step_of(SECRET, code, step * 30), found)

    def test_what_is_no_code(self) -> None:
        for text in ("", "28708", "2870820", "28708x", "28708\u0662", "-87082"):
            self.assertIsNone(step_of(SECRET, text, 59))

    def test_blanks_as_apps_show_them(self) -> None:
        self.assertEqual(step_of(SECRET, " 287 082\n", 59), 1)

    def test_what_an_app_reads(self) -> None:
        uri = urlsplit(app_uri(SECRET, "alice", "Forecasts & more"))
        self.assertEqual((uri.scheme, uri.netloc, uri.path), ("otpauth", "totp", "/Forecasts%20%26%20more:alice"))
        self.assertEqual(parse_qs(uri.query), {"secret": [encoded(SECRET)], "issuer": ["Forecasts & more"]})
        self.assertEqual(encoded(SECRET), "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ")

    def test_the_longest_names_fit_into_a_picture(self) -> None:
        for one in ("x", "é", "\U0001f511"):
            uri = app_uri(SECRET, one * 500, one * 500)
            self.assertLess(len(uri), 2953)
            self.assertIn("<svg", qr_picture(uri))
