"""Configurations as sites have them, each with the site.ini that it becomes (``tests/data/imports``)."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import TestCase

from tests.unit.doubles.drafts import DATA
from tests.unit.doubles.imported import Imported

EXAMPLES = DATA / "imports"
SITE = "site.ini"


class ExampleTests(TestCase):
    def imported(self, example: Path) -> Imported:
        directory = Path(self.mktemp()).resolve()
        directory.mkdir(parents=True)
        sources = {path.name: path.read_text() for path in sorted(example.iterdir()) if path.name != SITE}
        gateway = Imported(directory, sources)
        self.addCleanup(gateway.close)
        return gateway

    def test_each_becomes_its_site_ini_and_passes_check(self) -> None:
        examples = sorted(EXAMPLES.iterdir())
        self.assertGreaterEqual(len(examples), 10)
        for example in examples:
            gateway = self.imported(example)
            written = gateway.site.read_text().replace(f"{gateway.site.parent}/", "")
            expected = (example / SITE).read_text()
            self.assertEqual(written, expected, example.name)
            self.assertEqual(gateway.status, 3 if "; Not translated:" in expected else 0, example.name)
            for one in gateway.served():
                self.assertIsNone(gateway.principal(one.name, "/whoami", ""), example.name)
                self.assertFalse(gateway.open_without_credentials(one.name, "/apps"), example.name)

    def test_no_secret_is_in_a_site_ini_or_a_message(self) -> None:
        secrets = ("hushhush", "changeit", "routerpass", "authpass", "trustpass", "readerpass", "generatorpass", "changeme")
        for example in sorted(EXAMPLES.iterdir()):
            gateway = self.imported(example)
            for secret in (*secrets, "4f2a8d1c9b7e"):
                self.assertNotIn(secret, gateway.site.read_text() + gateway.output, example.name)

    def test_what_the_gateway_would_not_accept_is_left_out_and_the_rest_passes_check(self) -> None:
        handler = "security.authentication.handler"
        ldap = {f"{handler}ClassName": "io.cdap.cdap.security.server.LDAPAuthenticationHandler", f"{handler}.hostname": "ldap"}
        ldap |= {f"{handler}.userBaseDn": "dc=example"}
        cases: list[tuple[str, dict[str, str]]] = [
            ("site.xml", {**ldap, f"{handler}.port": "0x1"}),
            ("site.xml", {**ldap, f"{handler}.userBaseDn": "example"}),
            ("site.xml", {**ldap, f"{handler}.bindDn": "cn=reader"}),
            ("site.xml", {"router.bind.port": "100000"}),
            ("site.xml", {"security.auth.server.announce.urls": "gw.example.com"}),
            ("site.xml", {"security.server.token.expiration.ms": "0"}),
            ("a.yaml", {"providers": "[{type: ecmwf-api, name: e, realm: r}]", "bind_address": "127.0.0.1:1"}),
            ("a.yaml", {"providers": "[{type: jwt, name: token, cert_uri: no}]", "bind_address": "127.0.0.1:1"}),
            ("a.yaml", {"providers": "[]", "bind_address": "127.0.0.1:1", "auth": "{timeout_in_ms: 0}"}),
            ("a.yaml", {"providers": "[]", "bind_address": "127.0.0.1:1", "jwt": "{exp: 0}"}),
            ("a.yaml", {"providers": "[]", "bind_address": "127.0.0.1:1", "metrics": "{port: 70000}"}),
        ]
        for name, given in cases:
            directory = Path(self.mktemp()).resolve()
            directory.mkdir(parents=True)
            xml = "".join(f"<property><name>{key}</name><value>{value}</value></property>" for key, value in given.items())
            text = xml if name.endswith("xml") else "".join(f"{key}: {value}\n" for key, value in given.items())
            gateway = Imported(directory, {name: text})
            self.addCleanup(gateway.close)
            self.assertEqual((gateway.status, len(gateway.left)), (3, 1), f"{given}: {gateway.output}")
