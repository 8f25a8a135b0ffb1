"""Attacks on API tokens and on revocation, against running gateways. The numbers are those of the other attacks' tests."""

from __future__ import annotations

import contextlib
import json
import signal
import sqlite3
import threading
import time

from perimeter.run.build.state_kinds import STATE_KINDS
from perimeter.tokens.revocation import RevokedUser
from tests.integration.ports import eventually
from tests.integration.test_api_tokens import ALICE, BOB, USERS, ApiTokenCase
from tests.integration.upstreams import OK, Connection
from tests.integration.wire import basic, bearer

_FORM = "Content-Type: application/x-www-form-urlencoded"
_JSON = "Content-Type: application/json"
_UPGRADE = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="


class HeldCase(ApiTokenCase):
    """The application answers requests below ``/hook/held`` when the test allows it."""

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
        """A token that ends before the service answers opens no tunnel, which would never be closed."""
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
        """A service that takes the method from a header must not get a method that the token does not allow."""
        token = self.made(methods=["GET", "POST"])["token"]
        self.assertEqual(self.status(token, "/x", "POST"), 200)
        before = len(self.app.requests)
        for name in ("X-HTTP-Method-Override", "x-http-method", "X_Method_Override"):
            self.assertEqual(self.status(token, "/x", "POST", f"{name}: DELETE"), 403, name)
        self.assertEqual(len(self.app.requests), before)
        self.assertEqual(self.status(self.made(routes=["app"])["token"], "/x", "POST", "X-HTTP-Method: DELETE"), 200)

    def test_attack_34_from_another_network_it_reports_nothing(self) -> None:
        elsewhere = bearer(self.made(networks=["192.0.2.0/24"])["token"])
        for target in ("/whoami", "/providers", "/augmenters", "/tokens"):
            response = self.ask(target, elsewhere)
            self.assertEqual(response.status, 403, target)
            self.assertNotIn(b"alice", response.body)

    def test_attack_34_its_methods_hold_at_built_in_endpoints(self) -> None:
        """The gate judges the built-in endpoints like any route."""
        writes, reads = (bearer(self.made(methods=[method])["token"]) for method in ("POST", "GET"))
        for target in ("/whoami", "/providers", "/augmenters"):
            self.assertEqual(self.ask(target, writes).status, 403, target)
            self.assertEqual(self.ask(target, writes, method="HEAD").status, 403, target)
            self.assertEqual(self.ask(target, reads).status, 200, target)
            for name in ("X-HTTP-Method-Override", "x-http-method", "X_Method_Override"):
                self.assertEqual(self.ask(target, reads, f"{name}: DELETE").status, 403, (target, name))

    def test_a_token_for_certain_methods_ends_itself(self) -> None:
        token = self.made(methods=["GET"])
        self.assertEqual(self.end(token["id"], bearer(token["token"])), 204)

    def test_attack_34_from_another_network_it_does_not_end_itself(self) -> None:
        token = self.made(networks=["192.0.2.0/24"])
        self.assertEqual(self.end(token["id"], bearer(token["token"])), 403)

    def test_attack_23_a_body_is_taken_from_those_who_may_send_it(self) -> None:
        """The body of an unknown client is neither requested nor kept."""
        with self.served.connect("http") as wire:
            wire.send(
                b"POST /tokens HTTP/1.1\r\nHost: gw\r\nContent-Type: application/json\r\nContent-Length: 12\r\n"
                b"Expect: 100-continue\r\n\r\n"
            )
            self.assertEqual(wire.response().status, 401)

    def test_attack_41_a_member_named_twice(self) -> None:
        """With two lists of routes it would be unclear which of them applies."""
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


