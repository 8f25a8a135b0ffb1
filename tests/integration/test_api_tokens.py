"""API tokens and revocation on running gateways: tokens are made, restricted, listed and ended, and stay invalid."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from typing import Any
from urllib.parse import quote

from websockets.exceptions import ConnectionClosedError
from websockets.sync.client import connect
from websockets.sync.server import ServerConnection, serve

from perimeter.run.build.state_kinds import STATE_KINDS
from perimeter.state.sqlite import SqliteStore
from perimeter.tokens.revocation import Removed
from tests.integration.harness import SOURCE, GatewayCase, site
from tests.integration.ports import eventually
from tests.integration.upstreams import OK, Connection
from tests.integration.wire import TIMEOUT, Response, basic, bearer

USERS = {"users.realm": "alice: secret,admin\nbob: hunter2\n"}
ALICE, BOB = basic("alice", "secret"), basic("bob", "hunter2")

ROUTES = """
[upstream app]
servers = <app>
read_timeout = 60s

[upstream sockets]
servers = http://127.0.0.1:<sockets>

[route app]
path = /
upstream = app

[route admin]
path = /admin
upstream = app
allow = role:admin

[route hook]
path = /hook
upstream = app

[route ws]
path = /ws
upstream = sockets
"""


class ApiTokenCase(GatewayCase):
    perimeter = ""
    token_section = ""

    def setUp(self) -> None:
        self.app = self.upstream(self.answer)
        self.sockets = serve(self.echo, "127.0.0.1", 0)
        self.addCleanup(self.sockets.shutdown)
        thread = threading.Thread(target=self.sockets.serve_forever)
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(self.sockets.shutdown)
        routes = ROUTES.replace("<app>", self.app.url).replace("<sockets>", str(self.sockets.socket.getsockname()[1]))
        extra = "[listener tokens]\nport = @tokens@\ninterface = 127.0.0.1\nserve = tokens\n"
        if self.token_section:
            extra += f"[token]\n{self.token_section}\n"
        self.served = self.gateway(site(routes, extra=extra, perimeter=self.perimeter), USERS)

    @staticmethod
    def echo(connection: ServerConnection) -> None:
        with contextlib.suppress(ConnectionClosedError):
            for message in connection:
                connection.send(message)

    def answer(self, connection: Connection) -> None:
        while True:
            try:
                request = connection.request()
            except EOFError:
                return
            if "/slow" in request.line:  # a response that does not end by itself
                connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
                connection.read_some()
                return
            connection.send(OK)

    def ask(self, target: str, *headers: str, method: str = "GET", body: bytes = b"", name: str = "http") -> Response:
        with self.served.connect(name) as wire:
            return wire.get(target, *headers, method=method, body=body)

    def make(self, *credentials: str, **wanted: Any) -> Response:
        fields = (*(credentials or (ALICE,)), "Content-Type: application/json")
        return self.ask("/tokens", *fields, method="POST", body=json.dumps({"name": "ci", **wanted}).encode())

    def made(self, *credentials: str, **wanted: Any) -> dict[str, Any]:
        response = self.make(*credentials, **wanted)
        self.assertEqual(response.status, 201, response)
        self.assertEqual(response.get("cache-control"), "no-store")
        return dict(json.loads(response.body))

    def listed(self, *credentials: str) -> list[dict[str, Any]]:
        response = self.ask("/tokens", *(credentials or (ALICE,)))
        self.assertEqual(response.status, 200, response)
        return list(json.loads(response.body)["tokens"])

    def status(self, token: str, target: str = "/x", method: str = "GET", *headers: str) -> int:
        return self.ask(target, bearer(token), *headers, method=method).status

    def end(self, which: str, *credentials: str) -> int:
        return self.ask(f"/token/{quote(which)}", *(credentials or (ALICE,)), method="DELETE").status

    def access_token(self, credentials: str = ALICE) -> str:
        return str(json.loads(self.ask("/token", credentials).body)["access_token"])

    def command(self, *arguments: str, stdin: str = "") -> str:
        done = self.ran(*arguments, stdin=stdin)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def refused(self, *arguments: str, stdin: str = "") -> str:
        """The output of a command that ends with status 1."""
        done = self.ran(*arguments, stdin=stdin)
        self.assertEqual((done.returncode, done.stdout), (1, ""), done.stderr)
        return done.stderr

    def ran(self, *arguments: str, stdin: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [
                sys.executable,
                "-c",
                "from perimeter.cli.main import main; main()",
                "token",
                *arguments,
                "--config",
                str(self.served.config),
            ],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
            cwd=SOURCE,
            env={**os.environ, "PYTHONPATH": str(SOURCE)},
        )


class LifeTests(ApiTokenCase):
    def test_one_is_made_used_listed_and_ended(self) -> None:
        made = self.made(name="nightly build", expires_in=3600)
        token = made.pop("token")
        self.assertEqual(self.status(token), 200)
        request = self.app.requests[-1]
        self.assertEqual((request.get("x-auth-username"), request.get("x-auth-roles")), ("alice", "admin"))
        self.assertNotIn(token.encode(), request.head)
        self.assertEqual(self.listed(), [made])
        self.assertEqual((made["name"], made["routes"], made["methods"], made["networks"]), ("nightly build", [], [], []))
        self.assertEqual(self.end(made["id"]), 204)
        self.assertEqual(self.status(token), 401)
        self.assertEqual((self.listed(), self.end(made["id"])), ([], 404))

    def test_it_can_be_ended_by_itself_as_auth_o_tron_has_it(self) -> None:
        token = self.made()["token"]
        self.assertEqual(self.end(token, bearer(token)), 204)
        self.assertEqual(self.status(token), 401)

    def test_the_token_of_the_token_endpoint(self) -> None:
        for name, target in (("http", "/token"), ("tokens", "/token"), ("tokens", "/")):
            answer = json.loads(self.ask(target, BOB, name=name).body)
            self.assertEqual(set(answer), {"access_token", "token_type", "expires_in", "token"})
            self.assertEqual(self.status(answer["token"]), 200)
        passing = self.listed(BOB)
        self.assertEqual([one["name"] for one in passing], ["", "", ""])
        self.assertNotIn("token", json.loads(self.ask("/extendedtoken", BOB).body))

    def test_it_is_good_where_an_access_token_is(self) -> None:
        token = self.made()["token"]
        who = json.loads(self.ask("/whoami", bearer(token)).body)
        self.assertEqual((who["username"], who["realm"], who["roles"]), ("alice", "local", ["admin"]))
        self.assertEqual(self.ask("/authenticate", bearer(token)).status, 200)
        self.assertEqual(self.status(token, "/admin"), 200)
        self.assertEqual(self.status(self.made(BOB)["token"], "/admin"), 403)

    def test_it_buys_nothing(self) -> None:
        """Neither another API token nor an access token: otherwise a token stolen for a day would be of use for ever."""
        token, access = self.made()["token"], self.access_token()
        for credentials in (bearer(token), bearer(access)):
            self.assertEqual(self.make(credentials).status, 401)
            self.assertEqual(self.ask("/token", credentials).status, 401)
            self.assertEqual(self.ask("/extendedtoken", credentials).status, 401)
        self.assertEqual(len(self.listed(bearer(access))), 2, "the one, and that of /token")

    def test_expiry(self) -> None:
        token = self.made(expires_in=2)["token"]
        self.assertEqual(self.status(token), 200)
        eventually(lambda: self.status(token) == 401, "the token expires")
        body = json.loads(self.ask("/x", bearer(token)).body)
        self.assertEqual((body["error"], body["error_description"]), ("invalid_token", "The access token expired"))

    def test_it_outlives_the_process_however_that_ends(self) -> None:
        kept, ended, access = self.made()["token"], self.made(), self.access_token()
        self.assertEqual(self.end(ended["id"]), 204)
        self.assertEqual(self.ask("/revoke", _FORM, method="POST", body=f"token={access}".encode()).status, 200)
        self.served.kill()
        self.served.start()
        self.assertEqual(self.status(kept), 200)
        self.assertEqual((self.status(ended["token"]), self.status(access)), (401, 401))

    def test_a_reload_keeps_them_and_ends_none(self) -> None:
        token = self.made()["token"]
        self.assertEqual(self.status(token), 200)
        self.served.reload()
        self.assertEqual(self.status(token), 200)
        self.assertEqual(self.end(token), 204)
        self.assertEqual(self.status(token), 401)

    def test_what_cannot_be_asked_for(self) -> None:
        for wanted, told in (
            ({"name": ""}, "name:"),
            ({"name": "a\nb"}, "name:"),
            ({"name": "x" * 101}, "name:"),
            ({"network": ["10.0.0.0/8"]}, "an object with these members"),
            ({"expires_in": -1}, "expires_in:"),
            ({"expires_in": True}, "expires_in:"),
            ({"expires_in": 0}, "api_lifetime"),
            ({"expires_in": 366 * 86400}, "api_lifetime"),
            ({"routes": []}, "routes:"),
            ({"routes": ["nowhere"]}, "routes:"),
            ({"routes": "app"}, "routes:"),
            ({"methods": ["G ET"]}, "methods:"),
            ({"networks": ["10.0.0.1/8"]}, "networks:"),
            ({"networks": ["example.com"]}, "networks:"),
            ({"networks": ["fe80::1%eth0\n"]}, "networks:"),
        ):
            response = self.make(**wanted)
            self.assertEqual(response.status, 400, wanted)
            self.assertIn(told, json.loads(response.body)["error_description"])
        for body in (b"[]", b"{", b"[" * 60_000, b"\xff", b""):
            self.assertEqual(self.ask("/tokens", ALICE, _JSON, method="POST", body=body).status, 400)
        self.assertEqual(self.listed(), [])
        self.assertEqual(self.ask("/tokens", ALICE, _JSON, method="POST", body=b" " * 100_000).status, 413)

    def test_who_may_not(self) -> None:
        for credentials in ((), (basic("alice", "wrong"),), (bearer("perimeter_" + "x" * 43),)):
            self.assertEqual(self.ask("/tokens", *credentials).status, 401)
            self.assertEqual(self.ask("/tokens", *credentials, _JSON, method="POST", body=b'{"name":"x"}').status, 401)
            self.assertEqual(self.ask("/token/x", *credentials, method="DELETE").status, 401)

    def test_endpoints_that_tell_something(self) -> None:
        self.assertEqual((self.ask("/health").status, self.ask("/health").body), (200, b"OK"))
        providers = {"providers": [{"name": "local", "type": "realmfile", "realm": "local"}]}
        self.assertEqual(json.loads(self.ask("/providers", name="tokens").body), providers)
        self.assertEqual(json.loads(self.ask("/augmenters", name="tokens").body), {"augmenters": []})
        self.assertEqual(json.loads(self.ask("/providers", BOB).body), providers)
        who = self.ask("/whoami", BOB)
        self.assertEqual(
            json.loads(who.body),
            {"version": 1, "username": "bob", "realm": "local", "roles": [], "attributes": {}, "scopes": {}},
        )
        self.assertEqual(who.get("cache-control"), "no-store")
        self.assertEqual(self.ask("/whoami").status, 401)

    def test_attack_43_a_public_listener_lists_no_authenticators(self) -> None:
        for path in ("/providers", "/augmenters", "/tokens"):
            self.assertEqual(self.ask(path).status, 401)
        self.assertEqual(self.ask("/metrics").status, 401, "that is the application's")


_FORM = "Content-Type: application/x-www-form-urlencoded"
_JSON = "Content-Type: application/json"


class RestrictionTests(ApiTokenCase):
    def test_routes(self) -> None:
        token = self.made(routes=["hook"])["token"]
        self.assertEqual(self.status(token, "/hook/1"), 200)
        before = len(self.app.requests)
        for target in ("/x", "/admin", "/hook/../admin", "/tokens"):
            self.assertIn(self.status(token, target), (400, 403), target)
        self.assertEqual(len(self.app.requests), before)

    def test_methods(self) -> None:
        token = self.made(methods=["get", "HEAD"])["token"]
        self.assertEqual((self.status(token), self.status(token, "/x", "HEAD")), (200, 200))
        for method in ("POST", "DELETE", "get", "PATCH"):
            self.assertEqual(self.status(token, "/x", method), 403, method)

    def test_networks(self) -> None:
        self.assertEqual(self.status(self.made(networks=["127.0.0.0/8", "::1"])["token"]), 200)
        self.assertEqual(self.status(self.made(networks=["192.0.2.0/24"])["token"]), 403)

    def test_attack_9_a_network_is_no_matter_of_headers(self) -> None:
        token = self.made(networks=["192.0.2.0/24"])["token"]
        for header in ("X-Forwarded-For: 192.0.2.1", "X-Real-IP: 192.0.2.1", "Forwarded: for=192.0.2.1"):
            self.assertEqual(self.status(token, "/x", "GET", header), 403)

    def test_a_restriction_is_no_permission(self) -> None:
        self.assertEqual(self.status(self.made(BOB, routes=["admin"])["token"], "/admin"), 403)

    def test_a_restricted_one_sees_and_ends_itself_alone(self) -> None:
        other = self.made()
        one = self.made(routes=["hook"])
        credentials = bearer(one["token"])
        self.assertEqual(self.ask("/whoami", credentials).status, 200)
        self.assertEqual(self.ask("/tokens", credentials).status, 403)
        self.assertEqual(self.end(other["id"], credentials), 403)
        self.assertEqual(self.end(one["id"], credentials), 204)

    def test_attack_8_a_question_that_does_not_say_what_for(self) -> None:
        """An untrusted proxy asks with its own GET: otherwise a read-only token would admit any method."""
        for wanted in ({"methods": ["GET"]}, {"routes": ["hook"]}, {"networks": ["127.0.0.1"]}):
            self.assertEqual(self.ask("/authenticate", bearer(self.made(**wanted)["token"])).status, 403)


class TrustedProxyTests(ApiTokenCase):
    perimeter = "trusted_proxies = 127.0.0.1"

    def test_restrictions_hold_for_what_a_proxy_asks_about(self) -> None:
        token = self.made(methods=["GET"], routes=["hook"])["token"]
        for method, target, status in (("GET", "/hook/1", 200), ("POST", "/hook/1", 403), ("GET", "/x", 403)):
            asked = self.ask(
                "/authenticate",
                bearer(token),
                "X-Forwarded-For: 192.0.2.7",
                f"X-Forwarded-Method: {method}",
                f"X-Forwarded-Uri: {target}",
                "X-Forwarded-Host: gateway.test",
            )
            self.assertEqual(asked.status, status, (method, target))


class OwnershipTests(ApiTokenCase):
    def test_attack_37_a_user_sees_and_ends_his_own_alone(self) -> None:
        alices = self.made()
        for credentials in (BOB, bearer(self.access_token(BOB)), bearer(self.made(BOB)["token"])):
            self.assertNotIn(alices["id"], [one["id"] for one in self.listed(credentials)])
            for which in (alices["id"], alices["token"]):
                refused = self.ask(f"/token/{which}", credentials, method="DELETE")
                self.assertEqual(refused.status, 404)
                nothing = self.ask("/token/0123456789abcdef", credentials, method="DELETE")
                bodies = [{**json.loads(one.body), "request_id": ""} for one in (nothing, refused)]
                self.assertEqual((nothing.status, bodies[0]), (404, bodies[1]), "as if there were none")
        self.assertEqual(self.status(alices["token"]), 200)

    def test_attack_37_too_many(self) -> None:
        with self.served.connect("http") as wire:
            for _ in range(200):
                self.assertEqual(wire.get("/tokens", ALICE, _JSON, method="POST", body=b'{"name":"x"}').status, 201)
        self.assertEqual(self.make().status, 409)
        self.made(BOB)

    def test_attack_27_a_form_of_another_site(self) -> None:
        """A request that a browser may send to any site without a preflight makes no token."""
        body = json.dumps({"name": "x"}).encode()
        for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""):
            header = (f"Content-Type: {kind}",) if kind else ()
            self.assertEqual(self.ask("/tokens", ALICE, *header, method="POST", body=body).status, 400)
        self.assertEqual(self.listed(), [])

    def test_attack_42_no_token_in_any_log(self) -> None:
        token = self.made(name="ci")["token"]
        self.status(token)
        self.ask("/revoke", _FORM, method="POST", body=f"token={token}".encode())
        made = json.loads(self.ask("/token", ALICE).body)["token"]
        self.assertEqual(self.end(made, bearer(made)), 204)
        self.served.await_audit(5)
        logs = self.served.log + "\n".join(self.served.audit())
        self.assertNotIn(token, logs)
        self.assertNotIn(made, logs)


class RevocationTests(ApiTokenCase):
    def revoke(self, token: str, *headers: str) -> Response:
        return self.ask("/revoke", *(headers or (_FORM,)), method="POST", body=f"token={quote(token)}".encode())

    def test_an_access_token_is_revoked_by_its_holder(self) -> None:
        token, other = self.access_token(), self.access_token()
        with self.served.connect("http") as wire:
            self.assertEqual(wire.get("/x", bearer(token)).status, 200)
            self.assertEqual(self.revoke(token).status, 200)
            self.assertEqual(wire.get("/x", bearer(token)).status, 401, "remembered, and revoked since")
            self.assertEqual(wire.get("/x", f"Authorization: bearer  {token}").status, 401)
            self.assertEqual(wire.get("/x", bearer(other)).status, 200)
        for again in (token, "garbage", "perimeter_" + "x" * 43):
            self.assertEqual(self.revoke(again).status, 200, "RFC 7009, section 2.2")
        self.assertEqual(self.status(other), 200)

    def test_an_api_token_too(self) -> None:
        token = self.made()["token"]
        self.assertEqual(self.revoke(token).status, 200)
        self.assertEqual((self.status(token), self.listed()), (401, []))

    def test_a_token_in_a_url_is_not_read(self) -> None:
        token = self.made()["token"]
        self.assertEqual(self.ask(f"/revoke?token={token}", _FORM, method="POST").status, 400)
        self.assertEqual(self.status(token), 200)

    def test_attack_21_a_tunnel_ends_with_its_token(self) -> None:
        for token in (self.access_token(), self.made()["token"]):
            url = f"ws://127.0.0.1:{self.served.ports['http']}/ws"
            with (
                connect(url, additional_headers=[("Authorization", f"Bearer {token}")]) as client,
                connect(url, additional_headers=[("Authorization", f"Bearer {self.access_token()}")]) as other,
            ):
                client.send("x")
                self.assertEqual(client.recv(TIMEOUT), "x")
                self.assertEqual(self.revoke(token).status, 200)
                self.assertRaises(ConnectionClosedError, client.recv, TIMEOUT)
                other.send("y")
                self.assertEqual(other.recv(TIMEOUT), "y")

    def test_attack_21_a_stream_ends_with_its_token(self) -> None:
        token = self.access_token()
        wire = self.connect(self.served, "http")
        wire.send(f"GET /slow HTTP/1.1\r\nHost: gateway.test\r\n{bearer(token)}\r\n\r\n".encode())
        wire.read_until(b"first")
        self.revoke(token)
        self.assertFalse(wire.read_all().endswith(b"0\r\n\r\n"), "cut, not ended")
        (line,) = [line for line in self.served.await_audit(3) if "/slow" in line]
        self.assertIn("alice", line)

    def test_the_answer_of_who_revokes_his_own_arrives(self) -> None:
        made = self.made()
        with self.served.connect("http") as wire:
            self.assertEqual(wire.get(f"/token/{made['id']}", bearer(made["token"]), method="DELETE").status, 204)
            self.assertEqual(wire.get("/x", bearer(made["token"])).status, 401)

    def test_the_operator_ends_all_of_a_user_at_once(self) -> None:
        mine, access = self.made()["token"], self.access_token()
        bobs = self.made(BOB)["token"]
        self.assertEqual([self.status(token) for token in (mine, access, bobs)], [200, 200, 200])
        told = self.command("revoke", "--user", "alice", "--realm", "local")
        self.assertRegex(
            told, r"^revoked: [1-9]\d* API tokens?, every access token that was issued to alice of realm local until now$"
        )
        self.assertEqual([self.status(token) for token in (mine, access, bobs)], [401, 401, 200])
        time.sleep(1.1)  # the times in an access token are whole seconds
        self.assertEqual(self.status(self.access_token()), 200, "a new one")

    def test_the_operator_lists_and_ends_single_ones(self) -> None:
        made, other, access = self.made(name="one"), self.made(name="two"), self.access_token()
        (row,) = [json.loads(line) for line in self.command("list", "--json").splitlines() if '"one"' in line]
        self.assertEqual((row["username"], row["id"]), ("alice", made["id"]))
        self.assertNotIn(made["token"], self.command("list", "--json", "--all"))
        self.command("revoke", "--id", made["id"])
        self.assertEqual((self.status(made["token"]), self.status(other["token"]), self.status(access)), (401, 200, 200))
        self.command("revoke", "--stdin", stdin=f"Bearer {access}\n")
        self.command("revoke", "--stdin", stdin=other["token"])
        self.assertEqual((self.status(other["token"]), self.status(access)), (401, 401))

    def test_attack_39_a_realm_that_does_not_exist(self) -> None:
        token = self.made()["token"]
        refused = self.refused("revoke", "--user", "alice", "--realm", "TYPO")
        self.assertIn("there is no realm TYPO; there are: ", refused)
        self.assertIn("local", refused)
        self.assertIn("there is no realm TYPO; there are: ", self.refused("list", "--realm", "TYPO"))
        self.assertEqual(self.status(token), 200)
        self.served.stop()
        self.assertIn("there is no realm TYPO; there are: ", self.refused("revoke", "--user", "alice", "--realm", "TYPO"))
        self.served.start()
        self.assertEqual(self.status(token), 200)

    def test_the_operator_s_commands_leave_the_database_to_the_gateway(self) -> None:
        """They work while the file cannot be opened at all, since the gateway has it open."""
        made = self.made(name="one")
        path = self.served.directory / "state" / "state.db"
        path.chmod(0o000 if os.geteuid() else 0o644)  # a file that others may read is refused, by root as well
        self.addCleanup(path.chmod, 0o600)
        self.assertIn(made["id"], self.command("list", "--json"))
        self.assertEqual(self.command("revoke", "--id", made["id"]), "revoked: 1 API token\n")
        self.assertEqual(self.status(made["token"]), 401)
        self.served.stop()
        self.assertIn("others may read or write it" if not os.geteuid() else "state.db", self.refused("list"))
        path.chmod(0o600)
        self.assertNotIn(made["id"], self.command("list", "--json"))
        self.served.start()

    def test_the_operator_sees_what_was_refused(self) -> None:
        self.assertIn("there is no API token x", self.refused("revoke", "--id", "x"))
        self.assertIn("The access token is invalid", self.refused("revoke", "--stdin", stdin="garbage"))
        text = "perimeter_" + "a" * 43
        refused = self.refused("revoke", "--stdin", stdin=text)
        self.assertIn("no such API token, or it was revoked", refused)
        self.assertNotIn(text, refused)

    def test_many_tokens_are_listed(self) -> None:
        made = {self.made(name=f"n{number}")["id"] for number in range(5)}
        listed = [
            json.loads(line)["id"] for line in self.command("list", "--json", "--user", "alice", "--realm", "local").splitlines()
        ]
        self.assertLessEqual(made, set(listed))
        self.assertEqual(len(listed), len(set(listed)))
        self.assertEqual(self.command("list", "--json", "--user", "nobody-else", "--realm", "local"), "")

    def test_attack_39_a_write_by_another_process_is_seen_within_a_second(self) -> None:
        """Write to the file directly, as the process of another worker would."""
        made = self.made()
        self.assertEqual(self.status(made["token"]), 200)
        store = SqliteStore(self.served.directory / "state", STATE_KINDS)
        began = time.monotonic()
        store.write([Removed(made["id"])])
        store.close()
        eventually(lambda: self.status(made["token"]) == 401, "the token is refused")
        self.assertLess(time.monotonic() - began, 2)

    def test_the_operator_without_a_gateway(self) -> None:
        token = self.made()["token"]
        self.served.stop()
        self.command("revoke", "--user", "alice", "--realm", "local")
        self.served.start()
        self.assertEqual(self.status(token), 401)


class OwnersTests(ApiTokenCase):
    """Row 39: a change of the owner also changes the token."""

    def change(self, users: str) -> None:
        (self.served.directory / "users.realm").write_text(users)

    def test_attack_39_a_role_is_taken_away_and_a_user_goes(self) -> None:
        alices, bobs = self.made()["token"], self.made(BOB)["token"]
        self.assertEqual((self.status(alices, "/admin"), self.status(bobs)), (200, 200))
        self.change("alice: secret\n")
        eventually(lambda: "1 users" in self.served.log, "the file is read again")
        self.served.reload()  # the result of looking up a token's owner is used for a minute, or until a reload
        self.assertEqual((self.status(alices), self.status(alices, "/admin"), self.status(bobs)), (200, 403, 401))

    def test_attack_39_who_vouched_is_not_asked_any_more(self) -> None:
        token = self.made()["token"]
        text = self.served.config.read_text()
        self.served.config.write_text(text.replace("[authenticator local]", "[authenticator other]"))
        self.served.reload()
        self.assertEqual(self.status(token), 401)


class FailingTests(ApiTokenCase):
    def test_attack_41_a_damaged_database_stops_the_start(self) -> None:
        self.made()
        self.served.stop()
        path = self.served.directory / "state" / "state.db"
        for beside in path.parent.glob("state.db-*"):
            beside.unlink()
        path.write_bytes(b"garbage" * 1000)
        self.served.launch()
        self.assertNotEqual(self.served.wait(), 0)
        self.assertIn("state.db: cannot be used", self.served.log)
        self.served.kill()

    def test_attack_41_a_database_that_cannot_be_written(self) -> None:
        """No token is issued that would be lost; a revocation is in force, and its answer says that it is not on disk."""
        kept = self.made()
        path = self.served.directory / "state" / "state.db"
        with sqlite3.connect(path, isolation_level=None) as other:
            other.execute("BEGIN EXCLUSIVE")  # while this lock is held, no other process writes
            refused = self.ask(f"/token/{kept['id']}", ALICE, method="DELETE")
            self.assertEqual((refused.status, json.loads(refused.body)["error"]), (503, "state_unavailable"))
            self.assertEqual(self.status(kept["token"]), 401)
            other.execute("ROLLBACK")
        other.close()
        eventually(lambda: not self.command("list", "--json"), "the removal is written later")


class SwitchedOffTests(ApiTokenCase):
    token_section = "api_tokens = no"

    def test_reactor_alone(self) -> None:
        self.assertEqual(set(json.loads(self.ask("/token", ALICE).body)), {"access_token", "token_type", "expires_in"})
        for target, method in (("/tokens", "GET"), ("/tokens", "POST"), ("/token/x", "DELETE"), ("/revoke", "POST")):
            self.assertEqual(self.ask(target, ALICE, method=method).status, 404)
        self.assertEqual(self.status("perimeter_" + "x" * 43), 401)


class MemoryTests(ApiTokenCase):
    perimeter = "state = memory"

    def test_they_end_with_the_process(self) -> None:
        token = self.made()["token"]
        self.assertEqual(self.status(token), 200)
        self.assertFalse((self.served.directory / "state" / "state.db").exists())
        self.served.signal(signal.SIGTERM)
        self.served.wait()
        self.served.start()
        self.assertEqual(self.status(token), 401)

    def test_the_operator_ends_what_is_in_memory_alone(self) -> None:
        made = self.made()
        self.assertIn(made["id"], self.command("list", "--json"))
        self.assertEqual(self.command("revoke", "--id", made["id"]), "revoked: 1 API token\n")
        self.assertEqual(self.status(made["token"]), 401)
        self.served.stop()
        self.assertIn("with state = memory nothing is stored", self.refused("list"))
        self.served.start()
