"""Attack 42 against a running gateway: no input from a client forges a log line or leaves a secret in one."""

from __future__ import annotations

import base64
import json
import re
import unicodedata

from tests.integration.authplugin import SECTION, installed
from tests.integration.harness import Gateway, GatewayCase, site
from tests.integration.ports import eventually
from tests.integration.upstreams import Connection
from tests.integration.wire import basic

# ISO-8859-1 with \u escapes, as Java writes it: a directory may contain such names, and an operator may type them
USERS = {"users.realm": 'alice: secret,admin\no"br\\\\ien: pw\nx\\u202etxt: pw\nzo\\u00eb: pw\n'}

EVIL = {
    "newline": b"\n",
    "carriage return": b"\r",
    "ESC": b"\x1b[2J",
    "U+0085": "\x85".encode(),
    "raw 0x85": b"\x85",
    "U+2028": "\u2028".encode(),
    "right-to-left override": "\u202e".encode(),
    "quote": b'"',
    "backslash": b"\\",
    "quote and blank": b'" 200 0 "',
    "NUL": b"\0",
    "DEL": b"\x7f",
    "tab": b"\t",
    "no UTF-8": b"\xff\xfe",
}

FORGED = b'127.0.0.1 admin [22/Nov/2026:00:00:00 +0000] "GET /forged HTTP/1.1" 200 0'

REACTOR = re.compile(r'\S+ \S+ \[[^\]\s]+ [+-]\d{4}\] "(?:[^" ]+ [^" ]+ HTTP/1\.[01]|-)" \d{3} \d+')
COMBINED = re.compile(r'\S+ - \S+ \[[^\]\s]+ [+-]\d{4}\] "(?:[^" ]+ [^" ]+ HTTP/1\.[01]|-)" \d{3} \d+ "[^"]*" "[^"]*"')


def visible(line: str) -> bool:
    """Whether no character of ``line`` controls a terminal or ends a line."""
    return all(
        unicodedata.category(character)[0] not in "C" and unicodedata.category(character) not in ("Zl", "Zp")
        for character in line
    )


class LogCase(GatewayCase):
    """One gateway for each format of the audit log."""

    formats = ("reactor", "combined", "json")

    def setUp(self) -> None:
        self.service = self.upstream(self.script)
        environ = installed(self.directory())
        self.gateways = {}
        for name in self.formats:
            config = site(
                f"""
[upstream service]
servers = {self.service.url}

[upstream dead]
servers = http://127.0.0.1:@nothing@

[upstream sample]
servers = sample:

[route all]
path = /
upstream = service

[route open]
path = /open
upstream = service
auth = none

[route dead]
path = /dead
upstream = dead
auth = none

[route sample]
path = /sample
upstream = sample
auth = none

[route static]
path = /static
static = static
auth = none
""",
                extra=f"{SECTION}\n[logging]\nlevel = debug\nformat = {'json' if name == 'json' else 'console'}\n",
            ).replace("path = access.log", f"path = access.log\nformat = {name}")
            gateway = self.unstarted(config, {**USERS, "static/a.txt": "a"}, environ)
            gateway.launch()
            self.gateways[name] = gateway
        for gateway in self.gateways.values():
            gateway.await_notification("READY=1", 60)

    @staticmethod
    def script(connection: Connection) -> None:
        while True:
            received = connection.request()
            if "bad-reply" in received.line:
                connection.send(b"HTTP/1.1 200 O\x1bK\r\nSet-Cookie: s=UPSTREAMSECRET\r\n\r\n")
                return
            if "cut" in received.line:
                connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nSet-Cookie: s=UPSTREAMSECRET\r\n\r\nx")
                return
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    def raw(self, gateway: Gateway, data: bytes, *, leave: bool = False) -> None:
        """Send bytes on a new connection, and wait for its end. With ``leave``, close it after the first answer."""
        with gateway.connect("http") as wire:
            wire.send(data)
            if leave:
                wire.response()
                wire.half_close()
            wire.read_all()

    def assert_daemon_log(self, gateway: Gateway) -> None:
        """Every line begins like a line of the gateway, and has no invisible character."""
        for line in gateway.log.split("\n")[:-1]:
            self.assertTrue(visible(line), line)
            if gateway is self.gateways.get("json"):
                self.assertIn("message", json.loads(line))
            else:
                self.assertRegex(
                    line, r"^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4} (debug|info|warn|error|critical) [\w.#-]+: |    )"
                )


