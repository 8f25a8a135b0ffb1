"""docs/how-to/several-machines.md with its own files: two gateways behind HAProxy, whose state is on Redis with Sentinels."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from unittest import SkipTest

from twisted.trial.unittest import TestCase

from perimeter.cli.checking import run_check
from tests.integration.fleet import asked
from tests.integration.ldapkit import shared
from tests.integration.ports import eventually
from tests.integration.redispeer import program
from tests.integration.several_machines import HOST, Example
from tests.integration.test_doctor import doctor
from tests.integration.wire import Response, basic, bearer

ALICE = basic("alice", "wonderland")


class SeveralMachinesTests(TestCase):
    def setUp(self) -> None:
        for name in ("server", "sentinel"):
            program(name)  # skips the test
        if shutil.which("haproxy") is None:
            raise SkipTest("haproxy not installed: scripts/install-test-peers installs all that is needed")
        self.example = shared(Example)

    def make(self) -> Response:
        """Ask for an API token."""
        return self.example.ask("/tokens", ALICE, "Content-Type: application/json", method="POST", body=b'{"name": "ci"}')

    def made(self) -> dict[str, str]:
        """A new API token."""
        response = self.make()
        self.assertEqual(response.status, 201, response)
        return dict(json.loads(response.body))

    def test_the_balancer_uses_both_gateways_and_they_see_the_client(self) -> None:
        """Curl verifies the certificate of the gateway, through HAProxy."""
        url = f"https://{HOST}:{self.example.balanced}/curl"
        command = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-u", "alice:wonderland", "--interface", "127.0.0.5"]
        command += ["--cacert", str(self.example.directory / "ca.pem"), "--resolve", f"{HOST}:{self.example.balanced}:127.0.0.1"]
        for _ in range(4):
            done = subprocess.run([*command, url], capture_output=True, text=True, timeout=30, check=False)
            self.assertEqual(done.stdout, "200", done)
        for gateway in self.example.gateways:
            eventually(lambda gateway=gateway: any("GET /curl" in line for line in gateway.audit()), "each has answered")
            self.assertTrue(all(line.startswith("127.0.0.5 ") for line in gateway.audit() if "GET /curl" in line))

    def test_a_token_is_good_at_both_gateways_until_it_is_revoked(self) -> None:
        token = self.made()
        for number in (0, 1):
            self.assertEqual(self.example.ask_directly(number, "/x", bearer(token["token"])).status, 200)
        self.assertEqual(self.example.ask(f"/token/{token['id']}", ALICE, method="DELETE").status, 204)
        answered = time.monotonic()
        for number in (0, 1):
            while self.example.ask_directly(number, "/x", bearer(token["token"])).status == 200:
                self.assertLess(time.monotonic() - answered, 1.0)
            self.assertEqual(self.example.ask_directly(number, "/x", bearer(token["token"])).status, 401)

    def test_check_and_status_name_both(self) -> None:
        status, text = run_check(self.example.gateways[0].config)
        self.assertEqual(status, 0, text)
        self.assertIn("with TLS, as user gateway; this is node gw-1", text)
        eventually(lambda: len(self.nodes()) == 2, "both have written their records")
        self.assertEqual([one["state"] for one in self.nodes()], ["serving", "serving"])

    def nodes(self) -> list[dict[str, str]]:
        found: list[dict[str, str]] = asked(self.example.gateways[0], "status")["nodes"]
        return found

    def test_doctor_has_nothing_to_say_about_redis_and_the_files(self) -> None:
        _, text = doctor(self.example.gateways[0].config, "--json", "--ignore", "node-differs")  # their ports differ
        names = {one["name"] for one in json.loads(text)["findings"]}
        # what is left is about this machine, and about alice
        of_tests = {"interpreter-slow", "descriptors-few", "clock-not-synchronised", "password-guessed", "state-volatile"}
        self.assertEqual(names - of_tests, set(), text)

    def test_a_gateway_that_is_killed_is_left(self) -> None:
        gateway = self.example.gateways[1]
        gateway.kill()
        try:
            # until a check has failed, a connection may reach a process that ends
            eventually(self.answers, "HAProxy has left the gateway")
            self.assertEqual([self.example.ask("/x", ALICE).status for _ in range(4)], [200] * 4)
        finally:
            gateway.start()
        eventually(lambda: self.example.ask_directly(1, "/x", ALICE).status == 200, "it serves again", 15)

    def answers(self) -> bool:
        """Whether four connections in a row get an answer."""
        try:
            return [self.example.ask("/x", ALICE).status for _ in range(4)] == [200] * 4
        except (OSError, EOFError):
            return False

    def test_the_primary_is_killed(self) -> None:
        kept, gone = self.made(), self.made()
        self.assertEqual(self.example.ask(f"/token/{gone['id']}", ALICE, method="DELETE").status, 204)
        primary = next(one for one in self.example.servers if one.ask("ROLE")[0] == b"master")
        primary.kill()
        try:
            eventually(lambda: self.make().status == 201, "a token is made", 15)
            for number in (0, 1):
                self.await_only(200, number, kept["token"])
                self.await_only(401, number, gone["token"])
        finally:
            primary.start()

    def await_only(self, wanted: int, number: int, token: str) -> None:
        """Wait until a gateway answers ``wanted`` to a token; before that only 503 is right."""

        def answered() -> bool:
            status = self.example.ask_directly(number, "/x", bearer(token)).status
            self.assertIn(status, (wanted, 503))
            return status == wanted

        eventually(answered, f"gateway {number} knows the token", 15)
