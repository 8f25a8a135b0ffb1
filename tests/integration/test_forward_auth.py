"""Real proxies that ask the gateway before each request: nginx, HAProxy and Caddy, as ``perimeter emit`` configures them.

Clients talk to the proxy; the service behind it records what arrives. Row numbers are those of the list of attacks.
"""

from __future__ import annotations

import atexit
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar
from unittest import SkipTest

from click.testing import CliRunner

from perimeter.cli.main import main
from tests.integration.harness import SEARCH, USERS, Gateway, GatewayCase, site
from tests.integration.ports import eventually, free_port
from tests.integration.stage import StageCase
from tests.integration.upstreams import Process, Received
from tests.integration.wire import Response, Wire, basic

ROUTES = """\
[upstream service]
servers = <service>

[route users]
path = /users
upstream = service
deny = method:DELETE

[route signed]
path = /signed
upstream = service
identity = headers, jwt
identity_username_header = Remote-User

[route admin]
path = /admin
upstream = service
websocket = no
allow = role:admin

[route pub]
path = /pub
upstream = service
auth = none
rewrite = /open

[route elsewhere]
path = /elsewhere
upstream = service
auth = none
networks = 192.0.2.0/24

[route own]
path = /own
upstream = service
auth = none
authorization = pass

[route account]
path = /account
upstream = service
authorization = basic gw s3cret

[route host]
host = admin.example.com
path = /users
upstream = service
allow = role:admin

[route sentinel]
path = /sentinel
upstream = service
auth = none
"""
FILES = {"users.realm": "alice: secret,admin\nbob: hunter2\n{env.HOME}: hunter2\n%(bindpw)s: hunter2\nJos\\u00e9: hunter2\n"}
ALICE = basic("alice", "secret")
BOB = basic("bob", "hunter2")


def gateway_behind(proxies: str, routes: str, extra: str = "") -> str:
    """The configuration of a gateway that trusts ``proxies`` (networks): see `tests.integration.harness.site`."""
    return site(routes, perimeter=f"trusted_proxies = {proxies}", extra=extra)


def emitted(proxy: str, site: Path, *options: str) -> str:
    """What ``perimeter emit`` prints."""
    result = CliRunner().invoke(main, ["emit", proxy, "--config", str(site), *options])
    if result.exit_code:
        raise AssertionError(result.output)
    return result.stdout


class Proxy(Process):
    """A proxy that runs what was emitted, on a port of its own."""

    def __init__(self, kind: str, directory: Path, site: Path, *options: str) -> None:
        self.port = free_port()
        text = emitted(kind, site, "--listen", f"127.0.0.1:{self.port}", *options)
        path = directory / f"{kind}.conf"
        command: list[str] = getattr(self, f"_{kind}")(text, directory, lambda: emitted("haproxy-lua", site, *options), path)
        program = shutil.which(kind, path=SEARCH)
        assert program is not None
        settings = [f"XDG_{what}_HOME={directory}" for what in ("DATA", "CONFIG")]
        super().__init__(["env", *settings, program, *command], directory / f"{kind}.log")
        self._await_port()

    def _nginx(self, text: str, directory: Path, lua: Callable[[], str], path: Path) -> list[str]:
        temporary = "".join(
            f"{kind}_temp_path {directory}/{kind};" for kind in ("proxy", "fastcgi", "uwsgi", "scgi", "client_body")
        )
        user = "user root;" if os.getuid() == 0 else ""
        path.write_text(
            f"daemon off; {user} worker_processes 1; pid {directory}/nginx.pid; error_log stderr;\nevents {{}}\n"
            f"http {{ access_log off; {temporary}\n{text}\n}}\n"
        )
        return ["-p", str(directory), "-c", str(path), "-e", "stderr"]

    def _haproxy(self, text: str, directory: Path, lua: Callable[[], str], path: Path) -> list[str]:
        script = directory / "perimeter.lua"
        script.write_text(lua())
        assert "/etc/haproxy/perimeter.lua" in text
        path.write_text(text.replace("/etc/haproxy/perimeter.lua", str(script)))
        return ["-db", "-f", str(path)]

    def _caddy(self, text: str, directory: Path, lua: Callable[[], str], path: Path) -> list[str]:
        path.write_text("{\n\tadmin off\n\tauto_https off\n}\n" + text)
        return ["run", "--config", str(path), "--adapter", "caddyfile"]


