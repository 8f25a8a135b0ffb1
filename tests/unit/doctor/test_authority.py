"""The CA of the gateway's own certificates."""

from __future__ import annotations

from perimeter.acme.record import Record, write_record
from perimeter.doctor import authority, certificates
from tests.integration.netkit import identity, pem
from tests.unit.doctor.examined import SITE, ExaminedCase
from tests.unit.doctor.test_certificates import key_pem

ORDERED = (
    SITE.replace("127.0.0.1\n", "127.0.0.1\ntls = yes\nacme_names = localhost.localdomain, gw.invalid\n", 1)
    + "\n[acme]\nterms_agreed = yes\nchallenge = tls-alpn-01\ndirectory = https://127.0.0.1:1/dir\n"
)


class AuthorityTests(ExaminedCase):
    def test_ca_that_does_not_answer_and_unknown_names(self) -> None:
        found = list(authority.see(self.subject(ORDERED)))
        self.assertIn("no connection to the directory is possible", found[0].message)
        said = self.said(found)
        self.assertEqual(said[0], ("authority-down", "fails", "[acme]"))
        self.assertIn(("name-unknown", "fails", "[listener http]"), said[1:])

    def test_failed_order(self) -> None:
        self.file("state/acme/placeholder", "")
        write_record(
            self.directory / "state" / "acme" / "localhost.localdomain.json", Record(failures=1, fault="refused", try_at=1.0)
        )
        found = list(authority.see(self.subject(ORDERED)))
        self.assertEqual(self.said(found)[0], ("certificate-refused", "fails", "[listener http]"))
        self.assertIn("refused", found[0].message)

    def test_present_certificate_makes_faults_less_urgent(self) -> None:
        made = identity("localhost.localdomain", "gw.invalid")
        self.file("state/acme/localhost.localdomain.pem", key_pem(made) + pem(*made.chain))
        subject = self.subject(ORDERED)
        self.assertEqual(self.said(list(authority.see(subject)))[0], ("authority-down", "soon", "[acme]"))
        self.assertEqual(self.said(list(certificates.of_listener(subject, subject.config.listeners[0]))), [])

    def test_ordered_certificate_is_no_ca(self) -> None:
        made = identity("localhost.localdomain", "gw.invalid", days=0.5)
        self.file("state/acme/localhost.localdomain.pem", key_pem(made) + pem(*made.chain))
        subject = self.subject(ORDERED)
        self.assertEqual(list(certificates.of_authorities(subject)), [])
        found = self.said(list(certificates.of_listener(subject, subject.config.listeners[0])))
        self.assertEqual(found, [("certificate-expires", "soon", "[listener http]")])

    def test_no_certificate_is_made(self) -> None:
        subject = self.subject(ORDERED)
        self.assertEqual(list(certificates.of_listener(subject, subject.config.listeners[0])), [])
        self.assertFalse((self.directory / "state").exists())
