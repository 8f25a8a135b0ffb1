"""Sessions of browsers in a running gateway: over a kill and a restart, by commands, and after changes of their users."""

from __future__ import annotations

import json
import time
from typing import Any

from click.testing import CliRunner

from perimeter.cli.main import main
from tests.integration.harness import LOGIN_ROUTES, USERS, GatewayCase, site
from tests.integration.ports import eventually
from tests.integration.upstreams import Connection
from tests.integration.wire import Response

EXTRA = """\
[listener metrics]
serve = metrics
port = @metrics@
interface = 127.0.0.1
"""
FORM = "Content-Type: application/x-www-form-urlencoded"
UPGRADE = (
    *("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"),
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)


class SessionCase(GatewayCase):
    def setUp(self) -> None:
        self.app = self.upstream(self.answer)
        routes = LOGIN_ROUTES.replace("<service>", self.app.url)
        self.served = self.gateway(site(routes, tls=True, extra=EXTRA), USERS)

    def answer(self, connection: Connection) -> None:
        while True:
            try:
                request = connection.request()
            except EOFError:
                return
            if "/socket" in request.line:
                connection.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
                connection.read_some()
                return
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    def ask(self, target: str, *lines: str, method: str = "GET", body: bytes = b"") -> Response:
        with self.served.connect("https") as wire:
            return wire.get(target, *lines, method=method, body=body)

    def sign_in(self, name: str = "alice", password: str = "secret") -> str:
        """The line with the cookie of a new session."""
        answer = self.ask("/.perimeter/login", FORM, method="POST", body=f"username={name}&password={password}".encode())
        self.assertEqual(answer.status, 303, answer)
        (cookie,) = (line for line in answer.get_all("set-cookie") if line.startswith("__Host-perimeter="))
        return f"Cookie: {cookie.partition(';')[0]}"

    def status(self, cookie: str, target: str = "/x") -> int:
        return self.ask(target, cookie).status

    def listed(self, *arguments: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.command("session", "list", "--json", *arguments).splitlines()]

    def command(self, *arguments: str) -> str:
        """What a command of the operator prints."""
        group, name, *rest = arguments
        result = CliRunner().invoke(main, [group, name, "--config", str(self.served.config), *rest])
        self.assertEqual(result.exit_code, 0, result.output)
        return result.output


class RestartTests(SessionCase):
    def test_attack_25_signed_in_after_a_kill_and_signed_out_after_an_end(self) -> None:
        kept, ended = self.sign_in(), self.sign_in("bob", "hunter2")
        self.command("session", "end", "--user", "bob", "--realm", "local")
        self.assertEqual((self.status(kept), self.status(ended)), (200, 401))
        self.served.kill()
        self.served.start()
        self.assertEqual((self.status(kept), self.status(ended)), (200, 401))

    def test_attack_25_ended_while_no_gateway_runs(self) -> None:
        first, second = self.sign_in(), self.sign_in()
        self.served.stop()
        one, other = self.listed()
        self.command("session", "end", "--id", one["id"])
        self.served.start()
        self.assertEqual((self.status(first), self.status(second)), (401, 200))
        self.assertEqual([found["id"] for found in self.listed()], [other["id"]])

    def test_a_stop_writes_when_a_session_was_used(self) -> None:
        cookie = self.sign_in()
        time.sleep(1.1)
        self.status(cookie)
        (before,) = self.listed()
        self.assertGreater(before["seen"], before["created"])
        self.served.stop()
        self.assertEqual(self.listed(), [before])

    def test_in_memory_sessions_end_with_the_process(self) -> None:
        text = self.served.config.read_text()
        self.served.configure(text.replace("state_dir = state", "state_dir = state\nstate = memory"))
        self.served.reload()
        cookie = self.sign_in()
        self.assertEqual(self.status(cookie), 200)
        self.served.kill()
        self.served.start()
        self.assertEqual(self.status(cookie), 401)


