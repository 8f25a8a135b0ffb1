"""``perimeter check`` reads the files that a start would read: each that a start would refuse is reported where it is named."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import brotli  # noqa: F401  # its absence is made
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from perimeter.cli.checking import run_check
from perimeter.net.contexts import ServerIdentity
from perimeter.run.build import inspection
from tests.integration.netkit import identity, pem
from tests.unit.doubles.site import SiteCase

GOOD = identity("gw.example")
OTHER = identity("other.example")
CA = identity("CA", ca=True, common="CA")

SITE = """\
[listener https]
port = 9443
interface = 127.0.0.1
tls = yes
certificate = gw.crt
private_key = gw.key

[authenticator local]
type = realmfile
path = users.realm

[upstream app]
servers = https://127.0.0.1:8888
ca_certificate = ca.crt

[route app]
path = /
upstream = app

[route pages]
path = /pages
static = html
auth = none

[errors]
page = 404 /pages/404.html

[audit]
path = access.log
"""


def key_pem(one: ServerIdentity) -> bytes:
    key: Any = one.key
    return bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


class InspectionTests(SiteCase):
    def setUp(self) -> None:
        super().setUp()
        self.write("gw.crt", pem(*GOOD.chain))
        self.write("gw.key", key_pem(GOOD))
        self.write("ca.crt", pem(*CA.chain))
        self.write("users.realm", b"alice: {plain}wonderland\n")
        self.write("html/404.html", b"<p>")

    def write(self, name: str, data: bytes) -> Path:
        path = self.directory / name
        path.write_bytes(data)
        return path

    def check(self, text: str = SITE, *, files: bool = True) -> tuple[int, list[str]]:
        self.site.write_text(text)
        status, said = run_check(self.site, files=files)
        return status, said.replace(f"{self.directory}/", "").splitlines()

    def refused(self, *expected: str, text: str = SITE) -> None:
        self.assertEqual(self.check(text), (1, list(expected)))

    def test_good_files(self) -> None:
        status, lines = self.check()
        self.assertEqual(status, 0, lines)
        self.assertIn("users.realm:1: the password of user 'alice' is kept as plain text", lines[0])

    def test_the_key_of_another_certificate(self) -> None:
        self.write("gw.key", key_pem(OTHER))
        self.refused(
            "site.ini:6: [listener https] private_key: gw.key: this private key does not belong to the certificate in gw.crt"
        )

    def test_a_key_in_the_place_of_the_certificate(self) -> None:
        self.write("gw.crt", key_pem(GOOD))
        self.refused("site.ini:5: [listener https] certificate: gw.crt: the file contains no certificate in PEM format")

    def test_a_certificate_in_the_place_of_the_key(self) -> None:
        self.write("gw.key", pem(*GOOD.chain))
        self.refused("site.ini:6: [listener https] private_key: gw.key: the file contains no private key in PEM format")

    def test_dates_of_the_certificate(self) -> None:
        now = datetime.now(UTC)
        for start, days, status, words in (
            (now - timedelta(days=100), 50, 1, "expired on"),
            (now + timedelta(days=5), 50, 1, "is not valid before"),
            (now - timedelta(days=50), 55, 0, "expires on"),
            (now - timedelta(days=50), 90, 0, ""),
        ):
            dated = identity("gw.example", start=start, days=days)
            self.write("gw.crt", pem(*dated.chain))
            self.write("gw.key", key_pem(dated))
            found, lines = self.check()
            self.assertEqual(found, status, lines)
            place = "site.ini:5: [listener https] certificate: " if status else "warning: "
            said = [line for line in lines if "the certificate of" in line]
            if words:
                self.assertEqual(len(said), 1, lines)
                self.assertTrue(said[0].startswith(f"{place}gw.crt: the certificate of CN=gw.example {words}"), said)
            else:
                self.assertEqual(said, [])

    def test_a_keystore(self) -> None:
        self.write("gw.p12", b"not a keystore")
        text = SITE.replace("certificate = gw.crt\nprivate_key = gw.key\n", "keystore = gw.p12\nkeystore_password = x\n")
        self.refused("site.ini:5: [listener https] keystore: gw.p12: this is neither a PKCS#12 nor a JKS keystore", text=text)

    def test_the_cas_of_clients_and_of_a_service(self) -> None:
        self.write("ca.crt", b"x")
        text = SITE.replace("private_key = gw.key\n", "private_key = gw.key\nclient_ca = ca.crt\n")
        self.refused(
            "site.ini:7: [listener https] client_ca: ca.crt: the file contains no CA certificate in PEM format",
            "site.ini:15: [upstream app] ca_certificate: ca.crt: the file contains no CA certificate in PEM format",
            text=text,
        )

    def test_the_certificate_that_services_see(self) -> None:
        text = SITE.replace(
            "ca_certificate = ca.crt\n", "ca_certificate = ca.crt\nclient_certificate = own.crt\nclient_key = own.key\n"
        )
        own, expired = identity("gateway"), identity("gateway", days=0.01)
        self.write("own.crt", pem(*own.chain))
        self.write("own.key", key_pem(own))
        self.assertEqual(self.check(text)[0], 0)
        self.write("own.key", key_pem(OTHER))
        self.refused(
            "site.ini:16: [upstream app] client_key: own.key: this private key does not belong to the certificate in own.crt",
            text=text,
        )
        self.write("own.crt", b"x")
        self.refused(
            "site.ini:15: [upstream app] client_certificate: own.crt: the file contains no certificate in PEM format", text=text
        )
        self.write("own.crt", pem(*expired.chain))
        self.write("own.key", key_pem(expired))
        status, (line,) = self.check(text)
        self.assertEqual(status, 1)
        self.assertTrue(
            line.startswith("site.ini:15: [upstream app] client_certificate: own.crt: the certificate of CN=gateway expired")
        )

    def test_the_page_of_a_route_in_maintenance(self) -> None:
        self.write("page.html", b"<p>")
        text = SITE.replace("path = /\n", "path = /\nmaintenance_page = page.html\n")
        self.assertEqual(self.check(text)[0], 0)
        self.write("page.html", bytes(1024 * 1024 + 1))
        self.refused("site.ini:18: [route app] maintenance_page: page.html is larger than 1048576 bytes", text=text)

    def test_the_library_of_a_coding(self) -> None:
        text = SITE.replace("path = /\n", "path = /\ncompression = gzip, br\n")
        self.assertEqual(self.check(text)[0], 0)
        kept = sys.modules["brotli"]
        self.addCleanup(sys.modules.__setitem__, "brotli", kept)
        sys.modules["brotli"] = None  # type: ignore[assignment]  # an import of None fails
        self.refused(
            "site.ini:18: [route app] compression: br needs a library: pip install 'perimeter-gateway[compression]'", text=text
        )

    def test_a_line_of_a_realm_file(self) -> None:
        self.write("users.realm", b"alice: {plain}x\nbob:\n")
        status, lines = self.check()
        self.assertEqual(status, 1)
        self.assertEqual(len(lines), 1)
        self.assertTrue(lines[0].startswith("users.realm:2: user 'bob' has no password"), lines)

    def test_what_another_kind_of_authenticator_reads(self) -> None:
        ldap = "type = ldap\nhostname = h\nuser_base_dn = dc=x\ntls = ldaps\nca_certificate = ca.crt\n"
        text = SITE.replace("type = realmfile\npath = users.realm\n", ldap)
        self.assertEqual(self.check(text)[0], 0, self.check(text))
        self.write("ca.crt", b"x")
        status, lines = self.check(text)
        self.assertEqual(status, 1)
        self.assertIn("site.ini:8: [authenticator local]: ca.crt: the file contains no CA certificate in PEM format", lines)

    def test_passwords_to_a_directory_in_plain_text_are_warned_about(self) -> None:
        text = SITE.replace(
            "type = realmfile\npath = users.realm\n", "type = ldap\nhostname = h\nuser_base_dn = dc=x\ntls = none\n"
        )
        status, lines = self.check(text)
        self.assertEqual(status, 0, lines)
        warning = "Authenticator local: tls = none: passwords go to h in plain text; set tls = starttls or ldaps"
        self.assertIn(f"warning: {warning}", lines)

    def test_an_error_page(self) -> None:
        (self.directory / "html" / "404.html").unlink()
        status, lines = self.check()
        self.assertEqual(status, 1)
        self.assertTrue(lines[0].startswith("site.ini:26: [errors] page: html/404.html: No such file"), lines)
        self.assertTrue(lines[0].endswith("html/404.html: No such file or directory"), lines)

    def test_the_directory_of_an_audit_log(self) -> None:
        text = SITE.replace("access.log", "none/access.log").replace("upstream = app\n\n", "upstream = app\naudit = no/x.log\n\n")
        status, lines = self.check(text)
        self.assertEqual(status, 0)
        for path in ("none/access.log", "no/x.log"):
            self.assertIn(f"warning: {path}: there is no directory for this audit log, and a start does not make it", lines)
        # a start makes the state directory
        text = f"{SITE.replace('access.log', 'var/access.log')}[perimeter]\nstate_dir = var\n"
        self.assertNotIn("there is no directory", "\n".join(self.check(text)[1]))
        self.assertFalse((self.directory / "var").exists())

    def test_an_audit_log_of_several_workers_on_a_network_file_system(self) -> None:
        warning = (
            "warning: access.log: this audit log is on a network file system (nfs4), where lines of several workers may "
            "overwrite each other: use a local file system, or workers = 1"
        )
        for workers, kind, warned in ((2, "nfs4", True), (1, "nfs4", False), (2, "ext4", False)):
            self.patch(inspection, "type_of", lambda path, kind=kind: kind)
            status, lines = self.check(f"{SITE}[perimeter]\nworkers = {workers}\n")
            self.assertEqual((status, warning in lines), (0, warned), lines)

    def test_every_problem_is_reported_at_once(self) -> None:
        self.write("gw.key", key_pem(OTHER))
        self.write("ca.crt", b"x")
        self.write("users.realm", b"bob:\n")
        self.assertEqual(len(self.check()[1]), 3)

    def test_without_files_they_need_not_exist(self) -> None:
        for name in ("gw.crt", "gw.key", "ca.crt", "users.realm", "html/404.html"):
            (self.directory / name).unlink()
        (self.directory / "html").rmdir()
        text = SITE.replace("private_key = gw.key\n", "private_key = gw.key\nprivate_key_password = file:secret\n")
        text += "[token]\nalgorithm = HS256\nsecret = env:PERIMETER_TEST_NOT_SET\n"
        status, lines = self.check(text)
        self.assertEqual(status, 1)
        self.assertEqual(len(lines), 7, lines)
        status, lines = self.check(text, files=False)
        self.assertEqual(status, 0, lines)
        self.assertIn("HOST", lines[0])
        status, lines = self.check(text.replace("port = 9443", "port = x"), files=False)
        self.assertEqual((status, len(lines)), (1, 1))

    def test_nothing_is_made(self) -> None:
        before = sorted(self.directory.rglob("*"))
        self.check()
        self.assertEqual(sorted(self.directory.rglob("*")), sorted({*before, self.site}))
