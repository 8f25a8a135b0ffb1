"""The examples of the manuals, imported and run: only ports, addresses and places of files are others."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import jwt
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from perimeter.cli.main import main
from tests.integration.harness import Gateway, GatewayCase
from tests.integration.ports import free_port
from tests.integration.wire import basic
from tests.unit.doubles.java_keystore import key_entry, keystore, protect

DATA = Path(__file__).parents[1] / "data"
SOMEUSER = basic("someuser", "somesecret")


def java_keystore(password: str) -> bytes:
    """A keystore that keytool makes for localhost."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now - timedelta(1), now + timedelta(1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, SHA256())
    )
    pkcs8 = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    return keystore([key_entry("gw", protect(pkcs8, password), [certificate.public_bytes(Encoding.DER)])], password)


class ImportedTests(GatewayCase):
    def imported(self, sources: dict[str, str], html: dict[str, bytes] | None = None) -> Gateway:
        """A gateway with the site.ini imported from ``sources`` (name: text), each listener on a free port of 127.0.0.1."""
        directory = self.directory()
        for name, text in sources.items():
            (directory / name).write_text(text.replace("@here@", str(directory)))
        for name, content in (html or {}).items():
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            (directory / name).write_bytes(content)
        result = CliRunner().invoke(
            main, ["import", *(str(directory / name) for name in sources), "-o", str(directory / "site.ini")]
        )
        self.assertEqual(result.exit_code, 0, result.output)
        self.assertNotIn("not translated", result.output)
        text = re.sub(r"^interface = .*\n", "", (directory / "site.ini").read_text(), flags=re.M)
        text = re.sub(
            r"\[listener ([a-z0-9-]+)\]\nport = \d+",
            lambda match: f"[listener {match[1]}]\nport = @{match[1].replace('-', '_')}@\ninterface = 127.0.0.1",
            text,
        )
        text = re.sub(r"^redirect_to = 443$", "redirect_to = @https@", text, flags=re.M)
        gateway = Gateway(directory, text)
        self.addCleanup(gateway.stop)
        return gateway.start()

    def test_the_whole_chain_of_ecflow(self) -> None:
        echo = self.echo()
        nginx = (DATA / "ecflow.nginx.conf").read_text()
        nginx = nginx.replace("localhost:8888", f"127.0.0.1:{echo.port}").replace("/usr/share/nginx/html/server", "@here@/html")
        gateway = self.imported(
            {"config.yaml": (DATA / "authotron.yaml").read_text(), "nginx.conf": nginx},
            {"html/index.html": b"welcome", "html/50x.html": b"sorry"},
        )
        https = self.connect(gateway, "https")
        self.assertEqual(https.get("/").body, b"welcome")
        self.assertEqual(https.get("/access.base.log").status, 404)
        refused = https.get("/v1/ecflow", method="POST", body=b"{}")
        self.assertEqual(refused.status, 401)
        self.assertIn('realm="local"', " ".join(refused.get_all("www-authenticate")))
        answer = https.get("/v1/ecflow", SOMEUSER, "X-Auth-Roles: forged", method="POST", body=b"{}")
        self.assertEqual(answer.status, 200, answer.text)
        fields = dict(json.loads(answer.text)["headers"])
        self.assertEqual((fields["x-auth-username"], fields["x-auth-realm"]), ("someuser", "local"))
        self.assertNotEqual(fields.get("x-auth-roles"), "forged")
        keys = jwt.PyJWKSet.from_dict(json.loads(https.get("/.well-known/jwks.json").text))
        assertion = fields["authorization"].removeprefix("Bearer ")
        key = keys[jwt.get_unverified_header(assertion)["kid"]]
        claims = jwt.decode(assertion, key, algorithms=["ES256"], options={"verify_aud": False}, issuer="authotron-issuer")
        self.assertEqual(claims["username"], "someuser")
        moved = self.connect(gateway, "http").get("/x?y", host="gw.example.com")
        self.assertEqual((moved.status, moved.get("location")), (301, f"https://gw.example.com:{gateway['https']}/x?y"))
        lines = gateway.await_audit(2, "access.ecflow.log")
        self.assertRegex(lines[1], r'^127\.0\.0\.1 - someuser \[.*\] "POST /v1/ecflow HTTP/1\.1" 200 ')

    def test_auth_o_tron_alone(self) -> None:
        gateway = self.imported({"config.yaml": (DATA / "authotron.yaml").read_text()})
        wire = self.connect(gateway, "auth_o_tron")
        self.assertEqual(wire.get("/authenticate").status, 401)
        answer = wire.get("/authenticate", SOMEUSER)
        self.assertEqual((answer.status, answer.get("x-auth-username"), answer.get("x-auth-realm")), (200, "someuser", "local"))
        token = json.loads(wire.get("/token", SOMEUSER).text)
        self.assertEqual(token["expires_in"], 3600)

    def test_reactor_with_its_keystore_and_its_log(self) -> None:
        site = (DATA / "continuuity-site.xml").read_text().replace("/home/john/keystore.jks", "@here@/keystore.jks")
        site = site.replace("<value>389</value>", f"<value>{free_port()}</value>")
        gateway = self.imported(
            {"continuuity-site.xml": site.replace("example.com", "127.0.0.1"), "logback.xml": (DATA / "logback.xml").read_text()},
            {"keystore.jks": java_keystore("password")},
        )
        router = self.connect(gateway, "router", tls=True)
        refused = router.get("/apps")
        self.assertEqual(refused.status, 401)
        self.assertIn(f"https://127.0.0.1:{gateway['tokens_tls']}/token", json.loads(refused.text)["auth_uri"])
        # no directory listens on the port: that is not a wrong password
        for listener, tls in (("tokens", False), ("tokens_tls", True)):
            answer = self.connect(gateway, listener, tls=tls).get("/token", SOMEUSER)
            self.assertEqual(answer.status, 503, answer.text)
        lines = gateway.await_audit(3)
        self.assertRegex(lines[0], r'^127\.0\.0\.1 - \[.*\] "GET /apps HTTP/1\.1" 401 \d+$')
