"""16, 21, 25 to 28, 77: attacks on sign-in, sessions and cookies, on the wire."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import time
from typing import ClassVar

import requests
from click.testing import CliRunner

from perimeter.cli.main import main
from tests.integration.browser import HOST, OWN, SISTER, BrowserCase, secure
from tests.integration.harness import USERS, Gateway, site
from tests.integration.ports import eventually
from tests.integration.visitor import BROWSER, Visitor
from tests.integration.wire import Response, Wire

ROUTES = """\
[upstream service]
servers = <service>

[route admin]
path = /admin
upstream = service
allow = role:admin
browser_login = yes

[route sealed]
path = /sealed
upstream = service

[route all]
path = /
upstream = service
browser_login = yes
"""

MARKUP = "<img/src=x/onerror=alert(1)>"
QUOTED = "x\"onmouseover='alert(1)'"
#: where "=" would end the name
_LINES = f"{MARKUP}: secret,<script>\n{QUOTED}: secret\n".replace("=", "\\=")
USERS_WITH_MARKUP = {"users.realm": USERS["users.realm"] + _LINES}

COOKIE = "__Host-perimeter"
PLANTED = "A" * 43
UPGRADE = (
    *("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"),
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)


class SignInAttackCase(BrowserCase):
    CONFIG = secure(site(ROUTES))
    FILES: ClassVar = USERS_WITH_MARKUP

    def signed_in(self, username: str = "alice", password: str = "secret") -> Visitor:
        visitor = self.visitor()
        answer = visitor.sign_in(username, password)
        self.assertEqual(answer.status_code, 303, answer.text)
        return visitor

    def ask(self, target: str, *lines: str, host: str = HOST, method: str = "GET") -> Response:
        with self.served.connect() as wire:
            return wire.get(target, *lines, host=f"{host}:{self.served['https']}", method=method)

    def with_cookie(self, value: str, target: str = "/page") -> int:
        """The status of a request that has ``value`` for its session cookie."""
        return self.ask(target, f"Cookie: {COOKIE}={value}").status


class WebSocketAttackTests(SignInAttackCase):
    def upgrade(self, *lines: str) -> tuple[Wire, Response]:
        wire = self.connect(self.served)
        return wire, wire.get("/socket", *UPGRADE, *lines, host=f"{HOST}:{self.served['https']}")

    def test_attack_21_no_session(self) -> None:
        """401, and the service hears nothing of it."""
        connections = self.service.connections
        own = f"Origin: {self.origin}"
        for lines in ((), (own,), (own, f"Cookie: {COOKIE}={PLANTED}"), (own, f"Cookie: {COOKIE}=")):
            _, response = self.upgrade(*lines)
            self.assertEqual((response.status, response.get("location")), (401, None), lines)
        self.assertEqual(self.service.connections, connections)

    def test_attack_21_a_page_of_another_origin(self) -> None:
        cookie = f"Cookie: {COOKIE}={self.signed_in().cookie}"
        connections = self.service.connections
        port = self.served["https"]
        foreign = (f"https://{SISTER}:{port}", f"https://{HOST}:{port + 1}", f"http://{HOST}:{port}", "https://evil.test", "null")
        for origin in foreign:
            _, response = self.upgrade(cookie, f"Origin: {origin}")
            self.assertEqual(response.status, 403, origin)
        self.assertEqual(self.upgrade(cookie, "Sec-Fetch-Site: same-site")[1].status, 403)
        self.assertEqual(self.upgrade(cookie, f"Origin: {self.origin}", "Origin: https://evil.test")[1].status, 403)
        self.assertEqual(self.service.connections, connections)
        self.assertEqual(self.upgrade(cookie, f"Origin: {self.origin}")[1].status, 101)

    def open(self, visitor: Visitor) -> Wire:
        wire, response = self.upgrade(f"Cookie: {COOKIE}={visitor.cookie}", f"Origin: {self.origin}")
        self.assertEqual(response.status, 101)
        self.assertEqual(wire.read_exactly(2 + len("hello alice"))[2:], b"hello alice")
        return wire

    def test_attack_21_closed_when_the_session_ends(self) -> None:
        """By a sign-out here, and by one everywhere: within a second."""
        visitor, other = self.signed_in(), self.signed_in()
        mine, theirs = self.open(visitor), self.open(other)
        visitor.sign_out()
        self.assert_ends(mine)
        self.assertEqual(self.with_cookie(str(other.cookie)), 200, "a sign-out ends one session only")
        self.signed_in().sign_out(everywhere="1")
        self.assert_ends(theirs)

    def test_attack_21_closed_by_commands_of_the_operator(self) -> None:
        """A session by its id, all of a user, and with all tokens of the user: within a second, and a replay is 401."""
        self.signed_in("bob", "hunter2")
        found = json.loads(self.command("session", "list", "--json", "--user", "bob").splitlines()[-1])
        self.assertEqual((found["username"], found["realm"]), ("bob", "local"))
        for command in (
            ("session", "end", "--id"),
            ("session", "end", "--user", "alice", "--realm", "local"),
            ("token", "revoke", "--user", "alice", "--realm", "local"),
        ):
            visitor = self.signed_in()
            cookie, wire = str(visitor.cookie), self.open(visitor)
            if command[-1] == "--id":
                listed = [json.loads(line) for line in self.command("session", "list", "--json", "--user", "alice").splitlines()]
                command = (*command, listed[-1]["id"])
            self.command(*command)
            self.assert_ends(wire)
            self.assertEqual(self.with_cookie(cookie), 401, command)

    def command(self, group: str, name: str, *arguments: str) -> str:
        """What a command of the operator prints."""
        result = CliRunner().invoke(main, [group, name, "--config", str(self.served.config), *arguments])
        self.assertEqual(result.exit_code, 0, result.output)
        return result.output

    def assert_ends(self, wire: Wire, seconds: float = 1.0) -> None:
        began = time.monotonic()
        self.assertTrue(wire.closed())
        self.assertLess(time.monotonic() - began, seconds)

    def test_attack_21_closed_when_the_user_is_removed(self) -> None:
        """The file changes, and is read again: who is not in it any more has no session."""
        wire = self.open(self.signed_in())
        path = self.served.directory / "users.realm"
        before = path.read_text()
        self.addCleanup(self.served.reload)
        self.addCleanup(path.write_text, before)
        path.write_text(before.replace("alice: secret,admin,ops\n", ""))
        self.served.reload()
        # what is open is looked at once a second
        self.assert_ends(wire, 3.0)


class FixationTests(SignInAttackCase):
    def test_attack_25_a_cookie_from_before_the_sign_in(self) -> None:
        """A value that an attacker has chosen, or knows: the sign-in makes a new value, and the old value is not a session."""
        for planted in (PLANTED, str(self.signed_in("bob", "hunter2").cookie)):
            visitor = self.visitor()
            visitor.session.cookies.set(COOKIE, planted, path="/", secure=True)
            form = visitor.form(f"{OWN}login?again=1", "login")
            answer = visitor.post(form.action, form.fields | {"username": "alice", "password": "secret"})
            self.assertEqual(answer.status_code, 303)
            fresh = re.search(rf"{COOKIE}=([^;]+)", answer.headers["set-cookie"])
            assert fresh is not None
            self.assertNotEqual(fresh[1], planted)
            self.assertEqual((self.with_cookie(planted), self.with_cookie(fresh[1])), (401, 200))

    def test_attack_25_the_id_changes_at_each_sign_in(self) -> None:
        visitor = self.signed_in()
        seen = {visitor.cookie}
        for _ in range(3):
            form = visitor.form(f"{OWN}login?again=1", "login")
            before = str(visitor.cookie)
            visitor.post(form.action, form.fields | {"username": "alice", "password": "secret"})
            seen.add(visitor.cookie)
            self.assertEqual(self.with_cookie(before), 401, "the session that was replaced has ended")
        self.assertEqual(len(seen), 4)

    def test_attack_25_a_cookie_that_the_service_sets(self) -> None:
        answer = self.signed_in().get("/plant")
        self.assertEqual(answer.status_code, 200)
        self.assertNotIn("perimeter", answer.headers["set-cookie"].lower())
        self.assertIn("own=1", answer.headers["set-cookie"])

    def test_attack_25_two_cookies(self) -> None:
        """One of them is not the user's: both are ignored, in one header or in two."""
        good = f"{COOKIE}={self.signed_in().cookie}"
        for lines in (
            (f"Cookie: {good}; {COOKIE}={PLANTED}",),
            (f"Cookie: {COOKIE}={PLANTED}; {good}",),
            (f"Cookie: {good}", f"Cookie: {COOKIE}={PLANTED}"),
            (f"Cookie: {good}; {good}",),
        ):
            self.assertEqual(self.ask("/page", *lines).status, 401, lines)
        self.assertEqual(self.ask("/page", f"Cookie: a=b; {good}; c=d").status, 200)

    def test_attack_25_other_spellings(self) -> None:
        value = str(self.signed_in().cookie)
        for cookie in (
            *(f"__host-perimeter={value}", f"__HOST-PERIMETER={value}", f'{COOKIE}="{value}"', f"{COOKIE} ={value}"),
            *(f"{COOKIE}={value}x", f"{COOKIE}={value[:-1]}", f"{COOKIE}={value[:-1]}%", f"$Version=1; {COOKIE}={value}"),
            *(f"x{COOKIE}={value}", f"{COOKIE}-pre={value}", f"perimeter={value}"),
        ):
            self.assertEqual(self.ask("/page", f"Cookie: {cookie}").status, 401, cookie)

    def test_attack_77_half_a_sign_in_is_none(self) -> None:
        """Only the session's own cookie opens anything: not that of the form, nor one of a sign-in that is not complete."""
        visitor = self.signed_in()
        genuine = str(visitor.cookie)
        before = self.visitor()
        before.navigate(f"{OWN}login")
        form = before.session.cookies[f"{COOKIE}-pre"]
        asked = len(self.service.requests)
        targets = ("/page", "/sealed", "/authenticate", f"{OWN}account", f"{OWN}account/tokens/new")
        for target in targets:
            for name in ("-pre", "-pending", "-flow-0", "-flow-4", "2", "_pending"):
                for value in (genuine, PLANTED, form):
                    self.assertEqual(self.ask(target, f"Cookie: {COOKIE}{name}={value}").status, 401, (target, name))
            for value in (form, form.ljust(43, "A")):
                self.assertEqual(self.with_cookie(value, target), 401, target)
        self.assertEqual(len(self.service.requests), asked)
        self.assertEqual(self.with_cookie(genuine), 200)

    def test_attack_25_replay_after_the_sign_out(self) -> None:
        visitor = self.signed_in()
        cookie = str(visitor.cookie)
        self.assertEqual(self.with_cookie(cookie), 200)
        answer = visitor.sign_out()
        self.assertEqual(answer.status_code, 303)
        self.assertEqual(self.with_cookie(cookie), 401)
        # and a gateway that starts anew does not forget it
        self.served.kill()
        self.served.start()
        self.assertEqual(self.with_cookie(cookie), 401)

    def test_attack_25_replay_after_idle_time_and_lifetime(self) -> None:
        for option in ("idle = 2s", "lifetime = 2s\nidle = 2s"):
            gateway = self.other(f"[login]\n{option}\n")
            visitor = self.visitor_of(gateway)
            visitor.sign_in("alice", "secret")
            self.assertEqual(visitor.get("/page").status_code, 200)
            eventually(lambda gone=visitor: gone.get(f"{OWN}logout").status_code == 303, option)  # type: ignore[misc]
            self.assertEqual(visitor.get("/page").status_code, 401)

    def other(self, extra: str) -> Gateway:
        config = self.CONFIG.replace("<service>", self.service.url) + extra
        files = {name: (self.served.directory / name).read_bytes() for name in (f"{HOST}.pem", f"{HOST}.key")}
        return self.gateway(config, {**USERS, **files})

    def visitor_of(self, gateway: Gateway) -> Visitor:
        visitor = Visitor(f"https://127.0.0.1:{gateway['https']}", gateway.directory / f"{HOST}.pem")
        self.addCleanup(visitor.close)
        return visitor


