"""51: what was opened while its user was admitted goes on when that is over: tunnels, streams, downloads, uploads."""

from __future__ import annotations

import json
import subprocess
import sys

from tests.integration.directories import group, person
from tests.integration.harness import SOURCE, Gateway, GatewayCase, site
from tests.integration.ldapkit import GROUPS, PEOPLE
from tests.integration.ports import eventually
from tests.integration.test_ldap_gateway import LdapGatewayCase
from tests.integration.upstreams import Connection, Upstream
from tests.integration.wire import Wire, basic, bearer

ALICE, BOB = basic("alice", "secret"), basic("bob", "hunter2")
UPGRADE = "Connection: Upgrade\r\nUpgrade: websocket\r\n"
USERS = {"users.realm": "alice: secret,admin\nbob: hunter2\n"}


def endless(connection: Connection) -> None:
    """Accept a tunnel, or begin a response that has no end."""
    while True:
        head = connection.head()
        if b"upgrade: websocket" in head.lower():
            connection.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nfirst")
            while connection.read_some():
                connection.send(b"echo")
            return
        if b"POST" in head:
            connection.read_until(b"first")
            connection.read_until(b"last")
            return
        connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        connection.read_some()
        return


class OpenCase(GatewayCase):
    def setUp(self) -> None:
        super().setUp()
        self.app = self.upstream(endless)

    def served(self, remember: str = "2s", allow: str = "", extra: str = "", users: dict[str, str] = USERS) -> Gateway:
        return self.gateway(self.config(self.app, remember, allow, extra), users)

    @staticmethod
    def config(app: Upstream, remember: str = "2s", allow: str = "", extra: str = "") -> str:
        routes = f"[upstream app]\nservers = {app.url}\n\n[route app]\npath = /\nupstream = app\n"
        routes += f"allow = {allow}\n" if allow else ""
        more = f"[authentication]\nremember_password = {remember}\n\n[audit]\npath = access.log\nformat = json\n{extra}"
        return site(routes, extra=more).replace("[audit]\npath = access.log\n\n", "", 1)

    def open(self, gateway: Gateway, credential: str, kind: str = "tunnel") -> Wire:
        """A tunnel, a stream or an upload of the holder of ``credential``, under way."""
        wire = self.connect(gateway, "http")
        head = f"Host: gateway.test\r\n{credential}\r\n"
        if kind == "upload":
            wire.send(f"POST /x HTTP/1.1\r\n{head}Content-Length: 100\r\n\r\nfirst".encode())
            return wire
        wire.send(f"GET /x HTTP/1.1\r\n{head}{UPGRADE if kind == 'tunnel' else ''}\r\n".encode())
        wire.read_until(b"first")
        return wire

    def token(self, gateway: Gateway, credential: str = ALICE, which: str = "access_token") -> str:
        with gateway.connect("http") as wire:
            return str(json.loads(wire.get("/token", credential).body)[which])

    def cut(self, gateway: Gateway, wire: Wire, reason: str, user: str = "alice") -> None:
        """``wire`` is cut, and the audit log says why."""
        self.assertFalse(wire.read_all().endswith(b"0\r\n\r\n"), "cut, not ended")
        records = [json.loads(line) for line in gateway.audit()]
        self.assertIn((reason, user), [(record.get("reason"), record.get("user")) for record in records], records)

    def goes_on(self, *wires: Wire) -> None:
        for wire in wires:
            wire.send(b"x")
            self.assertEqual(wire.read_until(b"echo"), b"echo")


