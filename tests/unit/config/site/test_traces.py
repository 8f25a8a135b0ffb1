"""The section ``[traces]``."""

from __future__ import annotations

from tests.unit.doubles.site import SITE, SiteCase


class TracesTests(SiteCase):
    def test_defaults(self) -> None:
        traces = self.load(SITE).traces
        self.assertEqual((traces.endpoint, traces.ratio, traces.limit, traces.queue), ("", 0.05, 100, 10000))
        self.assertEqual((traces.timeout, traces.service_name, traces.authorization), (5.0, "perimeter", ""))

    def test_the_share_is_a_number_from_0_to_1(self) -> None:
        for text, ratio in (("0", 0.0), ("1", 1.0), ("1.0", 1.0), ("0.05", 0.05), ("0.000000001", 1e-9)):
            self.assertEqual(self.load(f"{SITE}[traces]\nratio = {text}\n").traces.ratio, ratio)
        for text in ("1.1", "2", "-1", "5%", ".5", "1e-3", "nan", "0.0000000001"):
            self.assertIn("a number from 0 to 1", self.problem(f"ratio = {text}"))

    def problem(self, line: str) -> str:
        (found,) = self.problems(f"{SITE}[traces]\n{line}\n")
        return found

    def test_what_does_not_belong_together(self) -> None:
        (self.directory / "ca.pem").write_text("x")
        plain = "endpoint = http://127.0.0.1:4318/v1/traces\nca_certificate = ca.pem"
        self.assertIn("is only allowed with https", self.problem(plain))
        self.load(f"{SITE}[traces]\n{plain.replace('http:', 'https:')}\n")
        for near in ("127.0.0.1:4318", "LOCALHOST/v1", "[::1]:4318", "localhost"):
            self.load(f"{SITE}[traces]\nauthorization = x\nendpoint = http://{near}\n")
        for far in ("127.0.0.10:4318", "localhost.example", "collector:4318"):
            self.assertIn("in plain text", self.problem(f"authorization = x\nendpoint = http://{far}"))
            self.load(f"{SITE}[traces]\nauthorization = x\nendpoint = https://{far}\n")
        self.assertEqual(self.load(f"{SITE}[traces]\nauthorization = Bearer abc\n").traces.authorization, "Bearer abc")
        self.assertIn("cannot have", self.problem("authorization = Bearer \u00e9"))