class OperatorTests(SessionCase):
    def test_what_the_operator_sees(self) -> None:
        cookie = self.sign_in()
        self.assertEqual(self.status(cookie), 200)
        (found,) = self.listed("--user", "alice", "--realm", "local")
        self.assertEqual((found["username"], found["address"], found["proved"]), ("alice", "127.0.0.1", ["password"]))
        self.assertEqual(self.listed("--user", "bob"), [])
        self.assertIn("sessions of browsers: 1", self.status_lines())

    def test_metrics_and_audit_log(self) -> None:
        text = self.served.config.read_text()
        self.served.configure(text.replace("path = access.log", "path = access.log\nformat = json"))
        self.served.reload()
        cookie = self.sign_in()
        self.assertEqual(self.status(cookie), 200)
        with self.served.connect("metrics", tls=False) as wire:
            self.assertIn("perimeter_sessions 1.0", wire.get("/metrics").text)
        (found,) = self.listed()
        line = json.loads(self.served.audit()[-1] if "/x" in self.served.audit()[-1] else self.served.audit()[-2])
        self.assertEqual((line["user"], line["session"], line["token"]), ("alice", found["id"], None))
        self.assertNotIn(cookie.partition("=")[2], "".join(self.served.audit()))

    def status_lines(self) -> str:
        return CliRunner().invoke(main, ["status", "--config", str(self.served.config)]).output


class OwnerTests(SessionCase):
    """The realm file changes while users are signed in."""

    def change(self, before: str, after: str) -> None:
        path = self.served.directory / "users.realm"
        path.write_text(path.read_text().replace(before, after))

    def test_attack_81_a_role_that_was_taken_away(self) -> None:
        cookie, other = self.sign_in(), self.sign_in("bob", "hunter2")
        wire = self.connect(self.served)
        self.assertEqual(wire.get("/admin/socket", cookie, *UPGRADE).status, 101)
        self.assertEqual((self.status(cookie, "/admin"), self.status(other, "/admin")), (200, 403))
        self.change("alice: secret,admin,ops", "alice: secret,ops")
        began = time.monotonic()
        eventually(lambda: self.status(cookie, "/admin") == 403, "the role is gone", timeout=70.0)
        self.assertTrue(wire.closed())
        self.assertLess(time.monotonic() - began, 65.0)
        self.assertEqual(self.status(cookie), 200)

    def test_attack_81_a_user_who_was_deleted(self) -> None:
        cookie, other = self.sign_in(), self.sign_in("bob", "hunter2")
        wire = self.connect(self.served)
        self.assertEqual(wire.get("/socket", cookie, *UPGRADE).status, 101)
        self.change("alice: secret,admin,ops\n", "")
        eventually(lambda: self.status(cookie) == 401, "the user is gone", timeout=70.0)
        self.assertTrue(wire.closed())
        self.assertEqual(self.status(other), 200)
        self.change("bob:", "alice: another\nbob:")
        time.sleep(3)
        self.assertEqual(self.status(cookie), 401, "another user of the same name does not get the session")
        self.assertEqual([found["username"] for found in self.listed()], ["bob"])


class SchemeTests(SessionCase):
    def test_attack_80_a_cookie_that_did_not_come_over_https(self) -> None:
        text = self.served.config.read_text()
        self.served.configure(text + "\n[listener http]\nport = @http@\ninterface = 127.0.0.1\n")
        self.served.reload()
        cookie = self.sign_in()

        def plain(*lines: str) -> int:
            with self.served.connect("http", tls=False) as wire:
                return wire.get("/x", cookie, *lines).status

        self.assertEqual(self.status(cookie), 200)
        self.assertEqual((plain(), plain("X-Forwarded-Proto: https")), (401, 401))
        text = self.served.config.read_text()
        self.served.configure(text.replace("state_dir = state", "state_dir = state\ntrusted_proxies = 127.0.0.1"))
        self.served.reload()
        self.assertEqual(plain("X-Forwarded-Proto: https"), 200)
        for lines in ((), ("X-Forwarded-Proto: http",), ("X-Forwarded-Proto: https", "X-Original-URL: http://gw/x")):
            self.assertEqual(plain(*lines), 401, lines)