class FloodTests(ApiTokenCase):
    def kept(self) -> int:
        path = self.served.directory / "state" / "state.db"
        with sqlite3.connect(path) as db:
            found = int(db.execute("SELECT count(*) FROM api_token").fetchone()[0])
        db.close()
        return found

    def test_attack_23_tokens_made_all_at_once(self) -> None:
        """Parallel requests do not exceed the maximum number of tokens of one user."""
        body = b'{"name":"x"}'
        request = (
            f"POST /tokens HTTP/1.1\r\nHost: gateway.test\r\n{ALICE}\r\n{_JSON}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        self.made()
        with sqlite3.connect(self.served.directory / "state" / "state.db", isolation_level=None) as other:
            other.execute("BEGIN IMMEDIATE")  # so that all of them wait
            wires = [self.connect(self.served, "http").send(request) for _ in range(260)]
            other.execute("ROLLBACK")
        other.close()
        statuses = [wire.response().status for wire in wires]
        self.assertEqual((statuses.count(201), statuses.count(409)), (199, 61))
        self.assertEqual(self.kept(), 200)

    def test_attack_23_tokens_of_who_does_not_wait_for_them(self) -> None:
        """A token that was written for a client that has left is known, and counts towards the maximum."""
        path = self.served.directory / "state" / "state.db"
        self.made()
        with sqlite3.connect(path, isolation_level=None) as other:
            other.execute("BEGIN IMMEDIATE")
            for _ in range(3):
                wire = self.connect(self.served, "http")
                wire.send(f"GET /token HTTP/1.1\r\nHost: gateway.test\r\n{ALICE}\r\n\r\n".encode())
            body = b'{"name":"left"}'
            wire = self.connect(self.served, "http")
            head = f"POST /tokens HTTP/1.1\r\nHost: gateway.test\r\n{ALICE}\r\n{_JSON}\r\nContent-Length: {len(body)}\r\n\r\n"
            wire.send(head.encode() + body)
            self.ask("/health")
            wire.close()
            eventually(lambda: any(" 499 " in line for line in self.served.audit()), "it has left")
            other.execute("ROLLBACK")
        other.close()
        eventually(lambda: self.kept() == 5, "all are written")
        self.assertEqual(len(self.listed()), 5, "and all are known")


class FailingTests(ApiTokenCase):
    def test_attack_41_a_form_that_is_none(self) -> None:
        token = self.made()["token"].encode()
        for body in (b"token=\xff", b"token=%ff", b"\xff=1&token=x"):
            self.assertIn(self.ask("/revoke", _FORM, method="POST", body=body).status, (200, 400), body)
        self.assertEqual(self.ask("/revoke", _FORM, method="POST", body=b"token=" + token + b"&hint=%ff").status, 200)
        self.assertEqual(self.status(token.decode()), 401)
        self.assertNotIn("Traceback", self.served.log)

    def test_attack_41_a_method_that_there_is_not(self) -> None:
        for method in ("HEAD", "GET", "PUT", "get", "render_POST"):
            response = self.ask("/revoke", method=method)
            self.assertEqual((response.status, response.get("allow")), (405, "POST"), method)
        self.assertEqual([self.ask(f"/token/{method}", ALICE, method=method).status for method in ("HEAD", "PUT")], [404, 404])
        self.assertEqual(self.ask("/tokens", ALICE, method="HEAD").status, 200)

    def test_attack_41_a_database_that_is_replaced(self) -> None:
        """No token is issued that would be stored in a deleted file."""
        kept = self.made()
        path = self.served.directory / "state" / "state.db"
        moved = path.rename(path.parent / "moved.db")
        self.assertEqual(self.make().status, 503)
        self.assertEqual(self.end(kept["id"]), 503)
        self.assertEqual(self.status(kept["token"]), 401, "in force all the same")
        self.assertIn("replaced or removed", self.served.log)
        moved.rename(path)
        self.made()
        eventually(lambda: '"ci"' in (found := self.command("list", "--json")) and kept["id"] not in found, "written later")

    def test_attack_39_a_user_is_revoked_while_he_makes_a_token(self) -> None:
        path = self.served.directory / "state" / "state.db"
        self.made()
        body = json.dumps({"name": "late"}).encode()
        wire = self.connect(self.served, "http")
        with sqlite3.connect(path, isolation_level=None) as other:
            other.execute("BEGIN IMMEDIATE")
            head = f"POST /tokens HTTP/1.1\r\nHost: gateway.test\r\n{ALICE}\r\n{_JSON}\r\nContent-Length: {len(body)}\r\n\r\n"
            wire.send(head.encode() + body)
            self.ask("/health")
            self.ask("/health")
            # The command at the worst moment: it has read the existing tokens, and writes before the gateway does.
            other.execute("DELETE FROM api_token WHERE username = 'alice'")
            other.execute(
                "INSERT INTO revoked_user VALUES ('local', 'alice', strftime('%s', 'now') + 1, strftime('%s', 'now') + 60)"
            )
            revoked = RevokedUser("local", "alice", time.time() + 1, time.time() + 60)
            other.execute("INSERT INTO change (at, kind, body) VALUES (?, ?, ?)", (time.time(), *STATE_KINDS.encode(revoked)))
            other.execute("COMMIT")
        other.close()
        made = json.loads(wire.response().body)
        eventually(lambda: self.status(made["token"]) == 401, "the token is no good")
        self.served.kill()
        with sqlite3.connect(path) as db:
            db.execute("DELETE FROM revoked_user")  # as it is dropped in the end
        db.close()
        self.served.start()
        self.assertEqual(self.status(made["token"]), 401, "nor ever again")

    def test_attack_42_a_token_in_the_place_of_a_user_name(self) -> None:
        token = self.made()["token"]
        for credentials in (basic(token, ""), basic(token, "x"), basic("x", token)):
            self.assertEqual(self.ask("/x", credentials).status, 401)
        self.ask("/x", f"Referer: http://h/{token}", f"User-Agent: {token}", f"X-Request-Id: {token}")
        self.served.await_audit(5)
        self.assertNotIn(token, self.served.log)


class DurabilityTests(ApiTokenCase):
    """Confirmed changes survive, no matter how the process ends."""

    def test_attack_41_killed_while_it_writes(self) -> None:
        good: dict[str, bool] = {}
        with self.served.connect("http") as wire:  # the password is verified once
            wire.get("/whoami", ALICE)
        over = threading.Event()

        def work() -> None:
            with contextlib.suppress(OSError, EOFError, AssertionError), self.served.connect("http") as wire:
                while not over.is_set():
                    response = wire.get("/tokens", ALICE, _JSON, method="POST", body=b'{"name":"x"}')
                    made = json.loads(response.body)
                    good[made["token"]] = True
                    if len(good) % 2:
                        response = wire.get(f"/token/{made['id']}", ALICE, method="DELETE")
                        if response.status == 204:
                            good[made["token"]] = False

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        eventually(lambda: len(good) > 60, "there are some")
        self.served.kill()
        over.set()
        for thread in threads:
            thread.join()
        self.served.start()
        with self.served.connect("http") as wire:
            found = [(kept, wire.get("/x", bearer(token)).status) for token, kept in good.items()]
        self.assertEqual(found.count((False, 200)), 0, "what was ended stays so")
        self.assertLessEqual(found.count((True, 401)), 4, "all created tokens exist, except those that were being revoked")
        self.assertGreater(found.count((True, 200)), 20)

    def test_attack_41_stopped_while_it_writes(self) -> None:
        path = self.served.directory / "state" / "state.db"
        kept = self.made()
        post, delete = self.connect(self.served, "http"), self.connect(self.served, "http")
        with sqlite3.connect(path, isolation_level=None) as other:
            other.execute("BEGIN IMMEDIATE")
            post.send(
                f"POST /tokens HTTP/1.1\r\nHost: gateway.test\r\n{ALICE}\r\n{_JSON}\r\nContent-Length: 12\r\n\r\n".encode()
                + b'{"name":"x"}'
            )
            delete.send(f"DELETE /token/{kept['id']} HTTP/1.1\r\nHost: gateway.test\r\n{ALICE}\r\n\r\n".encode())
            eventually(lambda: self.status(kept["token"]) == 401, "revoked at once")
            self.served.signal(signal.SIGTERM)
            self.served.await_log("Received SIGTERM")
            other.execute("ROLLBACK")
        other.close()
        made = post.response()
        self.assertEqual((made.status, delete.response().status), (201, 204))
        self.served.wait()
        self.served.start()
        self.assertEqual((self.status(json.loads(made.body)["token"]), self.status(kept["token"])), (200, 401))

    def test_attack_41_reloaded_while_it_writes(self) -> None:
        ended, kept, statuses = [], [], []
        over = threading.Event()

        def work() -> None:
            with self.served.connect("http") as wire:
                while not over.is_set():
                    response = wire.get("/tokens", ALICE, _JSON, method="POST", body=b'{"name":"x"}')
                    statuses.append(response.status)
                    made = json.loads(response.body)
                    statuses.append(wire.get(f"/token/{made['id']}", ALICE, method="DELETE").status)
                    ended.append(made["token"])

        thread = threading.Thread(target=work)
        thread.start()
        for _ in range(3):
            kept.append(self.made()["token"])
            self.served.reload()
        over.set()
        thread.join()
        self.assertEqual(set(statuses), {201, 204})
        self.assertEqual({self.status(token) for token in kept}, {200})
        self.assertEqual({self.status(token) for token in ended[-20:]}, {401})
        text = self.served.config.read_text()
        access = self.access_token()
        for extra in ("state = memory\n", ""):
            self.served.config.write_text(text.replace("[perimeter]\n", f"[perimeter]\n{extra}"))
            self.served.reload()
            self.assertEqual(self.status(access), 200)
            self.assertEqual({self.status(token) for token in kept}, {401} if extra else {200})

    def test_attack_39_two_gateways_with_one_state(self) -> None:
        text = self.served.config.read_text().replace("state_dir = state", f"state_dir = {self.served.directory}/state")
        for name, port in self.served.ports.items():
            text = text.replace(f"port = {port}", f"port = @{name}@")
        second = self.gateway(text, USERS)
        made, access = self.made()["token"], self.access_token()

        def there(token: str) -> int:
            with second.connect("http") as wire:
                return wire.get("/x", bearer(token)).status

        eventually(lambda: there(made) == 200, "what one makes the other knows")
        self.assertEqual(there(access), 200)
        for token in (made, access):
            self.ask("/revoke", _FORM, method="POST", body=f"token={token}".encode())
            eventually(lambda token=token: there(token) == 401, "what one revokes is revoked at the other")
