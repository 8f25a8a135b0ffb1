"""Rules with operators, and the terms about networks, certificates and times, against a running gateway."""

from __future__ import annotations

import json
import subprocess
import sys
from http.client import HTTPSConnection
from typing import ClassVar

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.integration.directories import SEARCHER, SEARCHER_PASSWORD, Slapd, person
from tests.integration.harness import SOURCE, USERS, GatewayCase, site
from tests.integration.ldapkit import PEOPLE
from tests.integration.netkit import identity, pem
from tests.integration.stage import StageCase, answering
from tests.integration.wire import basic, bearer, insecure_context

ROUTES = """\
[upstream service]
servers = <service>

[route both]
path = /both
upstream = service
allow = role:ops and certificate:dns=admin.example.com

[route outside]
path = /outside
upstream = service
allow = user:alice and not network:127.0.0.0/8

[route inside]
path = /inside
upstream = service
auth = optional
allow = (network:127.0.0.0/8 and method:GET)
        role:ops and
        not network:192.0.2.0/24

[route never]
path = /never
upstream = service
allow = role:ops and not (time:00:00-12:00 UTC or time:12:00-24:00 UTC)

[route always]
path = /always
upstream = service
allow = role:ops and (time:00:00-12:00 UTC or time:12:00-24:00 UTC)

[route unless]
path = /unless
upstream = service
deny = not method:GET
       attribute:country=xx and user:bob
"""

ALICE, BOB = basic("alice", "secret"), basic("bob", "hunter2")


CA = identity("Users CA", ca=True)
ADMIN = identity("admin.example.com", issuer=CA)
KEY = ADMIN.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


class RuleTests(StageCase):
    CONFIG = site(ROUTES, tls=True, perimeter="trusted_proxies = 127.0.0.2").replace(
        "tls = yes\n", "tls = yes\nclient_ca = ca.crt\n"
    )
    FILES: ClassVar[dict[str, str | bytes]] = {**USERS, "ca.crt": pem(*CA.chain), "admin.pem": pem(*ADMIN.chain) + KEY}

    def status(self, target: str, *headers: str, method: str = "GET", certificate: bool = False, proxy: str = "") -> int:
        """The status that the client gets; ``proxy``: behind a trusted proxy, which says that the client has this address."""
        context = insecure_context()
        if certificate:
            context.load_cert_chain(self.served.directory / "admin.pem")
        source = ("127.0.0.2" if proxy else "127.0.0.1", 0)
        connection = HTTPSConnection("127.0.0.1", self.served["https"], timeout=20, source_address=source, context=context)
        fields = dict(line.split(": ", 1) for line in headers) | ({"X-Forwarded-For": proxy} if proxy else {})
        try:
            connection.request(method, target, headers=fields)
            return connection.getresponse().status
        finally:
            connection.close()

    def test_two_terms_have_to_hold_together(self) -> None:
        self.assertEqual(self.status("/both", ALICE, certificate=True), 200)
        self.assertEqual(self.status("/both", BOB, certificate=True), 403)
        self.assertEqual(self.status("/both", ALICE), 403)
        self.assertEqual(self.status("/both", certificate=True), 401)

    def test_attack_130_the_certificate_of_a_proxy_is_not_the_clients(self) -> None:
        self.assertEqual(self.status("/both", ALICE, certificate=True, proxy="192.0.2.1"), 403)

    def test_networks(self) -> None:
        self.assertEqual(self.status("/outside", ALICE), 403)
        self.assertEqual(self.status("/outside", ALICE, "X-Forwarded-For: 192.0.2.1"), 403)
        self.assertEqual(self.status("/outside", ALICE, proxy="192.0.2.1"), 200)
        self.assertEqual(self.status("/inside"), 200)
        self.assertEqual(self.status("/inside", method="POST"), 401)
        self.assertEqual(self.status("/inside", ALICE, method="POST"), 200)
        self.assertEqual(self.status("/inside", BOB, method="POST"), 403)
        self.assertEqual(self.status("/inside", ALICE, proxy="192.0.2.1"), 403)
        self.assertEqual(self.status("/inside", proxy="192.0.2.1"), 401)

    def test_times(self) -> None:
        self.assertEqual((self.status("/never", ALICE), self.status("/always", ALICE)), (403, 200))

    def test_attack_130_what_is_not_known_is_denied(self) -> None:
        self.assertEqual(self.status("/unless", BOB), 403)
        self.assertEqual(self.status("/unless", ALICE), 200)
        self.assertEqual(self.status("/unless", ALICE, method="POST"), 403)

    def test_explain_shows_which_term_decided(self) -> None:
        for path, term in (
            ("/never", "matches"),
            ("/outside", "network:127.0.0.0/8 matches"),
            ("/both", "it is not known whether certificate:dns=admin.example.com matches"),
        ):
            command = ["perimeter", "explain", "GET", f"https://x{path}", "--user", "alice", "-c", str(self.served.config)]
            program = "import sys; from perimeter.cli.main import main; sys.argv = sys.argv[1:]; main()"
            done = subprocess.run(
                [sys.executable, "-c", program, *command], cwd=SOURCE, capture_output=True, text=True, timeout=60, check=False
            )
            self.assertIn("rules: no term of allow = ", done.stdout, done.stderr)
            self.assertIn(term, done.stdout)


DIRECTORY = """\
[authenticator corp]
type = ldap
hostname = 127.0.0.1
port = {port}
user_base_dn = {people}
bind_dn = {searcher}
bind_password = {password}
attributes = mail, departmentNumber
"""

OF_ATTRIBUTES = """\
[upstream service]
servers = {service}

[route mail]
path = /mail
upstream = service
allow = attribute:mail=John@Example.com and not attribute:departmentNumber=7

[route unless]
path = /unless
upstream = service
deny = attribute:departmentNumber=7
"""


class AttributeTests(GatewayCase):
    """What a directory says of its users decides, and what it does not say is not known."""

    def test_attributes_of_a_directory(self) -> None:
        self.need("slapd", "ldapmodify")
        people = [
            person("john", "open-sesame", "mail: john@example.com", "departmentNumber: 5"),
            person("jane", "open-sesame", "mail: jane@example.com", "departmentNumber: 7"),
            person("jack", "open-sesame", "mail: john@example.com"),
        ]
        server = Slapd(self.directory(), people)
        self.addCleanup(server.kill)
        extra = DIRECTORY.format(port=server.port, people=PEOPLE, searcher=SEARCHER, password=SEARCHER_PASSWORD)
        routes = OF_ATTRIBUTES.format(service=self.upstream(answering).url)
        gateway = self.gateway(site(routes, extra=extra), USERS)
        found = {}
        for name in ("john", "jane", "jack"):
            with gateway.connect("http") as wire:
                found[name] = [wire.get(path, basic(name, "open-sesame")).status for path in ("/mail", "/unless")]
                if name == "john":
                    # a token of the gateway has the attributes of its owner
                    token = json.loads(wire.get("/token", basic(name, "open-sesame")).body)["access_token"]
                    self.assertEqual(wire.get("/mail", bearer(token)).status, 200)
        self.assertEqual(found, {"john": [200, 200], "jane": [403, 403], "jack": [403, 403]})
        with gateway.connect("http") as wire:
            self.assertEqual(wire.get("/unless", basic("alice", "secret")).status, 403, "the realm file has no attributes")
