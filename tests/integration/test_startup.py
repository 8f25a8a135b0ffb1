"""A start that cannot succeed: the exit status is not 0, and one line names the fault and its place."""

from __future__ import annotations

import socket
import subprocess

from tests.integration.harness import USERS, Gateway, GatewayCase, site

ROUTES = "[upstream sample]\nservers = sample:\n\n[route all]\npath = /\nupstream = sample\n"


def made(*arguments: str) -> None:
    """Run openssl."""
    subprocess.run(["openssl", *arguments], check=True, capture_output=True, timeout=60)


class FailingStartTests(GatewayCase):
    def refused(self, gateway: Gateway) -> str:
        """The line about the fault, from a gateway that does not start."""
        gateway.launch()
        status, log = gateway.wait(), gateway.log
        gateway.kill()
        self.assertNotEqual(status, 0)
        # other lines: the command line, weak passwords of the test's users, resources that the process did not close
        lines = [line for line in log.splitlines() if not any(mark in line for mark in (" info ", " warn ", "ResourceWarning"))]
        self.assertEqual(len(lines), 1, log)
        self.assertNotIn("Traceback", log)
        return lines[0]

    def pair(self, gateway: Gateway, name: str) -> None:
        """NAME.key and NAME.crt in the gateway's directory."""
        self.need("openssl")
        key, certificate = str(gateway.directory / f"{name}.key"), str(gateway.directory / f"{name}.crt")
        made("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key)
        made("req", "-x509", "-new", "-key", key, "-subj", f"/CN={name}.test", "-days", "30", "-out", certificate)

    def with_pem(self, certificate: str, key: str) -> Gateway:
        extra = f"certificate = {certificate}\nprivate_key = {key}\n"
        config = site(ROUTES, tls=True).replace("interface = 127.0.0.1\n", f"interface = 127.0.0.1\n{extra}")
        gateway = self.unstarted(config, USERS)
        self.pair(gateway, "gw")
        self.pair(gateway, "other")
        return gateway

    def test_good_pair_starts(self) -> None:
        """The configuration of the following tests is valid except for their changes."""
        self.with_pem("gw.crt", "gw.key").start()

    def test_certificate_that_does_not_match_its_key(self) -> None:
        gateway = self.with_pem("gw.crt", "other.key")
        line = self.refused(gateway)
        self.assertIn("other.key", line)
        self.assertIn("gw.crt", line)

    def test_key_that_cannot_be_read(self) -> None:
        gateway = self.with_pem("gw.crt", "gw.key")
        # permissions do not stop root; reading a process's memory at address 0 is an error for every user
        (gateway.directory / "gw.key").unlink()
        (gateway.directory / "gw.key").symlink_to("/proc/self/mem")
        line = self.refused(gateway)
        self.assertIn("gw.key", line)
        self.assertIn("cannot read the private key", line)

    def test_key_that_is_no_key(self) -> None:
        gateway = self.with_pem("gw.crt", "gw.key")
        (gateway.directory / "gw.key").write_text("-----BEGIN PRIVATE KEY-----\n")
        self.assertIn("gw.key", self.refused(gateway))

    def test_key_that_is_not_there(self) -> None:
        gateway = self.with_pem("gw.crt", "gw.key")
        (gateway.directory / "gw.key").unlink()
        line = self.refused(gateway)
        self.assertIn("gw.key", line)
        self.assertRegex(line, r"site\.ini:\d+: \[listener https\]")

    def test_port_that_is_taken(self) -> None:
        gateway = self.unstarted(site(ROUTES), USERS)
        taken = socket.create_server(("127.0.0.1", gateway["http"]))
        self.addCleanup(taken.close)
        line = self.refused(gateway)
        self.assertIn(str(gateway["http"]), line)
        self.assertIn("listener http", line)

    def test_nothing_is_left_open_where_the_second_port_is_taken(self) -> None:
        extra = "[listener second]\nport = @second@\ninterface = 127.0.0.1\n"
        gateway = self.unstarted(site(ROUTES, extra=extra), USERS)
        taken = socket.create_server(("127.0.0.1", gateway["second"]))
        self.addCleanup(taken.close)
        self.assertIn(str(gateway["second"]), self.refused(gateway))

    def test_state_dir_that_cannot_be_made(self) -> None:
        # not even root can make a directory in /proc
        config = site(ROUTES).replace("state_dir = state", "state_dir = /proc/perimeter")
        line = self.refused(self.unstarted(config, USERS))
        self.assertIn("/proc/perimeter", line)

    def test_state_dir_that_is_a_file(self) -> None:
        line = self.refused(self.unstarted(site(ROUTES), {**USERS, "state": "a file"}))
        self.assertIn("/state", line)

    def test_state_dir_that_cannot_be_written(self) -> None:
        # an existing directory in which no user can make files
        config = site(ROUTES).replace("state_dir = state", "state_dir = /proc/self/task")
        self.assertIn("/proc/self/task", self.refused(self.unstarted(config, USERS)))

    def test_audit_log_that_cannot_be_written(self) -> None:
        config = site(ROUTES).replace("path = access.log", "path = /proc/access.log")
        self.assertIn("/proc/access.log", self.refused(self.unstarted(config, USERS)))

    def test_realm_file_with_a_broken_line(self) -> None:
        users = "alice: secret\nbob: {SSHA}dGhpcyBpcyBub3QgcGxhaW4=\n"
        line = self.refused(self.unstarted(site(ROUTES), {"users.realm": users}))
        self.assertRegex(line, r"users\.realm:2:")
        self.assertNotIn("dGhpcyBpcyBub3QgcGxhaW4=", line)

    def test_wrong_option(self) -> None:
        gateway = self.unstarted(site(ROUTES.replace("upstream = sample", "upstraem = sample")), USERS)
        gateway.launch()
        self.assertNotEqual(gateway.wait(), 0)
        number = gateway.config.read_text().splitlines().index("upstraem = sample") + 1
        self.assertIn(f"site.ini:{number}: [route all] upstraem:", gateway.log)
        self.assertIn("did you mean upstream?", gateway.log)
        self.assertNotIn("Traceback", gateway.log)
        gateway.kill()

    def test_configuration_that_is_not_there(self) -> None:
        gateway = self.unstarted(site(ROUTES), USERS)
        gateway.config.unlink()
        self.assertIn("site.ini", self.refused(gateway))


class RealmFileAtRunTimeTests(GatewayCase):
    def test_broken_file_keeps_the_last_good_one_and_a_good_one_is_taken(self) -> None:
        gateway = self.gateway(site(ROUTES), USERS)
        users = gateway.directory / "users.realm"
        wire = self.connect(gateway, "http")
        bob, carol = "Authorization: Basic Ym9iOmh1bnRlcjI=", "Authorization: Basic Y2Fyb2w6bmV3"
        self.assertEqual(wire.get("/", bob).status, 200)
        users.write_text("carol: new\nbroken: {SSHA}AAAA\n")
        gateway.await_log("users.realm:2:")
        self.assertEqual(wire.get("/", bob).status, 200)
        self.assertEqual(wire.get("/", carol).status, 401)
        users.write_text("carol: new\n")
        gateway.await_log("1 users")
        self.assertEqual(wire.get("/", carol).status, 200)
        self.assertEqual(wire.get("/", bob).status, 401)
