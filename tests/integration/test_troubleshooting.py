"""Each row of docs/how-to/troubleshooting.md is true: the test makes the symptom happen, and finds the line in the log."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import ssl
import threading
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from perimeter.errors import StartupError
from perimeter.net.binding import bind, bind_fault
from perimeter.net.contexts import ServerIdentity
from perimeter.workers.plan import Address
from tests.integration.harness import USERS, GatewayCase, site
from tests.integration.netkit import identity, pem
from tests.integration.ports import eventually, free_port
from tests.integration.wire import basic, bearer, insecure_context

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "troubleshooting.md"
ROW = re.compile(r"^\| (?!symptom \|)(?!-)(.+?) \| `(.+?)` \| (.+) \|$", re.M)

ROUTES = """\
[upstream sample]
servers = sample:
[upstream refused]
servers = http://127.0.0.1:{refused}
[upstream nameless]
servers = http://no-such-host.invalid
[upstream signed]
servers = https://localhost:{secure}
[upstream plain]
servers = https://127.0.0.1:{plain}
[upstream secret]
servers = http://127.0.0.1:{alert}
[upstream closing]
servers = http://127.0.0.1:{secure}
[upstream full]
servers = http://127.0.0.1:{full}
connect_timeout = 1s
[upstream slow]
servers = http://127.0.0.1:{silent}
read_timeout = 1s
[upstream checked]
servers = http://127.0.0.1:{refused}
health = GET / 200-399 every 1s within 500ms
health_fall = 1
[upstream busy]
servers = http://127.0.0.1:{silent}
max_requests = 1
queue = 0
read_timeout = 2s

[route near]
path = /near
upstream = sample
auth = none
networks = 192.0.2.0/24
[route small]
path = /small
upstream = sample
auth = none
max_body = 3
[route rated]
path = /rated
upstream = sample
auth = none
rate = 1/d per address
[route one]
path = /one
upstream = slow
auth = none
in_flight = 1 per address
[route late]
path = /late
upstream = slow
auth = none
request_timeout = 300ms
[route admins]
path = /admins
upstream = sample
allow = role:admin
[route users]
path = /users
upstream = sample
[route people]
path = /people
upstream = sample
browser_login = yes
"""
SERVICES = ("refused", "nameless", "signed", "plain", "secret", "closing", "full", "slow")
LIMITED = ("checked", "busy")

MORE = """\
[listener https]
port = @https@
interface = 127.0.0.1
tls = yes
certificate = gw.crt
private_key = gw.key

[authentication]
lockout_after = 3

[authenticator sso]
type = jwt
issuer = https://sso.example
audience = gw
cert_uri = http://127.0.0.1:9/jwks

[authenticator corp]
type = ldap
hostname = 127.0.0.1:{refused}
user_base_dn = dc=example
tls = none

