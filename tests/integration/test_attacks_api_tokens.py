"""Attacks on API tokens and on revocation, against running gateways. The numbers are those of the other attacks' tests."""

from __future__ import annotations

import threading

from tests.integration.ports import eventually
from tests.integration.stage import basic
from tests.integration.test_api_tokens import ALICE, BOB, ApiTokenCase, bearer
from tests.integration.upstreams import OK, Connection

_FORM = "Content-Type: application/x-www-form-urlencoded"
_JSON = "Content-Type: application/json"
_UPGRADE = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="


class HeldCase(ApiTokenCase):
    """The application answers what is beneath ``/hook/held`` when the test lets it."""

    def setUp(self) -> None:
        self.release = threading.Event()
        super().setUp()
        self.addCleanup(self.release.set)
        text = self.served.config.read_text()
        self.served.config.write_text(text.replace("path = /hook\n", "path = /hook\nwebsocket = yes\n"))
        self.served.reload()

    def answer(self, connection: Connection) -> None:
        while True:
            try:
                request = connection.request()
            except EOFError:
                return
            if "/held/socket" in request.line:
                self.release.wait(10)
                connection.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
                connection.send(b"secret")
                return
            if "/held/stream" in request.line:
                self.release.wait(10)
                connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nsecret\r\n")
                return
            connection.send(OK)


class RevokedMeanwhileTests(HeldCase):
    def test_attack_21_revoked_before_the_tunnel_is_open(self) -> None:
        """Whoever's token ends while the service takes its time gets no tunnel, which would be open for ever."""
        for target, extra in (("/hook/held/socket", _UPGRADE + "\r\n"), ("/hook/held/stream", "")):
            self.release.clear()
            token, before = self.access_token(), len(self.app.requests)
            wire = self.connect(self.served, "http")
            wire.send(f"GET {target} HTTP/1.1\r\nHost: gateway.test\r\n{bearer(token)}\r\n{extra}\r\n".encode())
            eventually(lambda before=before: len(self.app.requests) > before, "the request is with the service")
            self.assertEqual(self.ask("/revoke", _FORM, method="POST", body=f"token={token}".encode()).status, 200)
            self.assertEqual(wire.response().status, 401)
            self.release.set()
            self.assertEqual(wire.get("/hook/x", bearer(token)).status, 401, "and nothing of the service's answer before it")
        self.assertEqual(self.status(self.access_token(), "/hook/x"), 200)

    def test_attack_21_revoked_while_a_body_is_under_way(self) -> None:
        token, before = self.access_token(), len(self.app.requests)
        wire = self.connect(self.served, "http")
        wire.send(f"POST /hook/x HTTP/1.1\r\nHost: gateway.test\r\n{bearer(token)}\r\nContent-Length: 9\r\n\r\nfirst".encode())
        eventually(lambda: self.app.connections > 0, "the request is with the service")
        self.ask("/revoke", _FORM, method="POST", body=f"token={token}".encode())
        self.assertEqual(wire.response().status, 401)
        wire.send(b"last")
        self.assertTrue(wire.closed())
        self.assertEqual(len(self.app.requests), before, "never whole")


class RestrictedTests(ApiTokenCase):
    def test_attack_34_a_method_in_another_field(self) -> None:
        """A service that takes the method from a header field must not be told one that the token is not for."""
        token = self.made(methods=["GET", "POST"])["token"]
        self.assertEqual(self.status(token, "/x", "POST"), 200)
        before = len(self.app.requests)
        for name in ("X-HTTP-Method-Override", "x-http-method", "X_Method_Override"):
            self.assertEqual(self.status(token, "/x", "POST", f"{name}: DELETE"), 403, name)
        self.assertEqual(len(self.app.requests), before)
        self.assertEqual(self.status(self.made(routes=["app"])["token"], "/x", "POST", "X-HTTP-Method: DELETE"), 200)

    def test_attack_34_from_another_network_it_tells_nothing(self) -> None:
        elsewhere = bearer(self.made(networks=["192.0.2.0/24"])["token"])
        for target in ("/whoami", "/providers", "/augmenters", "/tokens"):
            response = self.ask(target, elsewhere)
            self.assertEqual(response.status, 403, target)
            self.assertNotIn(b"alice", response.body)

    def test_attack_41_a_member_named_twice(self) -> None:
        """Of two lists of routes one would not count, and nobody could say which."""
        body = b'{"name": "x", "routes": ["hook"], "routes": ["app"]}'
        self.assertEqual(self.ask("/tokens", ALICE, _JSON, method="POST", body=body).status, 400)
        self.assertEqual(self.listed(), [])

    def test_a_restricted_one_ends_itself_by_its_text_too(self) -> None:
        token = self.made(routes=["hook"])["token"]
        self.assertEqual(self.end(token, bearer(token)), 204)
        self.assertEqual(self.status(token, "/hook"), 401)

    def test_a_restricted_one_ends_no_other_by_its_text(self) -> None:
        token, other, bobs = self.made(routes=["hook"])["token"], self.made()["token"], self.made(BOB)["token"]
        self.assertEqual((self.end(other, bearer(token)), self.end(bobs, bearer(token))), (403, 403))
        self.assertEqual(self.end(bobs, ALICE), 404)
        self.assertEqual((self.status(other), self.status(bobs)), (200, 200))


class TrustedProxyTests(ApiTokenCase):
    perimeter = "trusted_proxies = 127.0.0.1"

    def test_attack_34_a_method_in_another_field_of_what_is_asked_about(self) -> None:
        token = self.made(methods=["GET"])["token"]
        asked = (bearer(token), "X-Forwarded-For: 192.0.2.7", "X-Original-Method: GET", "X-Original-URI: /x")
        self.assertEqual(self.ask("/authenticate", *asked).status, 200)
        self.assertEqual(self.ask("/authenticate", *asked, "X-HTTP-Method-Override: DELETE").status, 403)


class FailingTests(ApiTokenCase):
    def test_attack_41_a_form_that_is_none(self) -> None:
        token = self.made()["token"].encode()
        for body in (b"token=\xff", b"token=%ff", b"\xff=1&token=x"):
            self.assertIn(self.ask("/revoke", _FORM, method="POST", body=body).status, (200, 400), body)
        self.assertEqual(self.ask("/revoke", _FORM, method="POST", body=b"token=" + token + b"&hint=%ff").status, 200)
        self.assertEqual(self.status(token.decode()), 401)
        self.assertNotIn("Traceback", self.served.log)

    def test_attack_42_a_token_in_the_place_of_a_user_name(self) -> None:
        token = self.made()["token"]
        for credentials in (basic(token, ""), basic(token, "x"), basic("x", token)):
            self.assertEqual(self.ask("/x", credentials).status, 401)
        self.ask("/x", f"Referer: http://h/{token}", f"User-Agent: {token}", f"X-Request-Id: {token}")
        self.served.await_audit(5)
        self.assertNotIn(token, self.served.log)