class ForwardAuthCase(StageCase):
    """A proxy in front of the service of a `Stage`, with the stage's gateway at its side."""

    KIND: ClassVar[str]
    CONFIG = gateway_behind("127.0.0.1/32", ROUTES).replace("path = access.log\n", "path = access.log\nrequest_id = yes\n")
    FILES = FILES

    def setUp(self) -> None:
        self.need(self.KIND)
        super().setUp()
        cls: Any = type(self)
        if "_proxy" not in cls.__dict__:
            cls._proxy = self.start(self.served.config)
            atexit.register(cls._proxy.close)
        self.proxy: Proxy = cls._proxy

    def start(self, site: Path, *options: str) -> Proxy:
        directory = Path(tempfile.mkdtemp(prefix="perimeter-proxy-"))
        atexit.register(shutil.rmtree, directory, ignore_errors=True)
        return Proxy(self.KIND, directory, site, *options)

    def ask(self, target: str, *headers: str, method: str = "GET", host: str = "gateway.test", body: bytes = b"") -> Response:
        with Wire(self.proxy.port) as wire:
            return wire.get(target, *headers, method=method, host=host, body=body)

    def passes(self, target: str, *headers: str, **options: Any) -> Received:
        """The request that the service gets."""
        before = len(self.service.requests)
        response = self.ask(target, *headers, **options)
        self.assertEqual(response.status, 200, (target, headers, response))
        self.assertEqual(len(self.service.requests), before + 1, target)
        return self.service.requests[-1]

    def stopped(self, status: int, target: str, *headers: str, **options: Any) -> Response:
        """The answer to a request that the service never sees."""
        before = len(self.service.requests)
        response = self.ask(target, *headers, **options)
        self.assertEqual(response.status, status, (target, headers, response))
        self.assertEqual(len(self.service.requests), before, (target, headers))
        return response