class InjectionTests(LogCase):
    def test_attack_42_log_injection(self) -> None:
        """Newline, ESC, U+0085, quotes and similar characters in every header that a format writes."""
        for name, gateway in self.gateways.items():
            count = self.attack(gateway)
            lines = gateway.await_audit(count)
            self.judge(name, lines)
            self.assert_daemon_log(gateway)
        for line in self.gateways["reactor"].log.splitlines():
            if "/forged" in line:  # a part of a target, inside the line of its own refusal
                self.assertRegex(line, r"^\S+ info perimeter\.http\.refusals: request refused for 127\.0\.0\.1, ")

    def attack(self, gateway: Gateway) -> int:
        """Send one request for each header and each dangerous character, on separate connections. Returns the number of lines."""
        count = 0
        good = b"Host: a\r\nConnection: close\r\n" + basic("alice", "secret").encode() + b"\r\n"
        for evil in EVIL.values():
            for data in (
                b"GE" + evil + b"T /method HTTP/1.1\r\n" + good + b"\r\n",
                b"GET /target" + evil + FORGED.replace(b" ", b"_") + b" HTTP/1.1\r\n" + good + b"\r\n",
                b"GET /query?a" + evil + b"b HTTP/1.1\r\n" + good + b"\r\n",
                b"GET /version HTTP/1.1" + evil + b"\r\n" + good + b"\r\n",
                b"GET /host HTTP/1.1\r\nConnection: close\r\nHost: a" + evil + b"b\r\n\r\n",
                b"GET /open/referer HTTP/1.1\r\nHost: a\r\nConnection: close\r\nReferer: x" + evil + FORGED + b"\r\n\r\n",
                b"GET /open/agent HTTP/1.1\r\nHost: a\r\nConnection: close\r\nUser-Agent: x" + evil + FORGED + b"\r\n\r\n",
                # the same in valid requests, percent-encoded as clients do it
                b"GET /open/"
                + b"".join(b"%%%02x" % byte for byte in evil)
                + b" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
            ):
                self.raw(gateway, data)
                count += 1
        wire = self.connect(gateway, "http")
        for user in ('o"br\\ien', "x\u202etxt", "zoë"):
            self.assertEqual(wire.get("/user", basic(user, "pw")).status, 200, user)
            count += 1
        # the plug-in accepts every name that begins like this, and writes it into the daemon's log
        for character in ('"', "\\", "\u2028", "\u202e", "\u0085", " ", "\u00a0"):
            status = wire.get("/user", basic(f"say{character}x", "pw")).status
            self.assertIn(status, (200, 401), character)
            count += 1
        # and names that no user can have
        for character in ("\n", "\r\n" + FORGED.decode(), "\x1b[2J", "\0"):
            self.assertEqual(wire.get("/user", basic(f"say{character}x", "pw")).status, 401, character)
            count += 1
        return count

    def judge(self, name: str, lines: list[str]) -> None:
        """Each line is one record of its format for every reader."""
        for line in lines:
            self.assertTrue(visible(line), line)
            if name == "json":
                record = json.loads(line)
                self.assertTrue(line.isascii(), line)
                self.assertNotIn("/forged", record["target"].split("/target")[0])
            else:
                self.assertRegex(line, f"^(?:{(REACTOR if name == 'reactor' else COMBINED).pattern})$")
        text = "\n".join(lines)
        # the bytes are not dropped; the escaped form shows what arrived
        if name == "json":
            targets = [json.loads(line)["target"] for line in lines]
            self.assertIn('/query?a"b', targets)
            self.assertTrue(any(target.startswith("/target\x1b[2J") for target in targets), targets)
            users = {json.loads(line)["user"] for line in lines}
            self.assertLessEqual({'o"br\\ien', "x\u202etxt", "zoë"}, users)
            agents = [json.loads(line)["user_agent"] or "" for line in lines]
            self.assertTrue(any(agent.startswith('x"127') for agent in agents), agents)
            return
        for escaped in (r"/target\x1b[2J", r"/target\x22", r"/query?a\xc2\x85b", r"/query?a\x85b", r"/query?a\x5cb"):
            self.assertIn(escaped, text)
        for user in (r"o\x22br\x5cien", r"x\xe2\x80\xaetxt", "zoë"):
            self.assertIn(f" {user} [", text)
        if name == "combined":
            for escaped in (r'"x\xc2\x85127', r'"x\x22127', r'"x\x09127', r'"x\xff\xfe127'):
                self.assertEqual(text.count(escaped), 2, escaped)  # the referer and the agent


# each secret is a different word, so that a leak shows its source
SECRETS = {
    "basic": "basicSECRETone",
    "bearer": "bearerSECRETtwo",
    "cookie": "cookieSECRETthree",
    "query": "querySECRETfour",
    "form": "formSECRETfive",
    "json": "jsonSECRETsix",
    "referer": "refererSECRETseven",
    "plug-in": "pluginSECRETeight",
    "userinfo": "userinfoSECRETnine",
    "folded": "foldedSECRETten",
}