class AdmissionTests(OpenCase):
    def test_attack_51_an_access_token_expires(self) -> None:
        gateway = self.served(extra="\n[token]\nlifetime = 3s\nextended_lifetime = 1h\n")
        wires = [self.open(gateway, bearer(self.token(gateway)), kind) for kind in ("tunnel", "stream")]
        upload = self.open(gateway, bearer(self.token(gateway)), "upload")
        for wire in wires:
            self.cut(gateway, wire, "expired_token")
        self.assertEqual(upload.response().status, 401)

    def test_attack_51_the_owner_of_a_token_leaves_the_realm_file(self) -> None:
        """Bob's tunnel goes on, and so does the one that alice's access token opened: it is good until it expires."""
        gateway = self.served()
        token = self.token(gateway)
        wire, others = self.open(gateway, ALICE), [self.open(gateway, one) for one in (BOB, bearer(token))]
        (gateway.directory / "users.realm").write_text("bob: hunter2\n")
        self.cut(gateway, wire, "wrong_credentials")
        self.goes_on(*others)

    def test_attack_51_a_role_is_taken_away(self) -> None:
        gateway = self.served(allow="role:admin, user:bob")
        wire = self.open(gateway, ALICE)
        (gateway.directory / "users.realm").write_text("alice: secret\nbob: hunter2\n")
        self.cut(gateway, wire, "insufficient_scope")

    def test_attack_51_a_role_that_only_the_service_looks_at(self) -> None:
        gateway = self.served()
        wire = self.open(gateway, ALICE, "stream")
        (gateway.directory / "users.realm").write_text("alice: secret\nbob: hunter2\n")
        self.cut(gateway, wire, "identity_changed")

    def test_attack_51_all_of_a_user_is_revoked(self) -> None:
        """A password opened the tunnel, and it is not remembered after that either."""
        gateway = self.served(remember="1h")
        wire, bobs = self.open(gateway, ALICE), self.open(gateway, BOB)
        script = "from perimeter.cli.main import main; main()"
        command = [sys.executable, "-c", script, "token", "revoke", "--config", str(gateway.config)]
        subprocess.run([*command, "--user", "alice", "--realm", "local"], check=True, capture_output=True, cwd=SOURCE, timeout=60)
        self.cut(gateway, wire, "revoked")
        self.goes_on(self.open(gateway, ALICE))
        self.goes_on(bobs)

    def test_attack_51_rules_change_at_a_reload(self) -> None:
        gateway = self.served(remember="1h")
        wires = [self.open(gateway, credential) for credential in (ALICE, bearer(self.token(gateway)))]
        gateway.configure(self.config(self.app, "1h", "user:bob"))
        gateway.reload()
        for wire in wires:
            self.cut(gateway, wire, "insufficient_scope")

    def test_attack_51_a_route_that_needs_credentials_by_now(self) -> None:
        config = self.config(self.app)
        gateway = self.gateway(config.replace("upstream = app\n", "upstream = app\nauth = none\n"), USERS)
        wire = self.open(gateway, "X: y")
        gateway.configure(config)
        gateway.reload()
        eventually(wire.closed, "the tunnel is cut")

    def test_what_is_still_admitted_goes_on(self) -> None:
        """While bob, whose password was changed, is cut; alice has one more role."""
        gateway = self.served("1s")
        wires = [self.open(gateway, credential) for credential in (ALICE, bearer(self.token(gateway)))]
        bobs = self.open(gateway, BOB, "stream")
        (gateway.directory / "users.realm").write_text("alice: secret,admin,more\nbob: changed\n")
        self.cut(gateway, bobs, "wrong_credentials", "bob")
        self.goes_on(*wires)


class DirectoryTests(LdapGatewayCase):
    """As above, for users of a directory, which reports nothing: it is asked again in time."""

    def open(self, gateway: Gateway, name: str) -> Wire:
        wire = self.connect(gateway, "http")
        wire.send(f"GET /x HTTP/1.1\r\nHost: gateway.test\r\n{basic(name, 'secret')}\r\n\r\n".encode())
        wire.read_until(b"first")
        return wire

    def serving(self) -> Gateway:
        entries = [person("john", "secret"), person("mary", "secret"), group("ops", "john", "mary")]
        gateway = self.serve(entries, routes="allow = role:ops\n", authentication="remember_password = 1s\n")
        gateway.configure(gateway.config.read_text().replace(self.service.url, self.upstream(endless).url))
        gateway.reload()
        return gateway

    def test_attack_51_a_user_who_leaves_a_group_or_the_directory(self) -> None:
        gateway = self.serving()
        johns, marys = self.open(gateway, "john"), self.open(gateway, "mary")
        self.server.modify(f"dn: cn=ops,{GROUPS}\nchangetype: modify\ndelete: uniqueMember\nuniqueMember: cn=john,{PEOPLE}\n")
        self.assertFalse(johns.read_all().endswith(b"0\r\n\r\n"), "no role, no stream")
        self.server.modify(f"dn: cn=mary,{PEOPLE}\nchangetype: delete\n")
        self.assertFalse(marys.read_all().endswith(b"0\r\n\r\n"), "no user, no stream")
