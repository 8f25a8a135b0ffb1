"""What the operator reads after a bad night: reasons of refusals, failed logins by name, one message and not a thousand."""

from __future__ import annotations

import json
import re
import resource
import subprocess
import time
from base64 import b64encode
from pathlib import Path

from perimeter.model import TOKEN_PREFIX
from tests.integration.harness import USERS, Gateway, GatewayCase, site
from tests.integration.ports import eventually
from tests.integration.wire import basic, bearer

DOCS = Path(__file__).parents[2] / "docs"

ROUTES = """\
[upstream sample]
servers = sample:

[route open]
path = /open
upstream = sample
auth = none

[route near]
path = /near
upstream = sample
auth = none
networks = 192.0.2.0/24

[route admins]
path = /admins
upstream = sample
allow = role:admin

[route all]
path = /
upstream = sample
"""


def json_site(routes: str = ROUTES, perimeter: str = "", extra: str = "") -> str:
    return site(routes, perimeter=perimeter, extra=extra).replace("path = access.log", "path = access.log\nformat = json")


def records(gateway: Gateway) -> list[dict[str, object]]:
    return [json.loads(line) for line in gateway.audit()]


def lines_of(gateway: Gateway, word: str) -> list[str]:
    return [line for line in gateway.log.splitlines() if word in line]