[authenticator office]
type = ldap
hostname = localhost:{secure}
user_base_dn = dc=example
tls = ldaps
"""


def key_pem(one: ServerIdentity) -> bytes:
    key: Any = one.key
    return bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def rows() -> list[tuple[str, str]]:
    """Symptom and line of each row."""
    return [(symptom, line) for symptom, line, _ in ROW.findall(PAGE.read_text())]


def pattern(line: str) -> re.Pattern[str]:
    """The line, with ``…`` for anything."""
    return re.compile(".*".join(map(re.escape, line.split("…"))))


class TroubleshootingTests(GatewayCase):
    def setUp(self) -> None:
        self.silence = threading.Event()
        self.addCleanup(self.silence.set)
        near = identity("gw.example", start=datetime.now(UTC) - timedelta(50), days=55)
        self.files: dict[str, str | bytes] = {**USERS, "gw.crt": pem(*near.chain), "gw.key": key_pem(near)}
        self.signed = identity("localhost", "127.0.0.1")
        ports = {
            "refused": free_port(),
            "secure": self.secure_service(),
            "plain": self.upstream(lambda connection: connection.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")).port,
            "alert": self.upstream(lambda connection: connection.send(b"\x15\x03\x01\x00\x02\x02\x46")).port,
            "full": self.full_service(),
            "silent": self.upstream(self.silent).port,
        }
        routes = "".join(f"[route {name}]\npath = /{name}\nupstream = {name}\nauth = none\n" for name in (*SERVICES, *LIMITED))
        config = site(ROUTES.format(**ports) + routes, extra=MORE.format(**ports), perimeter="trusted_proxies = 192.0.2.1")
        self.config = config
        self.site = self.gateway(config, self.files)

    def silent(self, connection: Any) -> None:
        """A service that reads the request and never answers."""
        connection.request()
        self.silence.wait(30)

    def secure_service(self) -> int:
        """A service that speaks TLS with a self-signed certificate."""
        directory = self.directory()
        (directory / "crt").write_bytes(pem(*self.signed.chain))
        (directory / "key").write_bytes(key_pem(self.signed))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(directory / "crt", directory / "key")
        listener = socket.create_server(("127.0.0.1", 0))

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                connection.settimeout(5)
                with contextlib.suppress(OSError), context.wrap_socket(connection, server_side=True) as secure:
                    secure.recv(1)

        thread = threading.Thread(target=serve)
        thread.start()

        def close() -> None:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
            thread.join(10)

        self.addCleanup(close)
        return int(listener.getsockname()[1])

    def full_service(self) -> int:
        """A port that answers no further connection, as behind a firewall."""
        full = socket.create_server(("127.0.0.1", 0), backlog=0)
        self.addCleanup(full.close)
        port = int(full.getsockname()[1])
        for _ in range(3):
            waiting = socket.socket()
            waiting.setblocking(False)
            waiting.connect_ex(("127.0.0.1", port))
            self.addCleanup(waiting.close)
        return port

    # -- the symptoms

    def status(self, target: str) -> int:
        with self.site.connect("http") as wire:
            return wire.get(target).status

    def ask(self, target: str, *lines: str, status: int, method: str = "GET", body: bytes = b"") -> None:
        with self.site.connect("http") as wire:
            self.assertEqual(wire.get(target, *lines, method=method, body=body).status, status, target)

    def tls_at_a_plain_port(self) -> None:
        with self.assertRaises(ssl.SSLError):
            self.site.connect("http", tls=insecure_context())

    def plain_at_a_tls_port(self) -> None:
        with self.site.connect("https", tls=False) as wire:
            self.assertIn(b"This port speaks TLS", wire.get("/").body)

    def untrusted(self) -> None:
        with self.assertRaises(ssl.SSLCertVerificationError):
            self.site.connect("https", tls=ssl.create_default_context(), server_name="gw.example")

    def own_token(self) -> None:
        with self.site.connect("http") as wire:
            token = json.loads(wire.get("/token", basic("alice", "secret"), "X-Auth-Realm: local").body)["access_token"]
        self.ask("/users", bearer(f"{token[:-6]}AAAAAA"), status=401)

    def foreign_token(self) -> None:
        parts = ({"alg": "RS256", "kid": "k"}, {"iss": "https://other.example"})
        header, claims = (urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts)
        self.ask("/users", bearer(f"{header}.{claims}.{'A' * 342}"), status=401)

    def by_a_proxy(self) -> None:
        self.site.configure(self.config.replace("trusted_proxies = 192.0.2.1", "trusted_proxies = 127.0.0.1"))
        self.site.reload()
        self.ask("/authenticate", "X-Forwarded-For: 198.51.100.7", "X-Forwarded-Uri: /x", status=403)

    def wrong_password(self, *, until: int = 401) -> None:
        statuses = []
        while until not in statuses and len(statuses) < 20:
            with self.site.connect("http") as wire:
                statuses.append(wire.get("/users", basic("alice", f"WRONG{len(statuses)}"), "X-Auth-Realm: local").status)
        self.assertIn(until, statuses)

    def wrong_on_the_page(self) -> None:
        form = "Content-Type: application/x-www-form-urlencoded"
        with self.site.connect("https", tls=insecure_context()) as wire:
            answer = wire.get("/.perimeter/login", form, method="POST", body=b"username=bob&password=wrong&realm=local")
        self.assertEqual(answer.status, 403)

    def ended_session(self) -> None:
        with self.site.connect("https", tls=insecure_context()) as wire:
            answer = wire.get("/people", f"Cookie: __Host-perimeter={'A' * 43}", "Accept: text/html")
        self.assertEqual(answer.status, 302)

    def foreign_page(self) -> None:
        password = basic("bob", "hunter2")
        self.ask("/users", password, "X-Auth-Realm: local", "Origin: https://other.example", status=403, method="POST")

    def private_ca(self) -> None:
        # the directories before it would be asked first
        before, corp, after = self.config.partition("[authenticator corp]")
        self.site.configure(before + after[after.index("[authenticator office]") :])
        self.assertTrue(corp)
        self.site.reload()
        self.directory_is_down("office")

    def directory_is_down(self, realm: str) -> None:
        for number in range(4):
            with self.site.connect("http") as wire:
                wire.get("/users", basic(f"carol{number}", "x"), f"X-Auth-Realm: {realm}")

    def bad_realm_file(self) -> None:
        (self.site.directory / "users.realm").write_text("alice: secret\nbob:\n")

    def bad_reload(self) -> None:
        self.site.configure(self.config.replace("lockout_after", "lockout_aftr"))
        self.site.reload()

    def full_disk(self) -> None:
        log = self.site.directory / "access.log"
        log.rename(log.with_suffix(".before"))
        log.symlink_to("/dev/full")
        with self.site.connect("http") as wire:
            eventually(lambda: wire.get("/users").status == 503, "the full disk is noticed")

    def checked(self) -> None:
        eventually(lambda: self.status("/checked") == 503, "a check has failed")

    def busy(self) -> None:
        first = self.site.connect("http")
        self.addCleanup(first.close)
        first.send(b"GET /busy HTTP/1.1\r\nHost: gw\r\n\r\n")

        eventually(lambda: self.status("/busy") == 503, "the service has as many requests as it may have")

    def too_often(self) -> None:
        self.ask("/rated", status=200)
        self.ask("/rated", status=429)

    def too_many(self) -> None:
        with self.site.connect("http") as wire:
            wire.send(b"GET /one HTTP/1.1\r\nHost: gw\r\n\r\n")
            eventually(lambda: self.status("/one") == 429, "one request is in flight")

    def port_in_use(self) -> str:
        with self.assertRaises(StartupError) as caught:
            bind(Address("https", "127.0.0.1", self.site["http"]))
        return str(caught.exception)

    def low_port(self) -> str:
        """As another user, in a child process. If the kernel lets every user take every port, only the words are compared."""
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            with contextlib.suppress(BaseException):
                if os.geteuid() == 0:
                    os.setgroups([])
                    os.setgid(65534)
                    os.setuid(65534)
                try:
                    bind(Address("https", "127.0.0.1", 1)).close()
                    os.write(writer, b"-")
                except StartupError as error:
                    os.write(writer, str(error).encode())
            os._exit(0)
        os.close(writer)
        os.waitpid(child, 0)
        with os.fdopen(reader) as pipe:
            said = pipe.read()
        if said == "-":
            problem = bind_fault(PermissionError(13, "Permission denied"), 1)
            return f"listener https: cannot listen on 127.0.0.1:1: {problem}"
        return said

    def scenarios(self) -> Iterator[Callable[[], str | None]]:
        """What makes each row's symptom happen, in the order of the page. Returns the line, unless it is in the gateway's log."""
        yield lambda: self.ask("/users/../x", status=400)
        yield lambda: self.ask("/users/a%2Fb", status=400)
        yield self.tls_at_a_plain_port
        yield lambda: self.ask("/users", status=401)
        yield self.wrong_password
        yield self.wrong_on_the_page
        yield self.ended_session
        yield self.own_token
        yield self.foreign_token
        yield lambda: self.ask("/admins", basic("bob", "hunter2"), "X-Auth-Realm: local", status=403)
        yield self.foreign_page
        yield lambda: self.ask("/near", status=403)
        yield self.by_a_proxy
        yield lambda: self.ask("/nothing", status=404)
        yield lambda: self.ask("/.perimeter/operator", status=404)
        yield lambda: self.ask("/small", status=413, method="POST", body=b"four")
        yield lambda: self.wrong_password(until=429)
        yield self.too_often
        yield self.too_many
        yield lambda: self.ask("/late", status=504)
        for name, status in zip(SERVICES, (502, 502, 502, 502, 502, 502, 504, 504), strict=True):
            yield lambda name=name, status=status: self.ask(f"/{name}", status=status)  # type: ignore[misc]
        yield self.checked
        yield self.busy
        yield lambda: self.directory_is_down("corp")
        yield self.private_ca
        yield self.bad_realm_file
        yield self.plain_at_a_tls_port
        yield self.untrusted
        yield lambda: None  # the certificate of the gateway expires soon
        yield self.port_in_use
        yield self.low_port
        yield self.bad_reload
        yield self.full_disk

    def test_every_row(self) -> None:
        scenarios = list(self.scenarios())
        found = rows()
        self.assertEqual(len(found), len(scenarios), [symptom for symptom, _ in found])
        for (symptom, line), make in zip(found, scenarios, strict=True):
            expected = pattern(line)
            start = 0 if "expires on" in line else len(self.site.log)
            said = make()
            if said is not None:
                self.assertRegex(said, expected, symptom)
                continue
            eventually(
                lambda: expected.search(self.site.log, start) is not None,  # noqa: B023  # called before the next row
                f"{symptom}: {line}\nin the log:\n{self.site.log[start:]}",
            )

    def test_every_row_of_the_page_is_read(self) -> None:
        """A row that the test does not understand would not be tested."""
        lines = [line for line in PAGE.read_text().splitlines() if line.startswith("| ") and not line.startswith("| symptom")]
        self.assertEqual(len(lines), len(rows()))
        self.assertGreater(len(lines), 25)