class MarkupTests(SignInAttackCase):
    def assert_plain(self, text: str) -> None:
        """Nothing of what an attacker wrote is markup."""
        for attacker in (MARKUP, "<script>alert", "onmouseover='", "<img/"):
            self.assertNotIn(attacker, text)

    def test_attack_26_in_the_form(self) -> None:
        for name in (MARKUP, QUOTED, "</title><script>alert(1)</script>", "{{ 1234*1234 }}", "\u202ealice"):
            answer = self.visitor().sign_in(name, "wrong")
            self.assertEqual(answer.status_code, 403)
            self.assert_plain(answer.text)
            self.assertNotIn("1522756", answer.text, "no expression of a template is evaluated")

    def test_attack_26_in_the_name_of_a_user_and_in_roles(self) -> None:
        for name in (MARKUP, QUOTED):
            visitor = self.signed_in(name)
            for path in (f"{OWN}logout", "/admin/x", f"{OWN}login?again=1"):
                text = visitor.navigate(path).text
                self.assert_plain(text)

    def test_attack_26_in_the_address(self) -> None:
        visitor = self.visitor()
        for value in ("%22%3E%3Cscript%3Ealert(1)%3C/script%3E", "javascript:alert(1)", "/%3Cscript%3Ealert(1)", "/'onx='"):
            for path in (f"{OWN}login?to={value}", f"{OWN}login?again={value}", f"{OWN}go?to={value}&fragment={value}"):
                text = visitor.navigate(path).text
                self.assert_plain(text)
                self.assertNotIn("javascript:", text)
        self.assertEqual(self.ask(f"{OWN}login", host="<script>alert(1)</script>").status, 400)

    def test_attack_26_what_a_policy_allows(self) -> None:
        """No page runs a script or uses a style sheet without the nonce of its own response."""
        visitor = self.signed_in("bob", "hunter2")
        nonces = []
        for path in (f"{OWN}login?again=1", f"{OWN}logout", f"{OWN}signed-out", f"{OWN}go?to=/", "/admin/x"):
            answer = visitor.navigate(path)
            policy = answer.headers["content-security-policy"]
            self.assertNotIn("unsafe", policy)
            self.assertIn("default-src 'none'", policy)
            self.assertIn("frame-ancestors", policy)
            nonces += re.findall(r"script-src 'nonce-([^']+)'", policy)
            for tag in re.findall(r"<(?:script|link rel=.stylesheet)[^>]*>", answer.text):
                self.assertIn("nonce=", tag, path)
            for style in re.findall(r"<style>(.*?)</style>", answer.text, re.DOTALL):
                digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
                self.assertIn(f"'sha256-{digest}'", policy, path)
            self.assertEqual(re.findall(r"<[^>]+\s(?:style|on\w+)=", answer.text), [], path)
        self.assertGreaterEqual(len(nonces), 4)
        self.assertEqual(len(set(nonces)), len(nonces))


