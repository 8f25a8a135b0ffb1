"""``perimeter login --provider`` and ``perimeter doctor`` with a certified OpenID provider."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.integration.harness import GatewayCase
from tests.integration.oidcpeer import SECRET, shared_provider

CALLBACK = "https://gw.example/.perimeter/callback/corp"

SITE = """\
[perimeter]
state_dir = state

[listener http]
port = 8080
interface = 127.0.0.1

[provider corp]
type = oidc
issuer = {url}
client_id = gateway
client_secret = {secret}
redirect_uri = {callback}
role_map = /ops/admins: admin
require = email_verified:true
{options}

[upstream sample]
servers = sample:

[route all]
path = /
upstream = sample
{more}
"""

PROGRAM = "from perimeter.cli.main import main; main()"


class CommandCase(GatewayCase):
    def setUp(self) -> None:
        super().setUp()
        self.peer = shared_provider()
        self.peer.client(CALLBACK)
        claims = {"preferred_username": "alice", "groups": ["/ops/admins", "staff"], "email_verified": True}
        self.peer.account("account-7", **claims)
        self.place = self.directory()

    def site(self, options: str = "", more: str = "", url: str = "", secret: str = SECRET) -> Path:
        path = self.place / "site.ini"
        path.write_text(SITE.format(url=url or self.peer.url, secret=secret, callback=CALLBACK, options=options, more=more))
        return path


class LoginTests(CommandCase):
    def login(self, *arguments: str, options: str = "", change: str = "", secret: str = SECRET) -> tuple[int, str]:
        """Status and output. ``change`` is added to the address at which the browser arrives."""
        command = [sys.executable, "-c", PROGRAM, "login", "-c", str(self.site(options, secret=secret)), *arguments]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        with subprocess.Popen(command, text=True, **pipes) as program:  # type: ignore[call-overload]
            shown = program.stderr.readline()
            url = program.stderr.readline().strip()
            self.assertIn("Open this address", shown)
            output, errors = program.communicate(f"{self.peer.sign_in(url, 'account-7')}{change}\n", timeout=60)
        for secret_part in (secret, "code="):
            self.assertNotIn(secret_part, output + errors)
        return program.returncode, output

    def test_a_sign_in_is_explained(self) -> None:
        status, output = self.login("--provider", "corp", "--explain")
        self.assertEqual(status, 0, output)
        for line in (
            '    claim groups = ["/ops/admins", "staff"]',
            '    username_claim = preferred_username: "alice"',
            "    role_map: /ops/admins gives admin",
            "    role_map does not have, so left out: staff",
            "    require = email_verified:true: is met",
            "user 'alice' of realm corp, roles: admin",
            "login succeeds",
        ):
            self.assertIn(f"{line}\n", output)
        self.assertNotIn("nonce", output)

    def test_without_explain_as_json(self) -> None:
        status, output = self.login("--provider", "corp", "--json")
        found = json.loads(output)
        self.assertEqual((status, found["result"]), (0, "succeeds"))
        self.assertEqual(found["steps"][0], "user 'alice' of realm corp, roles: admin")
        self.assertNotIn("claim", output)

    def test_a_user_who_may_not_come_in(self) -> None:
        status, output = self.login("--provider", "corp", "--explain", options="allow_groups = /qa")
        self.assertEqual(status, 1)
        self.assertIn("    allow_groups: the user is in none of them, so the sign-in is refused\n", output)
        self.assertIn("login fails: user 'alice': the user is in none of `allow_groups`\n", output)

    def test_what_the_operator_has_to_correct(self) -> None:
        status, output = self.login("--provider", "corp", secret="not the one")
        self.assertEqual(status, 1)
        self.assertIn("invalid_client", output)

    def test_attack_o1_an_address_of_another_sign_in_is_not_taken(self) -> None:
        status, output = self.login("--provider", "corp", change="&state=other")
        self.assertEqual((status, output), (1, "login fails: a parameter of the address came twice\n"))


class DoctorTests(CommandCase):
    def doctor(self, path: Path) -> list[tuple[str, str, str, str]]:
        command = [sys.executable, "-c", PROGRAM, "doctor", "-c", str(path), "--json"]
        done = subprocess.run(command, capture_output=True, timeout=60, check=False)
        found = json.loads(done.stdout)["findings"]
        return [
            (one["name"], one["grade"], one["subject"], one["message"])
            for one in found
            if one["name"].startswith(("provider", "clock-differs", "configuration-fault"))
        ]

    def test_what_the_provider_lacks(self) -> None:
        found = self.doctor(self.site())
        self.assertEqual([], [one for one in found if one[1] != "advice"], found)
        self.assertNotIn("PKCE", str(found))

    def test_a_provider_that_is_down_or_is_another(self) -> None:
        ((name, grade, subject, message),) = self.doctor(self.site(url="http://127.0.0.1:9"))
        self.assertEqual((name, grade, subject), ("provider-down", "fails", "[provider corp]"))
        self.assertIn("the provider corp", message)
        other = self.peer.url.replace("127.0.0.1", "localhost")
        ((name, grade, subject, message),) = self.doctor(self.site(url=other))
        self.assertEqual((name, grade, subject), ("provider-refuses", "fails", "[provider corp]"))
        self.assertIn("another issuer", message)
