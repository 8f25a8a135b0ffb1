"""The commands of Reactor's manual, chapters "Testing Security" and "Obtaining an Access Token", exactly as written there.

They run against the shipped ``etc/site.ini``; only its ports and the paths that it writes to are changed.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from base64 import b64encode

import attrs

from tests.integration.harness import ETC, Gateway, GatewayCase


@attrs.frozen
class Answer:
    """The output of ``curl -v``. Header names are in lower case."""

    status: int
    fields: dict[str, str]
    body: str

    @property
    def json(self) -> object:
        """The parsed body."""
        return json.loads(self.body)


class SeedCase(GatewayCase):
    def setUp(self) -> None:
        self.need("curl")
        self.site = self.shipped("site.ini")

    def shipped(self, name: str) -> Gateway:
        """A running gateway with a file of ``etc``."""
        config = (ETC / name).read_text()
        config, ports = re.subn(r"(?m)^port = (\d+)", r"port = @\1@", config)
        self.assertGreater(ports, 0)
        config = config.replace("../var", "var")
        files = {path.name: path.read_bytes() for path in ETC.glob("*.realm")}
        return self.gateway(config, files)

    def run_as_written(self, command: str) -> Answer:
        """Run a line of the manual with ``<base-url>`` and ``<gateway>`` filled in. ``-k`` is for the self-signed certificate."""
        command = command.replace("<base-url>", f"https://127.0.0.1:{self.site['9443']}")
        command = command.replace("<gateway>:10009", f"127.0.0.1:{self.site['10009']}")
        words = shlex.split(command)
        self.assertEqual(words[0], "curl")
        result = subprocess.run(
            ["curl", "-k", "--no-progress-meter", *words[1:]], capture_output=True, text=True, timeout=30, check=True
        )
        shown = [line[2:] for line in result.stderr.splitlines() if line.startswith("< ")]
        pairs = (line.partition(":") for line in shown[1:] if line)
        fields: dict[str, str] = {}
        for name, _, value in pairs:
            fields.setdefault(name.lower(), value.strip())  # of two challenges the first, which is Reactor's
        return Answer(int(shown[0].split()[1]), fields, result.stdout)

    def token(self) -> str:
        answer = self.run_as_written("curl -v -u alice:wonderland http://<gateway>:10009")
        assert isinstance(answer.json, dict)
        return str(answer.json["access_token"])


class TestingSecurityTests(SeedCase):
    def test_without_a_token(self) -> None:
        answer = self.run_as_written("curl -v <base-url>/apps")
        self.assertEqual(answer.status, 401)
        self.assertEqual(answer.fields["www-authenticate"], 'Bearer realm="example"')
        assert isinstance(answer.json, dict)
        # a client of Reactor reads every value as a list, so there must be no other values
        self.assertEqual(list(answer.json), ["auth_uri"])
        self.assertIn(f"https://127.0.0.1:{self.site['9443']}/token", answer.json["auth_uri"])

    def test_obtaining_a_token_without_a_path(self) -> None:
        answer = self.run_as_written("curl -v -u alice:wonderland http://<gateway>:10009")
        self.assertEqual(answer.status, 200)
        self.assertEqual(answer.fields["content-type"], "application/json;charset=UTF-8")
        self.assertEqual((answer.fields["cache-control"], answer.fields["pragma"]), ("no-store", "no-cache"))
        assert isinstance(answer.json, dict)
        self.assertEqual(set(answer.json), {"access_token", "token_type", "expires_in", "token"})
        self.assertEqual((answer.json["token_type"], answer.json["expires_in"]), ("Bearer", 86400))

    def test_with_the_token(self) -> None:
        answer = self.run_as_written(f'curl -v -H "Authorization: Bearer {self.token()}" <base-url>/apps')
        self.assertEqual(answer.status, 200)
        self.assertIn("alice", answer.body)

    def test_wrong_password(self) -> None:
        answer = self.run_as_written("curl -v -u alice:wrong http://<gateway>:10009")
        self.assertEqual(answer.status, 401)
        self.assertNotIn("access_token", answer.body)

    def test_everything_is_in_the_audit_log(self) -> None:
        self.run_as_written("curl -v <base-url>/apps")
        token = self.token()
        self.run_as_written(f'curl -v -H "Authorization: Bearer {token}" <base-url>/apps')
        log = self.site.await_audit(3, "var/access.log")
        shape = r'127\.0\.0\.1 {} \[\d\d/\w{{3}}/\d{{4}}:\d\d:\d\d:\d\d [+-]\d{{4}}\] "{}" {} \d+'
        for line, user, request, status in zip(
            log,
            ("-", "alice", "alice"),
            ("GET /apps HTTP/1.1", "GET / HTTP/1.1", "GET /apps HTTP/1.1"),
            (401, 200, 200),
            strict=True,
        ):
            self.assertRegex(line, shape.format(user, request, status))
        self.assertNotIn(token, "".join(log))


class AccessTokenTests(SeedCase):
    def test_sample_request(self) -> None:
        """``GET /token`` with ``Authorization: Basic``, on either listener."""
        basic = b64encode(b"bob:builder").decode()
        for base in ("http://<gateway>:10009", "<base-url>"):
            answer = self.run_as_written(f'curl -v -H "Authorization: Basic {basic}" {base}/token')
            self.assertEqual(answer.status, 200)
            assert isinstance(answer.json, dict)
            self.assertEqual(answer.json["expires_in"], 86400)

    def test_extended_token(self) -> None:
        answer = self.run_as_written("curl -v -u bob:builder http://<gateway>:10009/extendedtoken")
        assert isinstance(answer.json, dict)
        self.assertEqual(answer.json["expires_in"], 7 * 86400)

    def test_status(self) -> None:
        answer = self.run_as_written("curl -v http://<gateway>:10009/status")
        self.assertEqual((answer.status, answer.body.strip()), (200, "OK"))

    def test_invalid_token(self) -> None:
        answer = self.run_as_written('curl -v -H "Authorization: Bearer wohng8Xae7thahfohshahphaeNeeM5ie" <base-url>/resource')
        self.assertEqual(answer.status, 401)
        assert isinstance(answer.json, dict)
        description = answer.json["error_description"]
        self.assertEqual(
            answer.fields["www-authenticate"],
            f'Bearer realm="example", error="invalid_token", error_description="{description}"',
        )
        self.assertEqual(list(answer.json), ["error", "error_description", "auth_uri"])
        self.assertEqual(answer.json["error"], "invalid_token")

    def test_malformed_request(self) -> None:
        answer = self.run_as_written('curl -v -H "Authorization: Bearer" <base-url>/resource')
        self.assertIn(answer.status, (400, 401))
        answer = self.run_as_written('curl -v -H "Authorization: Bearer a b" <base-url>/resource')
        self.assertEqual(answer.status, 400)
        assert isinstance(answer.json, dict)
        self.assertEqual(answer.json["error"], "invalid_request")
