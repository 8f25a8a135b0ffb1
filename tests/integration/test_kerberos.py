"""Kerberos tickets, from a real KDC by curl."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from unittest import SkipTest

from tests.integration.harness import TROUBLE, GatewayCase, GatewayOfTwo
from tests.integration.kerberos_realm import TOOLS, KerberosRealm
from tests.integration.ldapkit import shared
from tests.integration.upstreams import OK, Received, Upstream
from tests.integration.wire import basic

SITE = """\
[perimeter]
realm = example
state_dir = state

[listener http]
port = @http@
interface = 127.0.0.1

[authenticator local]
type = realmfile
path = users.realm

[authenticator tickets]
type = kerberos
realm = people
keytab = http.keytab
kerberos_realm = EXAMPLE.ORG
service = HTTP/localhost
roles = guest

[augmenter roles]
type = match
realm = people
username = joe
add_roles = ops

[upstream app]
servers = <service>

[route app]
path = /
upstream = app

[route pass]
path = /pass
upstream = app
authorization = pass

[route ops]
path = /ops
upstream = app
allow = role:ops

[audit]
path = access.log
format = json
"""


class Scene:
    """A realm, a gateway of two workers that accepts its tickets, and a service behind it."""

    def __init__(self, directory: Path) -> None:
        self.realm = KerberosRealm(directory, ("joe", "jane", "joe/admin"), ("HTTP/localhost", "HTTP/elsewhere"))
        self.service = Upstream(OK)
        self.keytab = self.realm.keytab("http.keytab", "HTTP/localhost")
        files = {"users.realm": "alice: secret\n"}
        site = SITE.replace("<service>", self.service.url)
        self.gateway = GatewayOfTwo(directory, site, files, environ=self.realm.environ)
        self.gateway.start()

    def kill(self) -> None:
        """End them."""
        self.gateway.kill()
        self.realm.kill()
        self.service.close()


class KerberosCase(GatewayCase):
    """Uses the `Scene`."""

    def setUp(self) -> None:
        self.need(*TOOLS)
        if importlib.util.find_spec("gssapi") is None:
            raise SkipTest("gssapi is not installed: scripts/test installs it where Kerberos' headers are")
        self.scene = shared(Scene)
        log = len(self.scene.gateway.log)
        self.addCleanup(lambda: self.assertIsNone(TROUBLE.search(self.scene.gateway.log[log:])))

    def curl(self, path: str, user: str, *options: str, environ: Mapping[str, str] | None = None) -> int:
        """The status of the last response to curl, which has a new ticket of ``user``."""
        environ = environ or self.scene.realm.ticket(user)
        url = f"http://localhost:{self.scene.gateway['http']}{path}"
        command = ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", *options, url]
        done = subprocess.run(command, env={**os.environ, **environ}, capture_output=True, text=True, timeout=60, check=True)
        return int(done.stdout)

    def received(self, target: str) -> Received:
        """The next request for ``target`` that reached the service. A browser sends others too, such as for an icon."""
        while True:
            found = self.scene.service.next()
            if found.line == f"GET {target} HTTP/1.1":
                return found

    def negotiate(self, path: str, user: str, *options: str) -> int:
        return self.curl(path, user, "--negotiate", "-u", ":", *options)


class KerberosTests(KerberosCase):
    def test_a_ticket_is_a_user_with_roles(self) -> None:
        before = len(self.scene.gateway.audit())
        self.assertEqual(self.negotiate("/ops", "joe"), 200)
        received = self.received("/ops")
        told = [received.get(name) for name in ("x-auth-username", "x-auth-realm", "x-auth-roles", "authorization")]
        self.assertEqual(told, ["joe", "people", "guest,ops", None])
        self.assertEqual(self.negotiate("/ops", "jane"), 403)
        records = [json.loads(line) for line in self.scene.gateway.await_audit(before + 2)[before:]]
        self.assertIn("joe", [record.get("user") for record in records])

    def test_the_challenges(self) -> None:
        with self.scene.gateway.connect("http") as wire:
            refused = wire.get("/")
        self.assertEqual(refused.status, 401)
        expected = ['Bearer realm="example"', 'Basic realm="example", charset="UTF-8"', "Negotiate"]
        self.assertEqual(refused.get_all("www-authenticate"), expected)
        with self.scene.gateway.connect("http") as wire:
            self.assertEqual(wire.get("/", basic("alice", "secret")).status, 200)
        self.received("/")

    def test_a_browser_answers_the_challenge(self) -> None:
        """Chromium loads the library of Kerberos when it starts after it has seen a challenge for a ticket."""
        self.need("chromium")
        profile = self.directory()
        command = [
            *("chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}", "--dump-dom"),
            *("--auth-server-allowlist=localhost", f"http://localhost:{self.scene.gateway['http']}/ops"),
        ]
        environ = {**os.environ, **self.scene.realm.ticket("joe"), "HOME": str(profile)}
        for _ in range(2):
            subprocess.run(command, env=environ, capture_output=True, timeout=60, check=True)
        self.assertEqual(self.received("/ops").get("x-auth-username"), "joe")

    def test_a_ticket_gets_a_token(self) -> None:
        self.assertEqual(self.negotiate("/token", "joe"), 200)

    def test_without_a_ticket(self) -> None:
        environ = {**self.scene.realm.environ, "KRB5CCNAME": "FILE:/nonexistent"}
        self.assertEqual(self.curl("/", "", "--negotiate", "-u", ":", environ=environ), 401)

    def test_attack_144_a_token_counts_once(self) -> None:
        self.assertEqual(self.negotiate("/pass", "joe"), 200)
        stolen = self.received("/pass").get("authorization")
        assert stolen is not None
        self.assertTrue(stolen.startswith("Negotiate "), stolen)
        log = len(self.scene.gateway.log)
        for _ in range(4):  # either worker
            with self.scene.gateway.connect("http") as wire:
                self.assertEqual(wire.get("/", f"Authorization: {stolen}").status, 401)
        self.scene.gateway.await_log("Request is a replay")
        self.assertIn("Request is a replay", self.scene.gateway.log[log:])
        changed = stolen[:-12] + ("A" if stolen[-12] != "A" else "B") + stolen[-11:]
        for value in (
            changed,
            stolen[:200],
            "Negotiate TlRMTVNTUAABAAAAl4II4gAAAAAAAAAAAAAAAAAAAAA=",
            "Negotiate Zm9v",
            "Negotiate !",
        ):
            with self.scene.gateway.connect("http") as wire:
                self.assertEqual(wire.get("/", f"Authorization: {value}").status, 401, value)

    def test_attack_144_who_is_no_user_of_the_realm(self) -> None:
        self.assertEqual(self.negotiate("/", "joe/admin"), 401)

    def test_attack_144_a_ticket_for_another_service(self) -> None:
        port = self.scene.gateway["http"]
        environ, log = self.scene.realm.ticket("joe"), len(self.scene.gateway.log)
        connect = ("--connect-to", f"elsewhere:{port}:localhost:{port}")
        command = ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "--negotiate", "-u", ":", *connect]
        done = subprocess.run(
            [*command, f"http://elsewhere:{port}/"], env={**os.environ, **environ}, capture_output=True, text=True, timeout=60
        )
        self.assertEqual(done.stdout, "401", done.stderr)
        self.assertIn("elsewhere@EXAMPLE.ORG", self.scene.gateway.log[log:])

    def test_a_keytab_that_is_gone_is_503_and_counts_again_when_it_is_back(self) -> None:
        aside = self.scene.keytab.with_suffix(".aside")
        self.scene.keytab.rename(aside)
        try:
            self.assertEqual(self.negotiate("/", "joe"), 503)
        finally:
            aside.rename(self.scene.keytab)
        self.assertEqual(self.negotiate("/", "joe"), 200)
        self.received("/")