class ForgedFormTests(SignInAttackCase):
    def refused(self, answer: requests.Response, why: str) -> None:
        self.assertEqual(answer.status_code, 403, (why, answer.text))

    def test_attack_27_sign_out(self) -> None:
        """Every fault of the form: 403, and the session does not end."""
        visitor, other = self.signed_in(), self.signed_in("bob", "hunter2")
        action = f"{OWN}logout"
        good = visitor.form(action, "logout").fields
        foreign = other.form(action, "logout").fields["token"]
        login = visitor.form(f"{OWN}login?again=1", "login").fields["token"]
        port = self.served["https"]
        own = visitor.origin
        for why, fields, headers in (
            ("no token", {}, {}),
            ("an empty token", {"token": ""}, {}),
            ("a token that is no ASCII", {"token": "\u00e9"}, {}),
            ("the token of another session", {"token": foreign}, {}),
            ("the token of another purpose", {"token": login}, {}),
            ("a hidden origin", good, {"Origin": "null"}),
            ("a sister host", good, {"Origin": f"https://{SISTER}:{port}"}),
            ("another port", good, {"Origin": f"https://127.0.0.1:{port + 1}"}),
            ("another scheme", good, {"Origin": own.replace("https", "http")}),
            ("another site", good, {"Sec-Fetch-Site": "cross-site"}),
            ("a sister host without Origin", good, {"Sec-Fetch-Site": "same-site"}),
            ("a script of the same host", good, {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"}),
        ):
            self.refused(visitor.post(action, fields, **headers), why)
        body = f"token={good['token']}".encode()
        for kind in ("text/plain", "application/json", "multipart/form-data; boundary=x"):
            answer = visitor.post(action, body, **{"Content-Type": kind})
            self.assertIn(answer.status_code, (400, 403, 415), kind)
        self.assertEqual(visitor.get("/page").status_code, 200, "still signed in")
        self.assertEqual(visitor.post(action, good, Origin=own).status_code, 303)
        self.assertEqual(visitor.get("/page").status_code, 401)

    def test_attack_27_sign_in(self) -> None:
        """A page of another site cannot sign its visitor in as another user."""
        port = self.served["https"]
        right = {"username": "alice", "password": "secret"}
        foreign = self.visitor().form(f"{OWN}login", "login").fields["token"]
        for why, token, headers in (
            ("no token", None, {}),
            ("the token of another browser", foreign, {}),
            ("a hidden origin", "", {"Origin": "null"}),
            ("a sister host", "", {"Origin": f"https://{SISTER}:{port}"}),
            ("another site", "", {"Sec-Fetch-Site": "cross-site"}),
        ):
            visitor = self.visitor()
            form = visitor.form(f"{OWN}login", "login")
            fields = {**form.fields, **right}
            if token is None:
                del fields["token"]
            elif token:
                fields["token"] = token
            answer = visitor.post(form.action, fields, **headers)
            self.refused(answer, why)
            self.assertIsNone(visitor.cookie, why)
        # no cookie at all, but signs of a browser: no page of the gateway has made this form
        for headers in (
            {},
            {"Accept": "*/*", "Origin": f"https://127.0.0.1:{port}"},
            {"Accept": "*/*", "Referer": "https://x.test/"},
        ):
            visitor = self.visitor()
            self.refused(visitor.post(f"{OWN}login", right, **headers), str(headers))
            self.assertIsNone(visitor.cookie)


class CookieTests(SignInAttackCase):
    def test_attack_28_attributes(self) -> None:
        visitor = self.visitor()
        answers = [visitor.navigate(f"{OWN}login"), visitor.sign_in("alice", "secret"), visitor.sign_out()]
        for answer in answers:
            for line in answer.raw.headers.getlist("set-cookie"):
                first, *attributes = line.split("; ")
                self.assertTrue(first.startswith(COOKIE), line)
                words = {one.lower() for one in attributes}
                self.assertLessEqual({"secure", "httponly", "path=/", "samesite=lax"}, words, line)
                self.assertFalse([one for one in words if one.startswith("domain")], line)
        session = [one for one in answers[1].raw.headers.getlist("set-cookie") if one.startswith(f"{COOKIE}=")]
        self.assertEqual(len(session), 1)
        self.assertNotIn("max-age", session[0].lower())

    def test_attack_28_not_over_plain_http(self) -> None:
        """A cookie that went over a connection that others can read is not the user's any more."""
        cookie = str(self.signed_in().cookie)
        config = self.CONFIG.replace("<service>", self.service.url) + "[listener http]\nport = @http@\ninterface = 127.0.0.1\n"
        files = {name: (self.served.directory / name).read_bytes() for name in (f"{HOST}.pem", f"{HOST}.key")}
        gateway = self.gateway(config, {**USERS, **files})
        visitor = Visitor(f"https://127.0.0.1:{gateway['https']}", gateway.directory / f"{HOST}.pem")
        self.addCleanup(visitor.close)
        visitor.sign_in("alice", "secret")
        cookie = str(visitor.cookie)
        for lines in ((), ("X-Forwarded-Proto: https",), ("Forwarded: proto=https",)):
            with gateway.connect("http") as wire:
                answer = wire.get("/page", f"Cookie: {COOKIE}={cookie}", *lines)
            self.assertEqual(answer.status, 401, lines)
        with gateway.connect("http") as wire:
            page = wire.get(f"{OWN}login", *(f"{name}: {value}" for name, value in BROWSER.items()))
        self.assertEqual(page.get_all("set-cookie"), [])
        self.assertIn(f"https://gateway.test:{gateway['https']}{OWN}login", page.text)

    def test_attack_16_no_service_page_or_log_has_the_cookie(self) -> None:
        visitor = self.signed_in()
        value = str(visitor.cookie)
        before = str(visitor.session.cookies.get(f"{COOKIE}-pre"))
        lines = f"Cookie: a=1;{COOKIE}={value};  b = 2; {COOKIE}-pre={before}; __host-perimeter={value}; __Host-perimeter-x=y; c"
        self.assertEqual(self.ask("/page", lines).status, 200)
        received = self.service.requests[-1]
        self.assertEqual(received.get("cookie"), "a=1;  b = 2; c")
        self.assertEqual(self.ask("/page", f"Cookie: {COOKIE}={value}").status, 200)
        self.assertIsNone(self.service.requests[-1].get("cookie"))
        answers = [self.ask(path, f"Cookie: {COOKIE}={value}").head for path in ("/admin/x", "/sealed/x", f"{OWN}logout")]
        answers.append(self.ask("/x", f"Cookie: {COOKIE}={value}x", "Accept: text/html").head)
        for secret in (value, before):
            for answer in answers:
                self.assertNotIn(secret.encode(), answer)
            for raw in self.service.raw:
                self.assertNotIn(secret.encode(), raw)
            for name in ("gateway.log", "access.log"):
                self.assertNotIn(secret, (self.served.directory / name).read_text())
            for stored in (self.served.directory / "state").iterdir():
                self.assertNotIn(secret.encode(), stored.read_bytes() if stored.is_file() else b"")