class SecretTests(LogCase):
    def test_attack_42_no_secret_in_any_log(self) -> None:
        """No Authorization, cookie, password or access_token in any log, at level debug, however the request ends."""
        for gateway in self.gateways.values():
            token = json.loads(self.connect(gateway, "http").get("/token", basic("alice", "secret")).body)["access_token"]
            self.leak(gateway, token)
            # SIGTERM makes it write its last messages
            gateway.stop()
            self.assertIn("debug", gateway.log)
            encoded = [base64.b64encode(f"{user}:{SECRETS['basic']}".encode()).decode() for user in ("alice", "say", "raise")]
            needles = [*SECRETS.values(), *encoded, token, token.split(".")[2], "UPSTREAMSECRET", "YWxpY2U6c2VjcmV0"]
            files = [path for path in gateway.directory.iterdir() if path.name.startswith("access.log")]
            self.assertTrue(files)
            for path in [*files, gateway.directory / "gateway.log"]:
                text = path.read_text(errors="replace")
                for needle in needles:
                    around = text.find(needle)
                    self.assertEqual(around, -1, f"{needle} in {path.name}: {text[max(0, around - 300) : around + 100]}")

    def leak(self, gateway: Gateway, token: str) -> None:
        """Send secrets in all places where clients put them, in requests with all kinds of results."""
        credentials = (
            basic("alice", SECRETS["basic"]),
            basic("raise", SECRETS["plug-in"]),
            basic("raise-bare", SECRETS["plug-in"]),
            basic("raise-base", SECRETS["plug-in"]),
            basic("say", SECRETS["plug-in"]),
            f"Authorization: Bearer {SECRETS['bearer']}",
            f"Authorization: Bearer {token}",
            f"Authorization: Bearer {token}x",
            f"Authorization: Digest {SECRETS['bearer']}",
        )
        cookie = f"Cookie: sid={SECRETS['cookie']}"
        query = f"access_token={SECRETS['query']}&x=1&password={SECRETS['query']}"
        paths = (
            "/all",
            "/open/x",
            "/dead/x",
            "/sample/x",
            "/static/a.txt",
            "/static/none",
            "/token",
            "/status",
            "/open/bad-reply",
        )
        for path in (*paths, "/open/cut", "/open/..%2f", "/open/;x"):
            for credential in credentials:
                lines = f"GET {path}?{query} HTTP/1.1\r\nHost: a\r\n{credential}\r\n{cookie}\r\n"
                lines += f"Referer: https://u:{SECRETS['userinfo']}@h/?access_token={SECRETS['referer']}\r\nUser-Agent: t\r\n"
                self.raw(gateway, f"{lines}Connection: close\r\n\r\n".encode())
        for data in (
            # refused heads, with a secret in every place where a parser could misread it
            f"GET /?token={SECRETS['query']}#access_token={SECRETS['query']} HTTP/1.1\r\nHost: a\r\n\r\n",
            f"GET /#access_token={SECRETS['query']} HTTP/1.1\r\nHost: a\r\n\r\n",
            f"GET http://u:{SECRETS['userinfo']}@a/ HTTP/1.1\r\nHost: a\r\n\r\n",
            f"GET / HTTP/1.1\r\nHost: u:{SECRETS['userinfo']}@a\r\n\r\n",
            f"GET / HTTP/1.1\r\nHost: a\r\nAuthorization : Bearer {SECRETS['bearer']}\r\n\r\n",
            f"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n Authorization: Bearer {SECRETS['folded']}\r\n\r\n",
            f"GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer\x01{SECRETS['bearer']}\r\n\r\n",
            f"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nAuthorization: Bearer {SECRETS['bearer']}\r\n"
            f"{basic('alice', SECRETS['basic'])}\r\n\r\n",
            f"Authorization: Bearer {SECRETS['bearer']}\r\n\r\n",
        ):
            self.raw(gateway, data.encode())
        for data in (
            # the part of a body beyond its Content-Length is read as the next request
            f"password={SECRETS['form']}&user=bob",
            f"password={SECRETS['form']}&user=bob\r\n\r\n",
            f'{{"password":"{SECRETS["json"]}"}}\r\n\r\n',
            f'{{"password": "{SECRETS["json"]}", "user": "bob"}}\r\n\r\n',
            f"{{}}Cookie: sid={SECRETS['cookie']}\r\n\r\n",
            f"Cookie: sid={SECRETS['cookie']}; a=b\r\n\r\n",
            f"GET / HTTP/1.1\r\nAuthorization: Bearer {SECRETS['bearer']}",
        ):
            self.raw(gateway, f"POST /open/x HTTP/1.1\r\nHost: a\r\n\r\n{data}".encode(), leave=True)
        # the client closes before the answer
        wire = self.connect(gateway, "http")
        wire.send(f"GET /all?{query} HTTP/1.1\r\nHost: a\r\n{basic('hang', SECRETS['basic'])}\r\n{cookie}\r\n\r\n".encode())
        wire.reset()
        eventually(lambda: any(" 499 " in line or '"status":499' in line for line in gateway.audit()), "the record of who left")