class Tests:
    """The tests that every proxy has to pass."""

    CHALLENGED: ClassVar[bool] = True

    def test_good_credentials(self: Any) -> None:
        received = self.passes("/users/x?y=z", ALICE)
        self.assertEqual(received.line.split()[:2], ["GET", "/users/x?y=z"])
        self.assertEqual(received.get("x-auth-username"), "alice")
        self.assertEqual(received.get("x-auth-realm"), "local")
        self.assertIn("admin", (received.get("x-auth-roles") or "").split(","))

    def test_attack_16_the_credential_stays_outside(self: Any) -> None:
        for target in ("/users", "/pub", "/signed"):
            received = self.passes(target, ALICE)
            self.assertNotIn(ALICE.split()[-1].encode(), received.head)
            if target != "/signed":
                self.assertFalse(received.get("authorization"), target)
        refused = self.stopped(403, "/admin", BOB)
        self.assertNotIn(BOB.split()[-1].encode(), refused.head + refused.body)

    def test_an_assertion(self: Any) -> None:
        received = self.passes("/signed/x", ALICE)
        self.assertRegex(received.get("authorization") or "", r"^Bearer [\w-]+\.[\w-]+\.[\w-]+$")
        self.assertEqual(received.get("remote-user"), "alice")
        # and it is no credential
        self.stopped(401, "/users", f"Authorization: {received.get('authorization')}")

    def test_absent_and_bad_credentials(self: Any) -> None:
        for lines in ((), (basic("alice", "wrong"),), ("Authorization: Bearer nonsense",), ("Authorization: nonsense",)):
            response = self.stopped(401, "/users", *lines)
            challenges = ", ".join(response.get_all("www-authenticate"))
            self.assertIn("Bearer realm=", challenges)
            self.assertIn("Basic realm=", challenges)

    def test_a_body_passes(self: Any) -> None:
        received = self.passes("/users", ALICE, method="POST", body=b"x" * 100_000)
        self.assertEqual(len(received.body), 100_000)
        self.stopped(401, "/users", method="POST", body=b"x")

    def test_rules_of_roles_and_methods(self: Any) -> None:
        self.passes("/admin/x", ALICE)
        self.stopped(403, "/admin/x", BOB)
        self.stopped(403, "/users/x", ALICE, method="DELETE")
        self.passes("/users/x", ALICE, method="PUT")
        for line in ("X-HTTP-Method-Override: DELETE", "X-Method-Override: DELETE", "X-HTTP-Method: DELETE"):
            received = self.passes("/users/x", ALICE, line, method="POST")
            self.assertNotIn(b"DELETE", received.head)

    def test_an_open_route(self: Any) -> None:
        received = self.passes("/pub/x", "X-Forwarded-Prefix: /evil")
        self.assertEqual(received.get("x-forwarded-prefix"), "/pub")
        self.assertNotIn(b"/evil", received.head)
        self.assertEqual(self.passes("/users", ALICE, "X-Forwarded-Prefix: /evil").get("x-forwarded-prefix"), None)
        self.assertEqual(received.line.split()[1], "/open/x")
        self.assertFalse(received.get("x-auth-username"))

    def test_a_path_is_no_longer_than_it_says(self: Any) -> None:
        before = len(self.service.requests)
        for target in ("/public", "/PUB", "/nothing", "/", "/userspub/../pub"):
            self.assertIn(self.ask(target, ALICE).status, (400, 403, 404), target)
        self.assertEqual(len(self.service.requests), before)

    def test_hosts(self: Any) -> None:
        self.passes("/users", ALICE, host="admin.example.com")
        self.stopped(403, "/users", BOB, host="admin.example.com")
        self.stopped(403, "/users", BOB, host="ADMIN.example.com")
        self.stopped(403, "/users", BOB, "X-Forwarded-Host: gateway.test", host="admin.example.com")
        self.passes("/pub", host="admin.example.com")

    def test_attack_1_paths_with_two_readings(self: Any) -> None:
        for target in (
            "/pub/../admin",
            "/pub/%2e%2e/admin",
            "/pub/..%2fadmin",
            "/pub/%2e%2e%2fadmin",
            "/pub%2f..%2fadmin",
            "/pub/..;/admin",
            "/pub/%252e%252e/admin",
            "/pub/%5c..%5cadmin",
            "//admin",
            "/%61dmin",
            "/pub/%00",
            "/admin%2Fx",
            "/admin?x=/pub",
        ):
            before = len(self.service.requests)
            response = self.ask(target, BOB)
            self.assertIn(response.status, (400, 403), target)
            self.assertEqual(len(self.service.requests), before, target)

    def test_attack_8_and_9_a_client_names_the_request(self: Any) -> None:
        spoofs = (
            ("X-Original-URI: /pub", "X-Original-Method: GET"),
            ("X-Original-URL: http://gateway.test/pub", "X-Original-Method: GET"),
            ("X-Forwarded-Uri: /pub", "X-Forwarded-Method: GET", "X-Forwarded-Host: gateway.test"),
            ("X-Forwarded-Prefix: /pub", "X-Rewrite-URL: /pub", "X-Forwarded-Path: /pub"),
        )
        for lines in spoofs:
            self.stopped(403, "/admin", BOB, *lines)
            self.stopped(401, "/users", *lines)
            self.stopped(403, "/users", ALICE, *lines, method="DELETE")
            received = self.passes("/users", ALICE, *lines)
            self.assertNotIn(b"/pub", received.head, lines)

    def test_attack_9_a_client_names_its_address(self: Any) -> None:
        self.stopped(403, "/elsewhere")
        for line in ("X-Forwarded-For: 192.0.2.1", "X-Real-IP: 192.0.2.1", "Forwarded: for=192.0.2.1"):
            self.stopped(403, "/elsewhere", line)

    def test_attack_11_and_12_a_client_says_who_it_is(self: Any) -> None:
        spoofs = [
            f"{name}: {value}"
            for name, value in (
                ("X-Auth-Username", "mallory"), ("X-Auth-Roles", "mallory"), ("x-auth-realm", "local"),
                ("X_Auth_Username", "mallory"),
                ("X.Auth.Username", "mallory"), ("X-Auth_Roles", "mallory"), ("X-AUTH-ROLES", "mallory"),
                ("Remote-User", "mallory"),
            )
        ]  # fmt: skip
        for target, user in (("/users", BOB), ("/pub", BOB), ("/signed", BOB), ("/pub", "X-Nothing: 1")):
            for lines in (spoofs, *([one, one] for one in spoofs)):
                if "x-auth-realm" in lines[0] and len(lines) == 2:
                    continue
                received = self.passes(target, user, *lines)
                self.assertNotIn(b"mallory", received.head, (target, lines))
        received = self.passes("/users", BOB, "X-Auth-Roles: admin")
        self.assertFalse(received.get("x-auth-roles"))

    def test_attack_55_identity_headers_of_other_proxies(self: Any) -> None:
        lines = [f"{name}: mallory" for name in ("X-Forwarded-User", "X_Forwarded_User", "X-Remote-User", "SM_USER", "X-User")]
        for target, user in (("/users", BOB), ("/pub", "X-Nothing: 1")):
            received = self.passes(target, user, *lines, "X-Auth-Token: gAAAA")
            self.assertNotIn(b"mallory", received.head, target)
            self.assertEqual(received.get("x-auth-token"), "gAAAA")

    def test_attack_50_a_page_of_another_site(self: Any) -> None:
        own, evil = "Origin: http://gateway.test", "Origin: https://evil.example"
        self.passes("/users", ALICE, own, method="POST", body=b"x")
        self.stopped(403, "/users", ALICE, evil, method="POST", body=b"x")
        self.passes("/users", ALICE, evil)
        socket = (
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        )
        self.stopped(403, "/users", ALICE, evil, *socket)

    def test_what_the_service_gets_in_authorization(self: Any) -> None:
        self.assertEqual(self.passes("/own", "Authorization: Basic eDp5").get("authorization"), "Basic eDp5")
        self.assertNotIn("authorization", dict(self.passes("/own", "X: y").fields))
        self.assertEqual(self.passes("/account", ALICE).get("authorization"), "Basic Z3c6czNjcmV0")

    def test_attack_14_a_trailer_says_nothing(self: Any) -> None:
        for target, user in (("/users", ALICE), ("/pub", "X-Nothing: 1")):
            for announced in ("", "Trailer: X-Auth-Username\r\n"):
                head = f"POST {target} HTTP/1.1\r\nHost: gateway.test\r\n{user}\r\n{announced}Transfer-Encoding: chunked\r\n\r\n"
                before = len(self.service.requests)
                with Wire(self.proxy.port) as wire:
                    wire.send(head.encode() + b"5\r\nhello\r\n0\r\nX-Auth-Username: mallory\r\nRemote-User: mallory\r\n\r\n")
                    status = wire.response().status
                self.assertIn(status, (200, 411), target)
                for received in self.service.requests[before:]:
                    self.assertEqual(received.body, b"hello")
                    self.assertNotIn(b"mallory", received.head + received.raw_body, (target, announced))

    def test_attack_9_a_client_gives_its_address_to_the_service(self: Any) -> None:
        for target, user in (("/users", ALICE), ("/pub", "X-Nothing: 1")):
            received = self.passes(target, user, "X-Real-IP: 192.0.2.1", "X_Real_IP: 192.0.2.1", "X-Forwarded-For: 192.0.2.1")
            self.assertEqual(received.get("x-real-ip"), "127.0.0.1")
            self.assertNotIn(b"192.0.2.1", received.head, target)

    def test_what_the_answer_does_not_have_is_not_there(self: Any) -> None:
        for target, user, names in (
            ("/pub", "X-Nothing: 1", ("x-auth-username", "x-auth-realm", "x-auth-roles", "authorization")),
            ("/users", BOB, ("x-auth-roles", "authorization")),
        ):
            received = self.passes(target, user)
            for name in names:
                self.assertNotIn(name, dict(received.fields), target)

    def test_attack_13_a_client_names_our_fields_away(self: Any) -> None:
        received = self.passes("/users", ALICE, "Connection: close, X-Auth-Username, X-Auth-Roles")
        self.assertEqual(received.get("x-auth-username"), "alice")
        self.assertEqual(received.get("x-auth-roles"), "admin")
        received = self.passes("/signed", ALICE, "Connection: close, Remote-User")
        self.assertEqual(received.get("remote-user"), "alice")
        # some proxies do not pass on these headers to the gateway either
        self.assertIn(self.ask("/users", ALICE, "Connection: close, Authorization").status, (200, 401))

    def test_attack_15_and_17_names_mean_themselves(self: Any) -> None:
        for name, sent in (("{env.HOME}", "{env.HOME}"), ("%(bindpw)s", "%25(bindpw)s"), ("José", "Jos%C3%A9")):
            received = self.passes("/users", basic(name, "hunter2"))
            self.assertEqual(received.get("x-auth-username"), sent)

    def test_attack_33_interleaved_users_are_never_mixed_up(self: Any) -> None:
        with Wire(self.proxy.port) as one, Wire(self.proxy.port) as two:
            for _ in range(20):
                for wire, user, name in ((one, ALICE, "alice"), (two, BOB, "bob")):
                    self.assertEqual(wire.get("/users", user).status, 200)
                    self.assertEqual(self.service.requests[-1].get("x-auth-username"), name)
                self.assertEqual(two.get("/users").status, 401)

    def test_attack_20_and_21_only_a_websocket_and_only_once_admitted(self: Any) -> None:
        asks = (
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        )
        self.stopped(401, "/users", *asks)
        self.assertEqual((self.passes("/users", ALICE, *asks).get("upgrade") or "").lower(), "websocket")
        self.assertFalse(self.passes("/admin", ALICE, *asks).get("upgrade"))
        for protocol in ("h2c", "H2C", "websocket, h2c"):
            lines = ("Connection: Upgrade, HTTP2-Settings", f"Upgrade: {protocol}", "HTTP2-Settings: AA")
            before = len(self.service.requests)
            self.assertIn(self.ask("/users", ALICE, *lines).status, (200, 400))
            for received in self.service.requests[before:]:
                self.assertNotIn(b"h2c", received.head.lower())

    def test_attack_100_a_client_does_not_choose_the_id_of_its_request(self: Any) -> None:
        chosen = "0af7651916cd43dd8448eb211c80319c"
        received = self.passes("/users", ALICE, f"X-Request-ID: {chosen}")
        self.assertNotIn(chosen.encode(), received.head)
        self.stopped(403, "/admin", BOB, f"X-Request-ID: {chosen}")
        eventually(lambda: "/admin" in self.served.audit()[-1], "an audit line")
        ids = [line.split(" ")[-1] for line in self.served.audit()]
        self.assertNotIn(chosen, ids)
        self.assertRegex(ids[-1], r"\A[0-9a-f]{32}\Z")
        if self.KIND == "nginx":  # nginx gives its own to both
            self.assertIn(received.get("x-request-id"), ids)

    def test_audit(self: Any) -> None:
        self.stopped(403, "/users/who?x=1", BOB, method="DELETE")
        eventually(lambda: any("/users/who" in line for line in self.served.audit()), "an audit line")
        (line,) = [line for line in self.served.audit() if "/users/who" in line]
        self.assertIn('"DELETE /users/who?x=1 HTTP/1.1" 403', line)
        self.assertTrue(line.startswith("127.0.0.1 bob "), line)

    def test_gateway_down(self: Any) -> None:
        lonely = self.start(self.served.config, "--gateway", f"http://127.0.0.1:{free_port()}")
        self.addCleanup(lonely.close)
        before = len(self.service.requests)
        for target in ("/users", "/pub", "/admin"):
            with Wire(lonely.port) as wire:
                self.assertGreaterEqual(wire.get(target, ALICE).status, 500)
        self.assertEqual(len(self.service.requests), before)


