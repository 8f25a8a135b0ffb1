"""The section ``[acme]``, and ``acme_names`` of a listener."""

from __future__ import annotations

from pathlib import Path

from perimeter.config.site.acme import LETS_ENCRYPT, ChallengeKind, certificate_file
from perimeter.config.site.config import SiteConfig
from perimeter.config.site.renewed import renewed_files
from tests.unit.doubles.site import SITE, SiteCase

NAMED = SITE.replace("tls = yes\n", "tls = yes\nacme_names = gw.example.com, GW.example.com\n\twww.example.com\n")
AGREED = "[acme]\nterms_agreed = yes\n"
PLAIN = "[listener http]\nport = 80\ninterface = 127.0.0.1\nserve = redirect\nredirect_to = 9443\n"


class AcmeTests(SiteCase):
    def test_defaults(self) -> None:
        acme = self.load(SITE).acme
        self.assertEqual((acme.directory, acme.terms_agreed, acme.contact), (LETS_ENCRYPT, False, ()))
        self.assertEqual(
            (acme.challenge, acme.ca_certificate, acme.eab_key_id, acme.eab_key), (ChallengeKind.HTTP_01, None, "", "")
        )

    def test_names_of_a_listener(self) -> None:
        config = self.load(NAMED + AGREED + PLAIN)
        self.assertEqual(config.listeners[0].acme_names, ("gw.example.com", "www.example.com"))
        path = config.perimeter.state_dir / "acme" / "gw.example.com.pem"
        self.assertEqual(certificate_file(config.perimeter.state_dir, config.listeners[0].acme_names), path)
        self.assertEqual(renewed_files(config), {path})
        self.assertEqual(config.listeners[0].hsts_age, 365 * 86400)

    def test_long_names_have_files_of_their_own(self) -> None:
        long = ".".join(["a" * 60] * 3 + ["a" * 16])
        for name in (long, f"{long}a.example", f"{long}b.example"):
            self.assertLessEqual(len(certificate_file(Path("/"), [name]).name), 204)
        self.assertEqual(certificate_file(Path("/s"), [long[:200]]), Path(f"/s/acme/{long[:200]}.pem"))
        self.assertNotEqual(certificate_file(Path("/"), [f"{long}a.example"]), certificate_file(Path("/"), [f"{long}b.example"]))

    def test_names_that_no_ca_issues_for(self) -> None:
        for name, expected in (
            ("*.example.com", "wildcard"),
            ("localhost", "known in DNS"),
            ("192.0.2.1", "known in DNS"),
            ("[2001:db8::1]", "known in DNS"),
            ("gw.example.com:443", "without a port"),
            ("../gw.example.com", "a host name"),
            ("gw.example.com/x", "a host name"),
        ):
            problems = self.problems(NAMED.replace("www.example.com", name) + AGREED + PLAIN)
            self.assertIn(expected, "\n".join(problems), name)

    def test_at_most_100_names(self) -> None:
        def text(count: int) -> str:
            names = ", ".join(f"a{number}.example.com" for number in range(count))
            return NAMED.replace("gw.example.com, GW.example.com\n\twww.example.com", names) + AGREED + PLAIN

        self.assertEqual(len(self.load(text(100)).listeners[0].acme_names), 100)
        self.assertIn("at most 100 names, not 101", self.problems(text(101))[0])

    def test_terms_of_service(self) -> None:
        for acme in ("", "[acme]\nterms_agreed = no\n"):
            (problem,) = self.problems(NAMED + acme + PLAIN)
            self.assertIn("terms_agreed = yes", problem)

    def test_instead_of_a_certificate(self) -> None:
        (self.directory / "gw.p12").write_text("")
        (problem,) = self.problems(NAMED.replace("tls = yes\n", "tls = yes\nkeystore = gw.p12\n") + AGREED + PLAIN)
        self.assertIn("either acme_names or keystore", problem)
        (self.directory / "gw.crt").write_text("")
        with_file = NAMED.replace("tls = yes\n", "tls = yes\ncertificate = gw.crt\nprivate_key = gw.crt\n")
        self.assertIn("either acme_names or certificate", self.problems(with_file + AGREED + PLAIN)[0])
        (problem,) = self.problems(NAMED.replace("tls = yes", "tls = no") + AGREED)
        self.assertIn("only allowed with tls = yes", problem)

    def test_two_listeners_share_a_certificate_or_begin_with_another_name(self) -> None:
        other = "[listener two]\nport = 9444\ninterface = 127.0.0.1\ntls = yes\nacme_names = {}\n"
        same = self.load(NAMED + AGREED + PLAIN + other.format("gw.example.com, www.example.com"))
        self.assertEqual(len(renewed_files(same)), 1)
        apart = self.load(NAMED + AGREED + PLAIN + other.format("www.example.com"))
        self.assertEqual(len(renewed_files(apart)), 2)
        (problem,) = self.problems(NAMED + AGREED + PLAIN + other.format("gw.example.com"))
        self.assertIn("the same first name and other names", problem)

    def test_options(self) -> None:
        def problem(line: str) -> str:
            (found,) = self.problems(NAMED + AGREED + line + "\n" + PLAIN)
            return found

        self.assertIn("https://", problem("directory = http://ca.example/dir"))
        self.assertIn("e-mail", problem("contact = nobody"))
        self.assertIn("also needs eab_key", problem("eab_key_id = kid"))
        self.assertIn("also needs eab_key_id", problem("eab_key = c2VjcmV0"))
        self.assertIn("base64url", problem("eab_key_id = kid\neab_key = a+b"))
        acme = self.load(
            NAMED + AGREED + "contact = mailto:a@example.com, b@example.com\neab_key_id = k\neab_key = c2VjcmV0\n" + PLAIN
        ).acme
        self.assertEqual(acme.contact, ("a@example.com", "b@example.com"))
        self.assertNotIn("c2VjcmV0", repr(acme))

    def test_warnings(self) -> None:
        def warnings(text: str) -> str:
            found: SiteConfig = self.load(text)
            return "\n".join(one for one in found.warnings if "acme" in one or "certificate" in one)

        self.assertEqual(warnings(NAMED + AGREED + PLAIN), "")
        self.assertIn("no listener without TLS", warnings(NAMED + AGREED))
        self.assertEqual(warnings(NAMED + AGREED + "challenge = tls-alpn-01\n"), "")
        self.assertIn("no listener has acme_names", warnings(SITE.replace("tls = yes", "tls = no") + AGREED))
