"""The configurations in `etc/` for the two systems that Perimeter replaces pass the check, and work in front of real services.

Only ports and addresses are changed, to free ports on the loopback interface.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jwt
from twisted.trial.unittest import TestCase

from perimeter.cli.checking import run_check
from tests.integration.harness import ETC, Gateway, GatewayCase
from tests.integration.wire import basic, bearer

ALICE = basic("alice", "wonderland")


class ShippedTests(GatewayCase):
    def _shipped(self, name: str, servers: str, upstream: str) -> Gateway:
        """``etc/NAME`` with ``servers`` of its upstream replaced, and each listener on a free port of 127.0.0.1."""
        text = (ETC / name).read_text()
        self.assertIn(f"servers = {servers}", text)
        text = text.replace(f"servers = {servers}", f"servers = {upstream}").replace("../var", "var")
        text = re.sub(r"^interface = .*\n", "", text, flags=re.M)
        text = re.sub(r"\[listener ([a-z-]+)\]\nport = \d+", lambda m: f"[listener {m[1]}]\nport = @{_mark(m[1])}@", text)
        text = re.sub(r"^(port = @.*)$", r"\1\ninterface = 127.0.0.1", text, flags=re.M)
        text = re.sub(r"^redirect_to = 443$", "redirect_to = @https@", text, flags=re.M)
        gateway = self.unstarted(text, {"users.realm": (ETC / "users.realm").read_bytes()})
        shutil.copytree(ETC / "html", gateway.directory / "html")
        (gateway.directory / "var").mkdir()
        return gateway

    def test_reactor_in_front_of_nginx(self) -> None:
        nginx = self.nginx({"apps": b'["purchases"]', "index.html": b"dashboard"})
        gateway = self._shipped("reactor.ini", "http://127.0.0.1:11015", nginx.url).start()
        router = self.connect(gateway, "router", tls=True)
        refused = router.get("/apps")
        self.assertEqual((refused.status, refused.get("www-authenticate")), (401, 'Bearer realm="reactor"'))
        announced = json.loads(refused.text)["auth_uri"]
        self.assertIn(f"https://127.0.0.1:{gateway['tokens_tls']}/token", announced)
        for listener, tls in (("tokens", False), ("tokens_tls", True)):
            issued = self.connect(gateway, listener, tls=tls).get("/", ALICE)
            self.assertEqual(issued.status, 200)
            token = json.loads(issued.text)
            self.assertEqual((token["token_type"], token["expires_in"]), ("Bearer", 86400))
            answer = router.get("/apps", f"Authorization: Bearer {token['access_token']}")
            self.assertEqual((answer.status, answer.text), (200, '["purchases"]'))
        lines = gateway.await_audit(5, "var/access.log")
        self.assertRegex(
            lines[0], r'^127\.0\.0\.1 - \[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\] "GET /apps HTTP/1\.1" 401 \d+$'
        )
        self.assertRegex(lines[2], r'^127\.0\.0\.1 alice \[.*\] "GET /apps HTTP/1\.1" 200 13$')

    def test_ecflow_in_front_of_a_twisted_app(self) -> None:
        echo = self.echo()
        gateway = self._shipped("ecflow.ini", "http://127.0.0.1:8888", echo.url).start()
        https = self.connect(gateway, "https", tls=True)

        moved = self.connect(gateway, "http", tls=False).get("/v1/ecflow?x=1", host="gw.example.com")
        self.assertEqual(moved.status, 301)
        self.assertEqual(moved.get("location"), f"https://gw.example.com:{gateway['https']}/v1/ecflow?x=1")

        self.assertEqual((https.get("/").status, https.get("/v1/ecflow", method="POST", body=b"{}").status), (200, 401))

        command = https.get("/v1/ecflow", ALICE, "X-Auth-Password: forged", method="POST", body=b'{"ping":1}')
        self.assertEqual(command.status, 200)
        seen = json.loads(command.text)
        fields = dict(seen["headers"])
        self.assertEqual((seen["method"], seen["uri"], seen["length"]), ("POST", "/v1/ecflow", 10))
        self.assertEqual((fields["x-auth-username"], fields["x-auth-realm"], fields["x-auth-roles"]), ("alice", "local", "admin"))
        self.assertNotIn("x-auth-password", fields)
        self.assertEqual(
            (fields["x-real-ip"], fields["x-forwarded-for"], fields["x-forwarded-proto"]), ("127.0.0.1", "127.0.0.1", "https")
        )
        self.assertEqual(fields["host"], "gateway.test")
        assertion = fields["authorization"].removeprefix("Bearer ")
        keys = jwt.PyJWKSet.from_dict(json.loads(https.get("/.well-known/jwks.json").text))
        key = keys[jwt.get_unverified_header(assertion)["kid"]]
        claims = jwt.decode(assertion, key, algorithms=["ES256"], audience="upstream:ecflow", issuer="authotron-issuer")
        self.assertEqual((claims["username"], claims["roles"]), ("alice", ["admin"]))
        self.assertEqual(https.get("/v1/ecflow", bearer(assertion)).status, 401)

        gateway.await_audit(3, "var/access.ecflow.log")
        gateway.await_audit(3, "var/access.base.log")  # the redirect, the page, the key set

    def test_ecflow_error_page_while_the_server_is_down(self) -> None:
        gateway = self._shipped("ecflow.ini", "http://127.0.0.1:8888", "http://127.0.0.1:@closed@").start()
        https = self.connect(gateway, "https", tls=True)
        down = https.get("/v1/ecflow", ALICE)
        self.assertEqual((down.status, down.body), (502, (ETC / "html" / "50x.html").read_bytes()))
        self.assertEqual(
            json.loads(https.get("/v1/ecflow", ALICE, "Accept: application/json").text)["error"], "upstream_unreachable"
        )
        self.assertEqual(https.get("/50x.html").status, 200)


class CheckTests(TestCase):
    def test_every_shipped_configuration_checks(self) -> None:
        for name in ("site.ini", "reactor.ini", "ecflow.ini", "provider.ini"):
            status, text = run_check(ETC / name)
            self.assertEqual(status, 0, f"{name}: {text}")

    def test_twistd_check_binds_and_makes_nothing(self) -> None:
        site = Path(self.mktemp())
        shutil.copytree(ETC, site)
        script = "import sys; sys.argv[0] = 'twistd'; from twisted.scripts.twistd import run; run()"
        command = [sys.executable, "-c", script, "perimeter", "--config", str(site / "site.ini"), "--check"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("sample", done.stdout)
        self.assertFalse((site.parent / "var").exists())


def _mark(listener: str) -> str:
    return listener.replace("-", "_")
