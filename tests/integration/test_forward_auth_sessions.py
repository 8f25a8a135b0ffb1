"""People who sign in behind real proxies: nginx, HAProxy and Caddy, as ``perimeter emit`` configures them, with TLS added.

The proxies send the gateway's own pages to the gateway, and redirect browsers to the sign-in page. The services see no cookie of
the gateway's own.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlencode, urlsplit

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.integration.netkit import identity, pem
from tests.integration.test_forward_auth import ForwardAuthCase, Proxy, gateway_behind
from tests.integration.visitor import forms
from tests.integration.wire import Response, Wire, basic

CONFIG = gateway_behind(
    "127.0.0.1/32",
    """\
[upstream service]
servers = <service>

[route page]
path = /
upstream = service
browser_login = yes

[route admin]
path = /admin
upstream = service
allow = role:admin
browser_login = yes

[route app]
path = /app
upstream = service
browser_login = yes
app_authorization = yes

[route program]
path = /program
upstream = service

[route pub]
path = /pub
upstream = service
auth = none
""",
)
HOST = "gateway.test"
HTML = "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
BY_SCRIPT = ("Accept: text/html", "Sec-Fetch-Mode: cors", "Sec-Fetch-Dest: empty", "Sec-Fetch-Site: same-origin")
BY_ADDRESS = (HTML, "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document", "Sec-Fetch-Site: none")
UPGRADE = (
    *("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"),
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)


class TlsProxy(Proxy):
    """A proxy whose emitted configuration has got a certificate."""

    def _certificate(self, directory: Path) -> tuple[Path, Path]:
        found = identity(HOST)
        certificate, key = directory / "tls.pem", directory / "tls.key"
        certificate.write_bytes(pem(*found.chain))
        key.write_bytes(found.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return certificate, key

    def _nginx(self, text: str, directory: Path, lua: Callable[[], str], path: Path) -> list[str]:
        certificate, key = self._certificate(directory)
        ssl = f"ssl; ssl_certificate {certificate}; ssl_certificate_key {key};"
        return super()._nginx(re.sub(r"(listen \S+);", rf"\1 {ssl}", text), directory, lua, path)

    def _haproxy(self, text: str, directory: Path, lua: Callable[[], str], path: Path) -> list[str]:
        certificate, key = self._certificate(directory)
        both = directory / "both.pem"
        both.write_bytes(certificate.read_bytes() + key.read_bytes())
        return super()._haproxy(re.sub(r"(bind \S+) proto h1", rf"\1 proto h1 ssl crt {both}", text), directory, lua, path)

    def _caddy(self, text: str, directory: Path, lua: Callable[[], str], path: Path) -> list[str]:
        certificate, key = self._certificate(directory)
        secure = re.sub(r"(?m)^http://(\S*) \{", rf"https://\1 {{\n\ttls {certificate} {key}", text)
        return super()._caddy(secure, directory, lua, path)


class SessionCase(ForwardAuthCase):
    CONFIG = CONFIG
    FILES: ClassVar = {"users.realm": "alice: secret,user\n"}

    def start(self, site: Path, *options: str) -> Proxy:
        directory = self.directory()
        return TlsProxy(self.KIND, directory, site, *options)

    @property
    def origin(self) -> str:
        return f"https://{HOST}:{self.proxy.port}"

    def ask(self, target: str, *headers: str, method: str = "GET", host: str = HOST, body: bytes = b"") -> Response:
        with Wire(self.proxy.port, tls=True, server_name=HOST) as wire:
            return wire.get(target, *headers, method=method, host=f"{host}:{self.proxy.port}", body=body)

    def path_of(self, location: str | None) -> str:
        """Path and query of a Location on this host; some proxies make whole URLs of it."""
        parts = urlsplit(location or "")
        self.assertIn(parts.netloc, ("", urlsplit(self.origin).netloc), location)
        self.assertIn(parts.scheme, ("", "https"), location)
        return f"{parts.path}?{parts.query}"

    def sign_in(self, to: str = "/") -> Response:
        """The answer to the sign-in form, sent as the page has it."""
        page = self.ask(f"/.perimeter/login?{urlencode({'to': to})}", *BY_ADDRESS)
        self.assertEqual(page.status, 200, page)
        (form,) = (one for one in forms(page.text) if "login" in one.action)
        cookies = "; ".join(one.partition(";")[0] for one in page.get_all("set-cookie"))
        body = urlencode({**form.fields, "username": "alice", "password": "secret"}).encode()
        lines = (f"Cookie: {cookies}", "Content-Type: application/x-www-form-urlencoded", f"Origin: {self.origin}", HTML)
        return self.ask(form.action, *lines, "Sec-Fetch-Site: same-origin", method="POST", body=body)

    def session(self) -> str:
        """The Cookie header of a signed-in user."""
        answer = self.sign_in()
        self.assertEqual(answer.status, 303, answer)
        (cookie,) = (one for one in answer.get_all("set-cookie") if one.startswith("__Host-perimeter="))
        for attribute in ("Secure", "HttpOnly", "Path=/", "SameSite=Lax"):
            self.assertIn(attribute, cookie)
        return f"Cookie: {cookie.partition(';')[0]}"


class Tests:
    def test_a_browser_is_sent_to_the_sign_in_page_and_back(self: Any) -> None:
        sent = self.stopped(302, "/a%20b?c=d&e", *BY_ADDRESS)
        self.assertIn("no-store", sent.get("cache-control") or "")
        path, _, query = self.path_of(sent.get("location")).partition("?")
        self.assertEqual((path, parse_qs(query)), ("/.perimeter/login", {"to": ["/a%20b?c=d&e"]}))
        answer = self.sign_in("/a%20b?c=d&e")
        self.assertEqual(answer.status, 303)
        path, _, query = self.path_of(answer.get("location")).partition("?")
        self.assertEqual((path, parse_qs(query)["to"]), ("/.perimeter/go", ["/a%20b?c=d&e"]))

    def test_everything_else_gets_its_401(self: Any) -> None:
        for lines in ((), ("Accept: */*",), BY_SCRIPT, (*BY_ADDRESS, "Sec-Purpose: prefetch"), UPGRADE):
            answer = self.stopped(401, "/x", *lines)
            self.assertIsNone(answer.get("location"), lines)
            challenges = answer.get_all("www-authenticate")
            self.assertTrue(any(one.startswith("Bearer ") for one in challenges), (lines, challenges))
            self.assertFalse(any("Basic" in one for one in challenges), lines)
        self.assertEqual(self.stopped(401, "/x", HTML, method="POST", body=b"x").get("location"), None)
        # a route without browser_login
        self.assertIsNone(self.stopped(401, "/program", *BY_ADDRESS).get("location"))

    def test_by_a_session(self: Any) -> None:
        session = self.session()
        received = self.passes("/x?y=z", session, *BY_ADDRESS)
        self.assertEqual(received.get("x-auth-username"), "alice")
        self.assertEqual(self.passes("/program", session).get("x-auth-username"), "alice")
        self.stopped(403, "/admin", session, *BY_ADDRESS)

    def test_attack_16_and_28_no_cookie_of_the_gateway_reaches_a_service(self: Any) -> None:
        session = self.session()
        value = session.partition("=")[2]
        for target in ("/x", "/pub", "/app", "/program"):
            received = self.passes(target, session)
            self.assertIsNone(received.get("cookie"), target)
            received = self.passes(target, f"{session}; a=b; __host-PERIMETER-pre=1; c=d")
            self.assertEqual(received.get("cookie"), "a=b; c=d", target)
            self.assertNotIn(value.encode(), received.head)
        self.assertEqual(self.passes("/pub", "Cookie: a=b").get("cookie"), "a=b")
        self.assertNotIn("cookie", dict(self.passes("/pub").fields))
        many = f"big={'x' * 7000}"
        self.assertEqual(self.passes("/x", f"{session}; {many}").get("cookie"), many)

    def test_attack_25_an_ended_session_is_none(self: Any) -> None:
        session = self.session()
        page = self.ask("/.perimeter/logout", session, *BY_ADDRESS)
        (form,) = (one for one in forms(page.text) if "logout" in one.action)
        lines = (session, "Content-Type: application/x-www-form-urlencoded", f"Origin: {self.origin}", HTML)
        body = urlencode(form.fields).encode()
        ended = self.ask(form.action, *lines, "Sec-Fetch-Site: same-origin", method="POST", body=body)
        self.assertIn(ended.status, (200, 303), ended)
        self.stopped(401, "/x", session)
        self.stopped(302, "/x", session, *BY_ADDRESS)
        self.stopped(401, "/x", "Cookie: __Host-perimeter=" + "A" * 43)

    def test_attack_21_and_27_a_page_of_another_site_uses_no_session(self: Any) -> None:
        session = self.session()
        for foreign in (
            "Origin: https://evil.example",
            "Origin: null",
            "Sec-Fetch-Site: cross-site",
            "Sec-Fetch-Site: same-site",
        ):
            self.stopped(403, "/x", session, foreign, method="POST", body=b"x")
        self.stopped(403, "/x", session, "Origin: https://evil.example", *UPGRADE)
        self.stopped(401, "/x", f"Origin: {self.origin}", *UPGRADE)
        self.passes("/x", session, f"Origin: {self.origin}", method="POST", body=b"x")
        self.assertEqual(
            (self.passes("/x", session, f"Origin: {self.origin}", *UPGRADE).get("upgrade") or "").lower(), "websocket"
        )

    def test_attack_24_a_redirect_stays_on_this_host(self: Any) -> None:
        for to in (
            "//evil.example",
            "/\\evil.example",
            "/%09/evil.example",
            "https://evil.example/",
            "javascript:alert(1)",
            "/%0d%0ax: y",
        ):
            answer = self.sign_in(to)
            query = parse_qs(urlsplit(answer.get("location") or "").query)
            self.assertEqual((answer.status, query.get("to", ["/"])), (303, ["/"]), to)

    def test_what_a_page_of_a_service_sends_to_it(self: Any) -> None:
        session, own = self.session(), "Authorization: Bearer of-the-service"
        self.assertEqual(self.passes("/app", session, own).get("authorization"), "Bearer of-the-service")
        self.assertNotIn("authorization", dict(self.passes("/app", session).fields))
        self.stopped(401, "/app", own)
        self.stopped(401, "/x", session, own)
        # without a session it is for the gateway
        self.assertFalse(self.passes("/app", basic("alice", "secret")).get("authorization"))

    def test_attack_11_a_client_says_who_it_is_to_the_pages(self: Any) -> None:
        for line in ("X-Auth-Username: alice", "X-Forwarded-User: alice", "X-Forwarded-Proto: http", "X-Original-URI: /pub"):
            page = self.ask("/.perimeter/login", line, *BY_ADDRESS)
            self.assertEqual(page.status, 200, line)
            self.assertIn("password", page.text, line)


class NginxTests(Tests, SessionCase):
    KIND = "nginx"


class HAProxyTests(Tests, SessionCase):
    KIND = "haproxy"


class CaddyTests(Tests, SessionCase):
    KIND = "caddy"
