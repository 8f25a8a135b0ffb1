"""``perimeter status`` shows what is wrong, the worst first. The operator's commands work with a broken site.ini."""

from __future__ import annotations

import json
import socket
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.integration.harness import USERS, Gateway, GatewayCase, site
from tests.integration.netkit import identity, pem
from tests.integration.ports import eventually, free_port
from tests.integration.test_operator import Ran
from tests.integration.wire import basic

ROUTES = """\
[upstream app]
servers = {servers}
connect_timeout = 1s

[route all]
path = /
upstream = app
"""


class StatusCase(GatewayCase):
    def status(self, gateway: Gateway) -> tuple[int, list[str]]:
        """The exit status, and the problems."""
        ran = Ran("status", "--config", str(gateway.config))
        lines = ran.output.splitlines()
        problems = [line.removeprefix("problem: ") for line in lines if line.startswith("problem: ")]
        self.assertEqual(lines[: len(problems)], [f"problem: {one}" for one in problems], "they come first")
        return ran.status, problems


class ProblemTests(StatusCase):
    def test_a_gateway_without_a_problem(self) -> None:
        gateway = self.gateway(site(ROUTES.format(servers=self.upstream().url)), USERS)
        self.assertEqual(self.status(gateway), (0, []))
        self.assertEqual(json.loads(Ran("status", "--json", "--config", str(gateway.config)).output)["problems"], [])

    def test_a_service_that_is_down_and_was_not_used(self) -> None:
        port = free_port()
        gateway = self.gateway(site(ROUTES.format(servers=f"http://127.0.0.1:{port}")), USERS)
        self.assertEqual(
            self.status(gateway),
            (
                1,
                [
                    f"upstream app: http://127.0.0.1:{port}: nothing listens there (connection refused): is it running, and is "
                    "the port right?"
                ],
            ),
        )
        ran = Ran("status", "--json", "--config", str(gateway.config))
        self.assertEqual((ran.status, json.loads(ran.output)["problems"][0]["subject"]), (1, "upstream"))

    def test_a_service_that_does_not_answer(self) -> None:
        with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
            port = full.getsockname()[1]
            waiting = [socket.socket() for _ in range(3)]
            for one in waiting:
                one.setblocking(False)
                one.connect_ex(("127.0.0.1", port))
                self.addCleanup(one.close)
            gateway = self.gateway(site(ROUTES.format(servers=f"http://127.0.0.1:{port}")), USERS)
            code, (problem,) = self.status(gateway)
            self.assertEqual(code, 1)
            self.assertIn("no answer within 1 s: a firewall may drop the packets", problem)

    def test_one_of_two_servers_is_down(self) -> None:
        good, dead = self.upstream().url, free_port()
        gateway = self.gateway(site(ROUTES.format(servers=f"{good}, http://127.0.0.1:{dead}")), USERS)
        code, (problem,) = self.status(gateway)
        self.assertEqual((code, f"http://127.0.0.1:{dead}: nothing listens" in problem), (1, True))

    def test_a_directory_that_is_down(self) -> None:
        port = free_port()
        ldap = f"[authenticator corp]\ntype = ldap\nhostname = 127.0.0.1:{port}\nuser_base_dn = dc=x\ntls = none\n"
        gateway = self.gateway(site(ROUTES.format(servers="sample:"), extra=ldap), USERS)
        code, (problem,) = self.status(gateway)
        self.assertEqual(code, 1)
        self.assertTrue(problem.startswith("authenticator corp: the directory of corp cannot be asked: 127.0.0.1:"), problem)
        self.assertIn("nothing listens there", problem)
        shown = Ran("status", "--config", str(gateway.config)).output
        self.assertRegex(shown, "corp +cannot be used at the moment +ldap +corp\nlocal +in use +realmfile +local\n")

    def test_the_keys_of_an_issuer_that_is_down(self) -> None:
        url = f"http://127.0.0.1:{free_port()}/jwks"
        jwt = f"[authenticator sso]\ntype = jwt\nissuer = https://sso\naudience = gw\ncert_uri = {url}\n"
        gateway = self.gateway(site(ROUTES.format(servers="sample:"), extra=jwt), USERS)
        code, (problem,) = self.status(gateway)
        self.assertEqual(code, 1)
        self.assertIn("authenticator sso: the issuer of sso cannot be asked: nothing listens there", problem)

    def test_a_realm_file_with_a_bad_line(self) -> None:
        gateway = self.gateway(site(ROUTES.format(servers="sample:")), USERS)
        (gateway.directory / "users.realm").write_text("alice: {plain}x\nbob:\n")
        gateway.await_log("the users read before stay in force")
        code, (problem,) = self.status(gateway)
        self.assertEqual((code, "users.realm:2: user 'bob' has no password" in problem), (1, True))

    def test_certificates(self) -> None:
        now = datetime.now(UTC)
        for start, days, words in ((now - timedelta(50), 55, "expires on"), (now - timedelta(100), 50, "expired on")):
            dated = identity("gw.example", start=start, days=days)
            key: Any = dated.key
            files: dict[str, str | bytes] = {
                **USERS,
                "gw.crt": pem(*dated.chain),
                "gw.key": key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
            }
            config = site(ROUTES.format(servers="sample:"), tls=True).replace(
                "tls = yes\n", "tls = yes\ncertificate = gw.crt\nprivate_key = gw.key\n"
            )
            gateway = self.gateway(config, files)
            code, (problem,) = self.status(gateway)
            self.assertEqual(code, 1)
            self.assertIn(f"certificate https: {gateway.directory}/gw.crt: the certificate of CN=gw.example {words}", problem)

    def test_a_refused_reload(self) -> None:
        gateway = self.gateway(site(ROUTES.format(servers="sample:")), USERS)
        gateway.configure(site(ROUTES.format(servers="sample:")).replace("type = realmfile", "type = realmfil"))
        gateway.reload()
        ran = Ran("status", "--state-dir", str(gateway.directory / "state"))
        self.assertEqual(ran.status, 1)
        self.assertIn("the last reload was refused, the earlier configuration is in force: ", ran.output)
        self.assertIn("did you mean realmfile?", ran.output)
        gateway.configure(site(ROUTES.format(servers="sample:")))
        gateway.reload()
        self.assertEqual(self.status(gateway), (0, []))

    def test_a_full_disk_comes_first(self) -> None:
        gateway = self.gateway(site(ROUTES.format(servers=f"http://127.0.0.1:{free_port()}")), USERS)
        log = gateway.directory / "access.log"
        log.rename(log.with_suffix(".before")) if log.exists() else None
        log.symlink_to("/dev/full")
        with gateway.connect("http") as wire:
            full = "the full disk is noticed"
            eventually(lambda: "audit_unavailable" in str(wire.get("/x", basic("alice", "secret")).body), full)
        code, problems = self.status(gateway)
        self.assertEqual(code, 1)
        self.assertEqual([problem.partition(" ")[0] for problem in problems], ["audit", "upstream"])
        self.assertIn("the audit log cannot be written (No space left on device): no request is served", problems[0])


