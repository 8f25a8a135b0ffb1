"""The rules of a route about headers, on real exchanges: what the service gets, and what the client gets back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.trial import unittest

from perimeter.config.site.header_rule import REQUEST_RULES, RESPONSE_RULES, HeaderRule
from perimeter.gate.decision import Admitted
from perimeter.http.exchange import Exchange
from perimeter.model import Field, Principal
from perimeter.proxy.headers import HeaderRules
from perimeter.proxy.ruled_headers import STRICT, Edits, RuledHeaders, header_rules
from tests.unit.doubles.http_rig import Client, Response
from tests.unit.doubles.http_upstream import Gateway, Peer

ALICE = Principal("alice", "local", ("admin", "a,b"), attributes={"mail": "alice@example.com", "name": "Ärger\r\nX-Evil: 1"})


def rules(*lines: str, response: bool = False) -> tuple[HeaderRule, ...]:
    kind = RESPONSE_RULES if response else REQUEST_RULES
    assert kind.item is not None
    return tuple(kind.item.convert(line, Path()) for line in lines)


class Ruled(Gateway):
    """A gateway with one route that has header rules, for one user."""

    def __init__(self, edits: Edits, principal: Principal | None = ALICE, **more: Any) -> None:
        super().__init__(rules=RuledHeaders(edits), **more)
        self.principal = principal
        self.next_id_line = lambda: b"X-Request-ID: 0123\r\n"

    def dispatch(self, exchange: Exchange) -> None:
        self.exchanges.append(exchange)
        exchange.decision = Admitted(self.route, self.principal, b"/", self.identity, "192.0.2.7", self.relayed)
        self.target.handle(exchange)


class RuledHeaderTests(unittest.TestCase):
    def sent(self, *lines: str, edits: Edits, principal: Principal | None = ALICE, relayed: tuple[str, ...] = ()) -> list[str]:
        """The headers that the service gets, without those that it gets anyway."""
        gateway = Ruled(edits, principal)
        gateway.relayed = relayed
        _, peer = gateway.begun("GET", "/", *lines)
        usual = ("Host:", "X-Real-IP:", "X-Forwarded-", "X-Request-ID:", "X-Perimeter-Hops:")
        return [line for line in peer.request().decode().split("\r\n")[1:-2] if not line.startswith(usual)]

    def answer(
        self, *lines: str, edits: Edits, tls: str = "", principal: Principal | None = ALICE, status: int = 200
    ) -> Response:
        gateway = Ruled(edits, principal)
        client = gateway.client(tls)
        client.get()
        peer = gateway.attempts[-1].accept()
        return self.reply(client, peer, *lines, status=status)

    def reply(self, client: Client, peer: Peer, *lines: str, status: int = 200) -> Response:
        head = "".join(f"{line}\r\n" for line in ("Date: now", "Content-Length: 0", *lines))
        peer.reply(f"HTTP/1.1 {status} X\r\n{head}\r\n".encode())
        return client.response()

    def got(self, *lines: str, edits: Edits, **more: Any) -> list[Field]:
        """The headers that the client gets, without those that it gets anyway."""
        usual = (b"date", b"content-length", b"x-request-id")
        return [field for field in self.answer(*lines, edits=edits, **more).fields if field[0] not in usual]

    def test_requests(self) -> None:
        edits = Edits(request=rules("set X-A new", "add X-B more", "remove X-C"))
        self.assertEqual(
            self.sent("X-A: old", "X_a: old", "X-B: mine", "X-C: x", "x.c: y", "X-D: z", edits=edits),
            ["X-B: mine", "X-D: z", "X-A: new", "X-B: more"],
        )
        self.assertEqual(self.sent(edits=edits), ["X-A: new", "X-B: more"])

    def test_a_client_cannot_remove_what_is_set(self) -> None:
        self.assertEqual(self.sent("Connection: X-A", "X-A: old", edits=Edits(request=rules("set X-A new"))), ["X-A: new"])

    def test_values_of_the_request(self) -> None:
        for value, expected in (
            ("%{user}", "alice"),
            ("%{realm}/%{user}", "local/alice"),
            ("%{roles}", "admin,a%2Cb"),
            ("%{attribute:mail}", "alice@example.com"),
            ("%{request_id}", "0123"),
            ("%{address}", "192.0.2.7"),
            ("%{host}", "gw.example"),
            ("%{scheme}", "http"),
            ("100%% %{user}", "100% alice"),
        ):
            self.assertEqual(self.sent("X-A: old", edits=Edits(request=rules(f"set X-A {value}"))), [f"X-A: {expected}"], value)
            field = (b"x-a", expected.encode())
            self.assertEqual(self.got("X-A: old", edits=Edits(response=rules(f"set X-A {value}", response=True))), [field])

    def test_the_scheme_behind_a_trusted_proxy(self) -> None:
        edits = Edits(request=rules("set X-A %{scheme}"))
        for line, expected in (("X-Forwarded-Proto: https", "https"), ("X-Forwarded-Proto: ftp", "http"), ("X: y", "http")):
            found = self.sent(line, edits=edits, relayed=("192.0.2.9",))
            self.assertEqual(found[-1], f"X-A: {expected}", line)
        self.assertEqual(self.sent("X-Forwarded-Proto: https", edits=edits), ["X-A: http"])

    def test_attack_112_a_value_is_one_value_of_one_header(self) -> None:
        """Names and attributes of users hold any character, and are never read as a template."""
        for name, expected in (
            ("a\r\nX-Auth-Roles: admin", "a%0D%0AX-Auth-Roles:%20admin"),
            ("a, b", "a%2C b"),
            ("%{roles}", "%25{roles}"),
            ("é%", "%C3%A9%25"),
            (" a", "%20a"),
            ("\0\x7f\u2028", "%00%7F%E2%80%A8"),
        ):
            user = Principal(name, "local", ("r",), attributes={"a": name})
            for word in ("user", "attribute:a"):
                edits = Edits(request=rules(f"set X-A <%{{{word}}}>"), response=rules(f"set X-A <%{{{word}}}>", response=True))
                found = self.sent(edits=edits, principal=user)
                self.assertEqual([line.replace(" ", "%20") for line in found], [f"X-A:%20<{expected.replace(' ', '%20')}>"])
                self.assertEqual(len(self.got(edits=edits, principal=user)), 1)

    def test_a_header_without_a_value_is_not_sent(self) -> None:
        bob = Principal("bob", "local", attributes={"mail": ""})
        for principal, word in ((None, "user"), (None, "realm"), (None, "roles"), (bob, "roles"), (bob, "attribute:mail")):
            edits = Edits(request=rules(f"set X-A x%{{{word}}}"), response=rules(f"set X-A x%{{{word}}}", response=True))
            # what the client sends does not take its place
            self.assertEqual(self.sent("X-A: forged", edits=edits, principal=principal), [], word)
            self.assertEqual(self.got("X-A: of the service", edits=edits, principal=principal), [], word)

    def test_responses(self) -> None:
        edits = Edits(response=rules("set X-A new", "add X-B more", "remove Server", response=True))
        self.assertEqual(
            self.got("X-A: old", "X-B: its", "Server: x", "X-D: z", edits=edits),
            [(b"x-b", b"its"), (b"x-d", b"z"), (b"x-a", b"new"), (b"x-b", b"more")],
        )
        self.assertEqual(self.got("Server: x", edits=edits, status=503), [(b"x-a", b"new"), (b"x-b", b"more")])

    def test_the_next_response_on_a_connection(self) -> None:
        """Lines are cached with the block; those of one user are not."""
        gateway = Ruled(Edits(response=rules("set X-A a", "set X-U %{user}", response=True)))
        client = gateway.client()
        peer = None
        for name in ("alice", "bob", "bob"):
            gateway.principal = Principal(name, "local")
            client.get()
            peer = peer or gateway.attempts[-1].accept()
            peer.reply(b"HTTP/1.1 200 X\r\nDate: now\r\nContent-Length: 0\r\n\r\n")
            response = client.responses()[-1]
            self.assertEqual((response.get(b"x-a"), response.get(b"x-u")), (b"a", name.encode()))

    def test_security_headers(self) -> None:
        strict = [(name.lower(), value) for name, value in STRICT]
        edits = Edits(strict=True)
        for tls in ("", "TLSv1.3"):
            self.assertEqual(self.got(edits=edits, tls=tls), strict)
            for name, _ in strict:
                found = self.got(f"{name.decode().title()}: its own", edits=edits, tls=tls)
                self.assertEqual([value for key, value in found if key == name], [b"its own"], name)
                self.assertEqual(len(found), len(strict), name)
        # the gateway's own is in all responses of the route, and the service's does not double it
        transport = "Strict-Transport-Security: x"
        self.assertEqual(self.got(transport, edits=edits), strict)
        self.assertEqual(len(self.got(transport, edits=Edits(host=b"a"))), 1)

    def test_rules_come_before_security_headers(self) -> None:
        names = [name.decode() for name, _ in STRICT]
        for name in names:
            removed = Edits(response=rules(f"remove {name}", response=True), strict=True)
            found = self.got(f"{name}: x", edits=removed)
            self.assertEqual((len(found), dict(found).get(name.lower().encode())), (len(names) - 1, None))
            own = Edits(response=rules(f"set {name} mine", response=True), strict=True)
            found = self.got(f"{name}: x", edits=own)
            self.assertEqual((len(found), dict(found)[name.lower().encode()]), (len(names), b"mine"))
        added = Edits(response=rules("add Strict-Transport-Security mine", response=True), strict=True)
        found = self.got("Strict-Transport-Security: x", edits=added)
        self.assertEqual([value for name, value in found if name == b"strict-transport-security"], [b"x", b"mine"])

    def test_trailers(self) -> None:
        ruled = RuledHeaders(Edits(request=rules("set X-A a"), response=rules("remove X-B", response=True)))
        self.assertEqual(ruled.trailers([(b"x-a", b""), (b"x_a", b""), (b"x-b", b""), (b"x-c", b"")]), [(b"x-c", b"")])
        self.assertEqual(len(HeaderRules().trailers([(b"x-a", b""), (b"x-b", b"")])), 2)

    def test_the_host_of_the_service(self) -> None:
        edits = Edits(host=b"app.internal:81")
        _, peer = Ruled(edits).begun("GET", "/", "X-Forwarded-Host: forged")
        head = peer.request()
        self.assertIn(b"\r\nHost: app.internal:81\r\n", head)
        self.assertIn(b"\r\nX-Forwarded-Host: gw.example\r\n", head)
        for location, expected in (
            ("http://app.internal:81/x", b"/x"),
            ("https://gw.example/y", b"/y"),
            ("http://app.internal/z", b"http://app.internal/z"),
        ):
            self.assertEqual(self.answer(f"Location: {location}", edits=edits, status=302).get(b"location"), expected)

    def test_cookies_for_the_host_of_the_service(self) -> None:
        """A browser refuses a cookie for another host; without a domain it is for the host that set it."""
        for cookie, expected in (
            ("a=b; Domain=app.internal; Path=/", "a=b; Path=/"),
            ("a=b;domain=.APP.internal;Secure", "a=b;Secure"),
            ("a=b; Domain=internal", "a=b"),
            ("a=b; Domain=gw.example; Path=/", "a=b; Domain=gw.example; Path=/"),
            ("a=b; Domain=example", "a=b; Domain=example"),
            ("a=b; Domain=other", "a=b; Domain=other"),
            ("a=b; Domain=; Path=/", "a=b; Domain=; Path=/"),
        ):
            for edits, result in ((Edits(host=b"app.internal:81"), expected), (Edits(strict=True), cookie)):
                response = self.answer(f"Set-Cookie: {cookie}", edits=edits)
                self.assertEqual(response.get(b"set-cookie"), result.encode())
        shared = Edits(host=b"app.example")
        self.assertEqual(self.answer("Set-Cookie: a=b; Domain=example", edits=shared).get(b"set-cookie"), b"a=b; Domain=example")

    def test_a_route_without_rules_has_the_plain_ones(self) -> None:
        self.assertIs(type(header_rules(Edits(), (), False, False, False)), HeaderRules)
        self.assertIs(type(header_rules(Edits(strict=True), (), False, False, False)), RuledHeaders)
        for edits in (Edits(), Edits(request=rules("set X-A a"))):
            strict = header_rules(edits, (b"X-Who",), True, True, False)
            lines = (b"authorization", b"x-who", b"x-http-method")
            self.assertEqual([strict._judge_request_name(name) for name in lines], [True, False, False])
            lax = header_rules(edits, (), False, False, False)
            self.assertEqual([lax._judge_request_name(name) for name in lines], [False, True, True])