class NginxTests(Tests, ForwardAuthCase):
    KIND = "nginx"


class DebianTests(ForwardAuthCase):
    """The configuration that is emitted for nginx, in conf.d of Debian's nginx, together with its default site."""

    KIND = "nginx"

    def debian(self, *options: str) -> int:
        """The port of Debian's nginx, with only places and ports changed."""
        etc = Path("/etc/nginx")
        if not (etc / "sites-available" / "default").exists():
            raise SkipTest("not Debian's nginx")
        directory, port = self.directory(), free_port()
        for name in ("conf.d", "sites-enabled"):
            (directory / name).mkdir()
        listen = f"127.0.0.1:{port}"
        (directory / "conf.d" / "perimeter.conf").write_text(
            emitted("nginx", self.served.config, *(("--listen", listen, *options)))
        )
        default = (etc / "sites-available" / "default").read_text()
        self.assertIn("listen 80 default_server;", default)
        default = default.replace("listen 80 default_server;", f"listen {listen} default_server; return 418;")
        (directory / "sites-enabled" / "default").write_text(default.replace("listen [::]:80 default_server;", ""))
        text = (etc / "nginx.conf").read_text()
        for name in ("conf.d", "sites-enabled"):
            self.assertIn(f"/etc/nginx/{name}/", text)
            text = text.replace(f"/etc/nginx/{name}/", f"{directory}/{name}/")
        text = re.sub(r"(?m)^(user|pid|error_log|include) .*$", "", text).replace("/var/log/nginx/", f"{directory}/")
        user = "user root;" if os.getuid() == 0 else ""
        config = directory / "nginx.conf"
        config.write_text(f"daemon off; {user} pid {directory}/nginx.pid; error_log stderr;\n{text}")
        running = Running(["nginx", "-p", str(directory), "-c", str(config), "-e", "stderr"], directory / "nginx.log", port)
        self.addCleanup(running.close)
        return port

    def status(self, port: int, target: str, *headers: str, host: str = "gateway.test") -> int:
        with Wire(port) as wire:
            return wire.get(target, *headers, host=host).status

    def test_it_serves_every_host_beside_the_default_site(self) -> None:
        port = self.debian()
        for host in ("gateway.test", "127.0.0.1", "admin.example.com"):
            self.assertEqual(self.status(port, "/users", ALICE, host=host), 200, host)
            self.assertEqual(self.status(port, "/users", host=host), 401, host)

    def test_it_serves_named_hosts_only(self) -> None:
        port = self.debian("--server-name", "gateway.test", "--server-name", "Other.test")
        for host, status in (("gateway.test", 200), ("other.test", 200), ("admin.example.com", 200), ("else.test", 418)):
            self.assertEqual(self.status(port, "/users", ALICE, host=host), status, host)


