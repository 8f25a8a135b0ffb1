"""Header rules of routes, against a running gateway, with a service that records what it gets."""

from __future__ import annotations

from typing import ClassVar

from click.testing import CliRunner

from perimeter.cli.main import main
from tests.integration.harness import GatewayCase, site
from tests.integration.stage import StageCase
from tests.integration.upstreams import Connection
from tests.integration.wire import Response, Wire, basic

FILES = {
    "users.realm": "alice: secret,admin,ops\nbob: pw\n%{roles}: pw,user\n",
    "key": "k%{user}y\n",
    "pair": "gateway:open sesame\n",
    "www/index.html": "<p>hello",
}

ROUTES = """\
[upstream service]
servers = <service>

[upstream scripted]
servers = <scripted>

[route ruled]
path = /ruled
upstream = service
request_headers =
    set X-Remote-User %{user}
    set X-Remote-Realm %{realm}
    set X-Remote-Roles %{roles}
    set X-Correlation %{request_id}
    set X-Api-Key file:key
    add X-Via perimeter
    remove Cookie
upstream_host = app.internal
upstream_authorization = basic file:pair

[route beside]
path = /beside
upstream = service
auth = none

[route answers]
path = /answers
upstream = scripted
auth = optional
response_headers =
    set Cache-Control no-store
    set X-User %{user}
    add X-Answer 2
    remove Server
security_headers = strict

[route files]
path = /files
static = www
auth = none
response_headers = set Cache-Control public, max-age=60
    remove ETag
security_headers = strict
"""

ALICE = basic("alice", "secret")


def get(target: str, *lines: str) -> bytes:
    return "\r\n".join([f"GET {target} HTTP/1.1", "Host: gateway.test", *lines, "", ""]).encode()


class HeaderRules(StageCase):
    """One gateway for all tests."""

    CONFIG = site(ROUTES)
    FILES: ClassVar = FILES

    def test_what_the_service_gets(self) -> None:
        received = self.forwarded(get("/ruled/x", ALICE, "X-Via: mine", "Cookie: a=b", "X_Remote_Roles: root", "X-Api-Key: mine"))
        for name, value in (
            ("host", "app.internal"),
            ("x-forwarded-host", "gateway.test"),
            ("authorization", "Basic Z2F0ZXdheTpvcGVuIHNlc2FtZQ=="),
            ("x-remote-user", "alice"),
            ("x-remote-roles", "admin,ops"),
            ("x-correlation", received.get("x-request-id")),
            ("x-api-key", "k%{user}y"),
            ("cookie", None),
        ):
            self.assertEqual(received.get(name), value, name)
        self.assertEqual([value for name, value in received.fields if name == "x-via"], ["mine", "perimeter"])
        self.assertNotIn(b"root", received.head)

    def test_attack_112_a_user_called_like_a_placeholder(self) -> None:
        received = self.forwarded(get("/ruled/x", basic("%{roles}", "pw")))
        self.assertEqual(received.get("x-remote-user"), "%25{roles}")

    def test_attack_113_a_header_that_a_rule_fills_is_closed_on_every_route(self) -> None:
        """A service that trusts the header gets requests of all routes."""
        lies = ("X-Remote-User: root", "X_Remote_User: root", "x-remote-realm: root", "X-REMOTE-ROLES: root")
        self.assertNotIn(b"root", self.forwarded(get("/beside/x", *lies)).head)
        # a header that does not name the user is the client's own matter there
        self.assertEqual(self.forwarded(get("/beside/x", "X-Correlation: mine")).get("x-correlation"), "mine")
        # a user without roles cannot bring them along
        received = self.forwarded(get("/ruled/x", basic("bob", "pw"), "X-Remote-Roles: admin"))
        self.assertIsNone(received.get("x-remote-roles"))

    def answer(self, *lines: str, target: str = "/answers") -> Response:
        def script(connection: Connection) -> None:
            connection.request()
            head = "\r\n".join(["HTTP/1.1 200 OK", "Content-Length: 0", "Server: secret/1.0", "X-Answer: 1", *lines, "", ""])
            connection.send(head.encode())

        self.stage.script = script
        return self.raw(get(target, ALICE))

    def test_what_the_client_gets(self) -> None:
        response = self.answer("Cache-Control: public", "X-User: root", "X-Frame-Options: DENY", "Strict-Transport-Security: a")
        self.assertEqual(response.get("cache-control"), "no-store")
        self.assertEqual(response.get("x-user"), "alice")
        self.assertEqual([value for name, value in response.fields if name == "x-answer"], ["1", "2"])
        self.assertIsNone(response.get("server"))
        self.assertEqual([value for name, value in response.fields if name == "x-frame-options"], ["DENY"])
        self.assertEqual(response.get("content-security-policy"), "frame-ancestors 'self'")
        # over TLS alone (RFC 6797, section 7.2)
        self.assertIsNone(response.get("strict-transport-security"))
        self.assertIsNone(self.answer().get("strict-transport-security"))

    def test_files(self) -> None:
        response = self.raw(get("/files/"))
        self.assertEqual((response.status, response.body), (200, b"<p>hello"))
        self.assertEqual(response.get("cache-control"), "public, max-age=60")
        self.assertIsNone(response.get("etag"))
        self.assertEqual([value for name, value in response.fields if name == "x-content-type-options"], ["nosniff"])
        self.assertEqual(response.get("referrer-policy"), "same-origin")