class BrokenFileTests(StatusCase):
    """The commands for the running gateway work while site.ini has a fault, as far as its state_dir can be read."""

    def test_every_command(self) -> None:
        gateway = self.gateway(site(ROUTES.format(servers="sample:")), USERS)
        for fault in (
            ("format", "frmat"),
            ("[audit]", "[audt]"),
            ("path = access.log", "path = access.log\nno option"),
            ("type = realmfile", "type = x"),
        ):
            gateway.configure(site(ROUTES.format(servers="sample:"), extra="[logging]\nformat = console\n").replace(*fault))
            config = ("--config", str(gateway.config))
            for command, words, code in (
                (("status",), f"  {gateway['http']}  ", 0),
                (("unban", "alice"), "there were no wrong passwords", 1),
                (("token", "list"), "there are no tokens", 0),
                (("token", "revoke", "--user", "alice", "--realm", "local"), "revoked: 0 API tokens", 0),
            ):
                ran = Ran(*command, *config)
                self.assertEqual(ran.status, code, ran.output)
                self.assertIn(words, ran.output)

    def test_a_file_whose_state_dir_cannot_be_read(self) -> None:
        gateway = self.gateway(site(ROUTES.format(servers="sample:")), USERS)
        gateway.configure(site(ROUTES.format(servers="sample:")).replace("state_dir = state", "stat_dir = state"))
        ran = Ran("status", "--config", str(gateway.config))
        self.assertEqual(ran.status, 1)
        self.assertIn("did you mean state_dir?", ran.output)
        self.assertIn("--state-dir DIR asks the running gateway without this file", ran.output)

    def test_without_a_gateway_the_store_is_used(self) -> None:
        gateway = self.gateway(site(ROUTES.format(servers="sample:")), USERS)
        with gateway.connect("http") as wire:
            json_type = "Content-Type: application/json"
            made = wire.get("/tokens", basic("alice", "secret"), json_type, method="POST", body=b'{"name": "x"}')
        self.assertEqual(made.status, 201, made.body)
        gateway.stop()
        state_dir = ("--state-dir", str(gateway.directory / "state"))
        listed = Ran("token", "list", "--json", *state_dir)
        self.assertEqual((listed.status, json.loads(listed.output)["name"]), (0, "x"), listed.output)
        revoked = Ran("token", "revoke", "--user", "alice", "--realm", "local", *state_dir)
        self.assertIn("revoked: 1 API token", revoked.output)
        self.assertEqual(Ran("token", "list", "--json", *state_dir).output, "")