class Running(Process):
    def __init__(self, command: list[str], log: Path, port: int) -> None:
        self.port = port
        super().__init__(command, log)
        self._await_port()


class HAProxyTests(Tests, ForwardAuthCase):
    KIND = "haproxy"


class CaddyTests(Tests, ForwardAuthCase):
    KIND = "caddy"


class UntrustedTests(StageCase):
    """A peer that is no trusted proxy learns who the credentials belong to, and nothing about routes."""

    CONFIG = gateway_behind("192.0.2.7/32", ROUTES)
    FILES = FILES

    def test_attack_8_and_9_an_untrusted_peer_learns_who_asks(self) -> None:
        for lines in (
            ("X-Original-URI: /pub", "X-Original-Method: GET"),
            ("X-Forwarded-Uri: /pub", "X-Forwarded-Method: GET", "X-Forwarded-Host: gateway.test"),
            ("X-Forwarded-For: 192.0.2.7",),
        ):
            with self.dial() as wire:
                self.assertEqual(wire.get("/authenticate", *lines).status, 401)
                self.assertEqual(wire.get("/authenticate", *lines, BOB).get("x-auth-username"), "bob")
                self.assertEqual(wire.get("/authenticate/pub", *lines).status, 403)

    def test_every_host_has_it(self) -> None:
        with self.dial() as wire:
            self.assertEqual(wire.get("/authenticate", host="admin.example.com").status, 401)
            self.assertEqual(wire.get("/authenticate", ALICE, host="admin.example.com").status, 200)