class OverTls(StageCase):
    """A gateway with TLS."""

    CONFIG = site(f"{ROUTES}\n[route secret]\npath = /secret\nupstream = service\nsecurity_headers = strict\n", tls=True)
    FILES: ClassVar = FILES

    def test_every_response_of_the_route_has_strict_transport_security_once(self) -> None:
        def script(connection: Connection) -> None:
            connection.request()
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nStrict-Transport-Security: max-age=1\r\n\r\n")

        self.stage.script = script
        for target, lines, status in (
            ("/answers", (), 200),
            ("/files/", (), 200),
            ("/files/none", (), 404),
            ("/secret", (), 401),
            ("/secret", (ALICE,), 200),
        ):
            response = self.raw(get(target, *lines), "https")
            self.assertEqual(
                (response.status, response.get_all("strict-transport-security")), (status, ["max-age=31536000"]), target
            )
        self.assertEqual(self.raw(get("/beside"), "https").get_all("strict-transport-security"), [])


class BesideNginx(GatewayCase):
    """What nginx does to headers, the gateway does after `perimeter import`."""

    LOCATION = """\
location / {
    proxy_pass http://127.0.0.1:@service@;
    proxy_set_header Host app.internal;
    proxy_set_header X-Role reader;
    proxy_set_header X-Origin $scheme://$host;
    proxy_set_header X-Client $remote_addr;
    proxy_set_header X-Percent 100%;
    proxy_set_header Cookie "";
    add_header X-Added "one; two" always;
    add_header X-Added three;
    add_header X-Of-Service other;
    proxy_hide_header X-Of-Service;
    proxy_hide_header X-Secret;
}
"""

    def test_the_same_headers(self) -> None:
        service = self.upstream(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Secret: s\r\nX-Of-Service: its\r\nX-Kept: k\r\n\r\n")
        location = self.LOCATION.replace("@service@", str(service.port))
        nginx = self.nginx({}, location)
        directory = self.directory()
        (directory / "nginx.conf").write_text(f"server {{ listen 127.0.0.1:{nginx.port}; {location} }}")
        result = CliRunner().invoke(main, ["import", str(directory / "nginx.conf"), "-o", str(directory / "site.ini")])
        self.assertEqual(result.exit_code, 0, result.output)
        text = (directory / "site.ini").read_text()
        gateway = self.gateway(text.replace(f"port = {nginx.port}\n", "port = @http@\n"))
        ours = ("x-role", "x-origin", "x-client", "x-percent", "cookie", "host", "x-mine")
        theirs = ("x-added", "x-of-service", "x-secret", "x-kept")
        seen = []
        for port in (nginx.port, gateway["http"]):
            with Wire(port) as wire:
                response = wire.send(get("/x", "X-Role: admin", "Cookie: a=b", "X-Mine: m", "X-Client: 10.0.0.1")).response()
            received = service.requests[-1]
            seen.append(
                (
                    sorted(field for field in received.fields if field[0] in ours),
                    sorted(field for field in response.fields if field[0] in theirs),
                )
            )
        self.assertEqual(seen[0], seen[1])
        self.assertIn(("x-role", "reader"), seen[1][0])
        self.assertEqual([value for name, value in seen[1][1] if name == "x-added"], ["one; two", "three"])