class RefusalTests(GatewayCase):
    """The reason and the detail of each refusal are in the daemon's log, at info, and in the audit log."""

    def check(self, gateway: Gateway, target: str, *lines: str, reason: str, detail: str) -> None:
        before = len(gateway.audit())
        with gateway.connect("http") as wire:
            response = wire.get(target, *lines)
        eventually(lambda: len(gateway.audit()) > before, "the audit line")
        record = records(gateway)[-1]
        self.assertEqual(record["reason"], reason)
        self.assertIn(detail, str(record["detail"]))
        self.assertEqual(record["request_id"], response.get("x-request-id"))
        gateway.await_log(f" {reason}: {record['detail']} (request_id {record['request_id']})\n")

    def test_every_kind_has_reason_and_detail(self) -> None:
        gateway = self.gateway(json_site(perimeter="trusted_proxies = 127.0.0.1"), USERS)
        with gateway.connect("http") as wire:
            token = json.loads(wire.get("/token", basic("alice", "secret")).body)["access_token"]
        header, claims, signature = token.split(".")
        no_kid = b64encode(json.dumps({"alg": "RS256", "typ": "at+jwt"}).encode()).decode().rstrip("=")
        asked = "X-Forwarded-For: 198.51.100.7"
        for target, lines, reason, detail in (
            ("/open/../x", (), "bad_target", "dot segment"),
            ("/open/a%252fb", (), "bad_target", "doubly encoded"),
            ("/open/a%2fb", (), "bad_target", "an encoded slash"),
            ("/x", (), "missing_credentials", "no credential in the request"),
            ("/x", ("Authorization: Bearer a b",), "invalid_request", ""),
            ("/x", (bearer(f"{no_kid}.{claims}.{signature}"),), "invalid_token", "its header has other members"),
            ("/x", (bearer(f"{header}.{claims}.{signature[:-4]}AAAA"),), "invalid_token", "signature is wrong"),
            ("/x", (bearer(TOKEN_PREFIX + "A" * 43),), "invalid_token", "no such API token"),
            ("/x", (bearer(TOKEN_PREFIX + "2_" + "A" * 43),), "invalid_token", "its check is wrong"),
            ("/near", (), "network_refused", "outside the networks"),
            ("/admins", (basic("bob", "hunter2"),), "insufficient_scope", "no term of allow = role:admin matches"),
            ("/authenticate", (asked, "X-Forwarded-Uri: /x"), "bad_target", "described in part"),
            ("/authenticate", (asked, "X-Original-Method: GET"), "bad_target", "described in part"),
        ):
            self.check(gateway, target, *lines, reason=reason, detail=detail)
        for secret in (token, signature, "secret", "hunter2", "A" * 40):
            self.assertNotIn(secret, gateway.log)
            self.assertNotIn(secret, "\n".join(gateway.audit()))

    def test_a_jwt_of_another_issuer(self) -> None:
        """Why each authenticator does not know the token, and no claim of the token."""
        issuer = (
            "[authenticator sso]\ntype = jwt\nissuer = https://sso.example\naudience = gw\ncert_uri = http://127.0.0.1:9/jwks\n"
        )
        gateway = self.gateway(json_site(extra=issuer), USERS)

        def part(members: dict[str, object]) -> str:
            return b64encode(json.dumps(members).encode()).decode().replace("+", "-").replace("/", "_").rstrip("=")

        claims = part({"iss": "https://evil.example", "sub": "EVIL", "exp": time.time() + 60})
        for header, detail in (
            ({"alg": "RS256", "kid": "k"}, "the token names another issuer"),
            ({"alg": "none"}, "no authenticator knows this token"),
        ):
            self.check(gateway, "/x", bearer(f"{part(header)}.{claims}.{'A' * 342}"), reason="invalid_token", detail=detail)
        self.assertNotIn("EVIL", gateway.log)
        self.assertNotIn("evil.example", gateway.log)

    def test_a_head_that_cannot_be_read(self) -> None:
        gateway = self.gateway(json_site(), USERS)
        with gateway.connect("http") as wire:
            wire.send(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
            wire.read_all()
        gateway.await_log("request refused for 127.0.0.1, GET /: 400 bad_request: there are two host fields")

    def test_attack_67_refusals_in_a_loop_are_counted(self) -> None:
        gateway = self.gateway(json_site(), USERS)
        with gateway.connect("http") as wire:
            for _ in range(300):
                self.assertEqual(wire.get("/x").status, 401)
        gateway.stop()
        self.assertEqual(len(lines_of(gateway, "request refused for")), 5)
        self.assertRegex(gateway.log, r"requests refused: missing_credentials: [^\n]*: 295 more in \d+ s\n")
        self.assertEqual(len(gateway.audit()), 300)


class FailedLoginTests(GatewayCase):
    """The name that was tried is in both logs, and a program that reads them can block the address."""

    def fail(self, gateway: Gateway, *names: str) -> None:
        for name in names:
            with gateway.connect("http") as wire:
                self.assertIn(wire.get("/x", basic(name, "WRONG")).status, (401, 429))

    def test_the_name_that_was_tried(self) -> None:
        gateway = self.gateway(json_site(), USERS)
        token = TOKEN_PREFIX + "A" * 40
        names = ("alice", "nobody", 'x", "reason":"wrong_credentials', "n" * 200, token)
        self.fail(gateway, *names)
        found = records(gateway)
        self.assertEqual([record["attempted_user"] for record in found], [*names[:3], "n" * 63 + "…", "REDACTED"], "attack 66")
        self.assertEqual({(record["user"], record["reason"]) for record in found}, {(None, "wrong_credentials")})
        gateway.await_log('login refused for 127.0.0.1, user "alice": 401 wrong_credentials: wrong password for a user of realm')
        gateway.await_log('login refused for 127.0.0.1, user "nobody": 401 wrong_credentials: no authenticator knows this user')
        for text in (gateway.log, "\n".join(gateway.audit())):
            self.assertNotIn("WRONG", text)
            self.assertNotIn(token, text)

    def test_fail2ban_with_the_filters_of_the_manual(self) -> None:
        self.need("fail2ban-regex")
        gateway = self.gateway(json_site(extra="[authentication]\nlockout_after = 3\n"), USERS)
        self.fail(gateway, "alice", "bob", '"address":"192.0.2.9"', 'x", user "y')
        with gateway.connect("http") as wire:
            wire.get(
                '/x?"address":"192.0.2.9","status":401,"reason":"wrong_credentials",', 'Referer: "reason":"wrong_credentials",'
            )
            wire.get("/open", 'User-Agent: login refused for 192.0.2.9, user "x": 401')
            wire.get("/x", basic("bob", "hunter2"))
        manual = (DOCS / "how-to" / "wrong-passwords.md").read_text()
        filters = re.findall(r"```text\n(# /etc/fail2ban/filter\.d/[\w-]+\.conf\n.*?)```", manual, re.DOTALL)
        self.assertEqual(len(filters), 2)
        refused = [record for record in records(gateway) if record["attempted_user"] is not None]
        self.assertGreaterEqual(len(refused), 4)
        gateway.stop()
        for text, log in zip(filters, ("access.log", "gateway.log"), strict=True):
            place = gateway.directory / "filter.conf"
            place.write_text(text)
            done = subprocess.run(
                ["fail2ban-regex", "--out", "<ip>", str(gateway.directory / log), str(place)],
                capture_output=True,
                text=True,
                timeout=60,
                check=True,
            )
            self.assertEqual(done.stdout.split(), ["127.0.0.1"] * len(refused), log)


class FullDiskTests(GatewayCase):
    """The size of files is limited, so that the kernel takes a part of a line, as a full disk does."""

    def limit(self, gateway: Gateway, size: int) -> None:
        _, hard = resource.prlimit(gateway.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(gateway.pid, resource.RLIMIT_FSIZE, (size, hard))

    def test_attack_41_no_torn_line_and_what_the_client_saw(self) -> None:
        service = self.upstream()
        routes = f"[upstream s]\nservers = {service.url}\n[route open]\npath = /open\nupstream = s\nauth = none\n"
        gateway = self.gateway(json_site(routes), USERS)
        log = gateway.directory / "access.log"
        wire = self.connect(gateway, "http")
        # larger than all other files of the gateway
        while log.stat().st_size < 300_000 if log.exists() else True:
            self.assertEqual(wire.get("/open/" + "a" * 6000).status, 200)
        whole = len(gateway.audit())
        self.limit(gateway, log.stat().st_size + 40)
        statuses = [wire.get("/open/full").status for _ in range(60)]
        self.assertEqual(statuses, [503] * 60)
        self.assertTrue(log.read_bytes().endswith(b"}\n"), "the torn line is removed")
        gateway.await_log("access.log cannot be written, and no request is served until it can be: File too large")
        self.assertEqual(len(lines_of(gateway, "warn perimeter.http.refusals: audit_unavailable: ")), 1)
        self.assertIn(f"audit_unavailable: {log}: File too large (request_id ", gateway.log)
        self.limit(gateway, resource.RLIM_INFINITY)
        eventually(lambda: wire.get("/open/again").status == 200, "it serves again")
        found = records(gateway)[whole:]
        full = [record for record in found if record["target"] == "/open/full"]
        self.assertEqual([(record["status"], record["reason"]) for record in full], [(503, "audit_unavailable")] * 60)
        self.assertEqual(found[-1]["status"], 200)
        gateway.stop()
        self.assertRegex(gateway.log, r"audit_unavailable: [^\n]*: File too large: \d+ more in \d+ s\n")
        self.assertLess(len(gateway.log.splitlines()), 20)

    def test_attack_41_a_download_that_was_cut_is_logged_as_cut(self) -> None:
        body = b"x" * 200_000
        service = self.upstream(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n30d40\r\n" + body + b"\r\n0\r\n\r\n")
        routes = f"[upstream s]\nservers = {service.url}\n[route open]\npath = /\nupstream = s\nauth = none\n"
        gateway = self.gateway(json_site(routes), USERS)
        log = gateway.directory / "access.log"
        wire = self.connect(gateway, "http")
        wire.get("/first")
        self.limit(gateway, log.stat().st_size + 40)
        wire.send(b"GET /cut HTTP/1.1\r\nHost: a\r\n\r\n")
        got = wire.read_all()
        self.assertNotIn(b"\r\n0\r\n\r\n", got)
        self.limit(gateway, resource.RLIM_INFINITY)
        eventually(lambda: len(gateway.audit()) > 1, "the record is written")
        record = records(gateway)[1]
        self.assertEqual(record["reason"], "audit_unavailable")
        self.assertEqual(record["status"], 200 if got else 503)