class TrustedTests(StageCase):
    """The other ways to ask, of Traefik and Envoy, from a trusted proxy; and a listener that only authenticates."""

    CONFIG = gateway_behind(
        "127.0.0.1/32", ROUTES, extra="[listener tokens]\nport = @tokens@\ninterface = 127.0.0.1\nserve = tokens\n"
    )
    FILES = FILES

    def test_traefik(self) -> None:
        for name in ("http", "tokens"):
            with self.dial(name) as wire:
                for method, uri, user, status in (
                    ("GET", "/users/x", ALICE, 200),
                    ("DELETE", "/users/x", ALICE, 403),
                    ("GET", "/users/x", "X-Nobody: 1", 401),
                    ("GET", "/admin", BOB, 403),
                    ("GET", "/pub", "X-Nobody: 1", 200),
                    ("GET", "/token", ALICE, 403),
                ):
                    lines = (f"X-Forwarded-Method: {method}", "X-Forwarded-Host: a.test", f"X-Forwarded-Uri: {uri}", user)
                    self.assertEqual(wire.get("/authenticate", *lines, host="10.0.0.1").status, status, lines)
                host = ("X-Forwarded-Method: GET", "X-Forwarded-Host: admin.example.com", "X-Forwarded-Uri: /users")
                self.assertEqual(wire.get("/authenticate", *host, BOB).status, 403)
                self.assertEqual(wire.get("/authenticate", *host, ALICE).status, 200)

    def test_envoy(self) -> None:
        for name in ("http", "tokens"):
            with self.dial(name) as wire:
                self.assertEqual(wire.get("/authenticate/users/x?y", ALICE).get("x-auth-username"), "alice")
                answer = wire.get("/authenticate/users/x", ALICE)
                self.assertEqual(answer.get("x-envoy-auth-headers-to-remove"), "authorization")
                signed = wire.get("/authenticate/signed", ALICE)
                self.assertIsNone(signed.get("x-envoy-auth-headers-to-remove"))
                self.assertTrue((signed.get("authorization") or "").startswith("Bearer ey"))
                self.assertEqual(wire.get("/authenticate/users/x", ALICE, method="DELETE").status, 403)
                self.assertEqual(wire.get("/authenticate/users", BOB, host="admin.example.com").status, 403)
                self.assertEqual(wire.get("/authenticate/pub").status, 200)
                self.assertEqual(wire.get("/authenticate/users").status, 401)
                self.assertEqual(wire.get("/authenticate/nothing", ALICE).status, 403)
        self.assertIn(self.raw(b"GET /authenticate/pub/..%2fadmin HTTP/1.1\r\nHost: a\r\n\r\n").status, (400, 403))

    def test_wrong_passwords_are_counted_by_the_client(self) -> None:
        """They are not counted for the proxy: otherwise one bad client would lock it out."""
        with self.dial() as wire:
            for number in range(31):
                lines = ("X-Forwarded-For: 203.0.113.9", basic(f"nobody{number}", "wrong"))
                last = wire.get("/authenticate/users", *lines).status
            self.assertEqual(last, 429)
            self.assertEqual(wire.get("/authenticate/users", "X-Forwarded-For: 203.0.113.10", basic("x", "wrong")).status, 401)


class GivenWayTests(StageCase):
    """A route for this path takes precedence, and without trusted proxies also for the paths below."""

    CONFIG = """\
[perimeter]
state_dir = state

[listener http]
port = @http@
interface = 127.0.0.1

[authenticator local]
type = realmfile
path = users.realm

[upstream service]
servers = <service>

[route all]
path = /
upstream = service
auth = none

[route own]
host = own.example.com
path = /authenticate
upstream = service
auth = none
"""
    FILES = FILES

    def test_a_route_of_the_same_path(self) -> None:
        received = self.forwarded(b"GET /authenticate HTTP/1.1\r\nHost: own.example.com\r\n\r\n")
        self.assertEqual(received.line, "GET /authenticate HTTP/1.1")
        self.assertEqual(self.raw(b"GET /authenticate HTTP/1.1\r\nHost: a.example.com\r\n\r\n").status, 401)

    def test_what_is_beneath_it(self) -> None:
        received = self.forwarded(b"GET /authenticate/x HTTP/1.1\r\nHost: a.example.com\r\n\r\n")
        self.assertEqual(received.line, "GET /authenticate/x HTTP/1.1")


class EcflowRecipeTests(GatewayCase):
    """nginx as ecFlow's manual configures it: it names the URI of the request, and neither its method nor its host."""

    def setUp(self) -> None:
        self.service = self.upstream()

    def recipe(self, *, trusted: str, rules: str = "", more: str = "") -> Gateway:
        """The gateway in place of Auth-o-tron, and nginx in front (`self.front`)."""
        routes = f"[upstream ecflow]\nservers = {self.service.url}\n[route ecflow]\npath = /v1/ecflow\nupstream = ecflow\n"
        gateway = self.gateway(site(routes + "identity = headers, jwt\n" + rules, perimeter=trusted), USERS)
        text = (Path(__file__).parents[1] / "data" / "ecflow.nginx.conf").read_text()
        start, end = text.index("location = /auth {"), text.index("# Define error pages")
        recipe = text[start:end].replace("localhost:8080", f"127.0.0.1:{gateway['http']}")
        recipe = recipe.replace("http://localhost:8888", self.service.url)
        recipe = re.sub(r"access_log [^;]*;", "", recipe).replace("internal;", "internal;" + more)
        self.front = self.nginx({}, recipe)
        return gateway

    def ask(self, *lines: str, method: str = "GET") -> Response:
        with Wire(self.front.port) as wire:
            return wire.get("/v1/ecflow", *lines, method=method)

    def test_works_with_and_without_trusted_proxies(self) -> None:
        for trusted in ("", "trusted_proxies = 127.0.0.1\n", "trusted_proxies = 0.0.0.0/0\n"):
            gateway = self.recipe(trusted=trusted)
            for method in ("GET", "POST", "DELETE"):
                self.assertEqual(self.ask(ALICE, method=method).status, 200, trusted)
                received = self.service.requests[-1]
                self.assertEqual(received.get("x-auth-username"), "alice")
                self.assertEqual(received.get("x-auth-realm"), "local")
                self.assertRegex(received.get("authorization") or "", r"^Bearer ey")
            before = len(self.service.requests)
            refused = self.ask(basic("alice", "wrong"))
            self.assertEqual(refused.status, 401)
            self.assertIn("Basic realm=", ", ".join(refused.get_all("www-authenticate")))
            self.assertEqual(self.ask().status, 401)
            self.assertEqual(len(self.service.requests), before)
            self.front.close()
            if trusted:
                self.assertIn('"- /v1/ecflow HTTP/1.1" 200', gateway.audit()[0])

    def test_attack_64_rules_about_methods_refuse_where_the_method_is_not_known(self) -> None:
        trusted = "trusted_proxies = 127.0.0.1\n"
        for rules in ("deny = method:DELETE\n", "allow = method:GET\n", "deny = method:DELETE, user:bob\n"):
            self.recipe(trusted=trusted, rules=rules)
            for method in ("DELETE", "GET"):
                self.assertEqual(self.ask(ALICE, method=method).status, 403, rules)
            self.front.close()
        self.assertEqual(self.service.requests, [])
        # what the manual advises: with the method, the rules hold
        self.recipe(trusted=trusted, rules="deny = method:DELETE\n", more="proxy_set_header X-Original-Method $request_method;")
        self.assertEqual(self.ask(ALICE, "X-Original-Method: GET", method="DELETE").status, 403)
        self.assertEqual(self.ask(ALICE).status, 200)
