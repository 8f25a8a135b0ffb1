"""Attack 41 against a running gateway: no failure ever admits a request."""

from __future__ import annotations

import base64
import json
import os
import threading
from pathlib import Path

from tests.integration.authplugin import SECTION, SOURCE_TEXT, holding, installed
from tests.integration.harness import USERS, Gateway, GatewayCase, site
from tests.integration.ports import eventually
from tests.integration.wire import Response, bearer

ROUTES = """
[upstream service]
servers = {url}

[route all]
path = /
upstream = service

[route optional]
path = /optional
upstream = service
auth = optional

[route open]
path = /open
upstream = service
auth = none
"""


def basic(user: str, password: str = "pw") -> str:
    return "Authorization: Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


class AuthenticatorTests(GatewayCase):
    """A third party's authenticator comes first, so that the realm file would get every request that it passes on."""

    def setUp(self) -> None:
        self.service = self.upstream()
        self.users = "".join(
            f"{name}: pw,admin\n" for name in ("alice", "raise", "raise-bare", "raise-base", "down", "hang", "true")
        )
        self.users += "foreign: pw\nnobody: pw\nrejected: pw\n"
        config = site(
            ROUTES.format(url=self.service.url), extra="[authentication]\norder = acme, local\ntimeout = 1s\n" + SECTION
        )
        self.site = self.gateway(config, {"users.realm": self.users}, installed(self.directory()))

    def test_attack_41_authenticator_that_fails(self) -> None:
        """An exception, a backend that is down or hangs, an invalid answer: 503, and the next authenticator is not asked."""
        wire = self.connect(self.site, "http")
        self.assertEqual(wire.get("/x", basic("alice")).status, 200)
        self.assertEqual(wire.get("/x", basic("good")).status, 200)
        self.assertEqual(self.service.requests[-1].get("x-auth-realm"), "acme")
        before = len(self.service.requests)
        for path in ("/x", "/optional/x", "/token"):
            self.assertEqual(wire.get(path, basic("rejected")).status, 401)
        number = 0
        # the one that hangs comes last, because an authenticator that fails so slowly is not asked for a while
        for user in ("raise", "raise-bare", "raise-base", "down", "true", "foreign", "nobody", "hang"):
            for path in ("/x", "/optional/x", "/token"):
                if user != "hang":
                    # a correct answer in between shows that it is asked, and does not count as down
                    number += 1
                    self.assertEqual(wire.get("/token", basic("good", f"pw{number}")).status, 200)
                response = wire.get(path, basic(user, "PASSWORD"))
                self.assertEqual(response.status, 503, (user, path, response))
                self.assertEqual(json.loads(response.body)["error"], "authentication_unavailable", user)
                self.assertIsNotNone(response.get("retry-after"), user)
                self.assertNotIn("acme", response.text)
                self.assertNotIn("PASSWORD", response.text)
        self.assertEqual(len(self.service.requests), before, "nothing of it reached the service")
        # a route without authentication, and users of the working authenticator, are not affected
        self.assertEqual(wire.get("/open/x", basic("raise")).status, 200)
        self.assertEqual(wire.get("/x", basic("good")).status, 200, "a verdict that is remembered holds")
        for reported in (
            "failed with ValueError",
            "failed with KeyError",
            "failed with RuntimeError",
            "returned no principal of its realm",
        ):
            self.site.await_log(f"acme {reported}")
        self.assertNotIn("PASSWORD", self.site.log)

    def test_attack_41_queue_for_slow_work_is_full(self) -> None:
        """When the queue is full, the answer is 503 with Retry-After, at once. Waiting requests are served, and none is admitted
        unchecked."""
        wires = [self.connect(self.site, "http") for _ in range(300)]
        answers: list[Response | None] = [None] * len(wires)

        def ask(number: int) -> None:
            answers[number] = wires[number].get(f"/slow/{number}", basic(f"slow{number}"))

        with holding(self.site.directory):
            threads = [threading.Thread(target=ask, args=(number,)) for number in range(len(wires))]
            for thread in threads:
                thread.start()
            # at most 4 run and 256 wait
            eventually(lambda: sum(answer is not None for answer in answers) >= 32, "requests beyond the queue are refused")
            refused = [answer for answer in answers if answer is not None and answer.status == 503]
            self.assertGreaterEqual(len(refused), 32)
            for answer in refused[:32]:
                self.assertEqual(json.loads(answer.body)["error"], "overloaded")
                self.assertGreaterEqual(int(answer.get("retry-after") or "0"), 1)
            self.assertEqual(len(self.service.requests), 0)
            # work without a thread continues
            wire = self.connect(self.site, "http")
            self.assertEqual(wire.get("/open/x").status, 200)
            self.assertEqual(wire.get("/status").status, 200)
            self.assertEqual(wire.get("/x", basic("rejected")).status, 401)
        for thread in threads:
            thread.join(30)
        statuses = sorted({answer.status for answer in answers if answer is not None})
        self.assertLessEqual(set(statuses), {200, 503})
        served = [answer for answer in answers if answer is not None and answer.status == 200]
        self.assertEqual(len(self.service.requests), len(served) + 1)
        # it recovers
        wire = self.connect(self.site, "http")
        eventually(lambda: wire.get("/x", basic("slow")).status == 200, "slow work is done again")


class RefusedStartTests(GatewayCase):
    def test_attack_41_what_cannot_be_understood_stops_the_start(self) -> None:
        """A misspelt option or value, an unreadable file or an invalid URL stops the start, and one line gives the reason."""
        good = site(ROUTES.format(url="http://127.0.0.1:1"), tls=True)
        broken = SOURCE_TEXT.replace("def build(self, name, realm, settings, services):", "def built(self):")
        ca = f"ca_certificate = {os.devnull}\n"
        # the fault, the configuration, what the message must name, and the environment
        cases: list[tuple[str, str, tuple[str, ...], dict[str, str]]] = [
            ("option", good.replace("auth = optional", "auht = optional"), ("auht", "did you mean auth?"), {}),
            ("value of auth", good.replace("auth = optional", "auth = requierd"), ("auth", "required"), {}),
            ("section", good.replace("[authenticator local]", "[authentikator local]"), ("authentikator",), {}),
            ("option in a known section", good.replace("realm = example", "realm = example\nenabeld = yes"), ("enabeld",), {}),
            ("boolean", good.replace("realm = example", "realm = example\nenabled = maybe"), ("enabled",), {}),
            ("empty allow", good.replace("path = /\n", "path = /\nallow =\n"), ("allow",), {}),
            ("rule", good.replace("path = /\n", "path = /\nallow = rolle:admin\n"), ("role:admin",), {}),
            ("deny", good.replace("path = /\n", "path = /\ndeny = realm:locale\n"), ("realm:local",), {}),
            ("network", good.replace("path = /\n", "path = /\nnetworks = 10.0.0.0/33\n"), ("networks",), {}),
            (
                "trusted proxies",
                good.replace("realm = example", "realm = example\ntrusted_proxies = all"),
                ("trusted_proxies",),
                {},
            ),
            ("limit", good.replace("[limits]\n", "[limits]\nconnections = many\n"), ("connections",), {}),
            *(
                (f"URL {url}", good.replace("http://127.0.0.1:1", url), ("servers",), {})
                for url in (
                    "htp://a:1",
                    "http://",
                    "http://a:b",
                    "http://a:70000",
                    "http://a/path",
                    "a:80",
                    "http://u:p@a",
                    "http://[::1",
                )
            ),
            ("certificate", good.replace("tls = yes", "tls = yes\ncertificate = none.pem"), ("none.pem",), {}),
            ("key", good.replace("tls = yes", "tls = yes\ncertificate = users.realm\nprivate_key = mem"), ("users.realm",), {}),
            (
                "key that cannot be read",
                good.replace("tls = yes", "tls = yes\ncertificate = gw.crt\nprivate_key = mem"),
                ("mem",),
                {},
            ),
            ("CA of an upstream", good.replace("http://127.0.0.1:1", f"https://127.0.0.1:1\n{ca}"), (os.devnull,), {}),
            ("realm file", good.replace("users.realm", "mem"), ("mem",), {}),
            ("secret from nowhere", good + "[token]\nalgorithm = HS256\nsecret = env:NOT_SET\n", ("NOT_SET",), {}),
            ("secret from a file", good + "[token]\nalgorithm = HS256\nsecret = file:nowhere\n", ("nowhere",), {}),
            ("short secret", good + "[token]\nalgorithm = HS256\nsecret = short\n", ("secret",), {}),
            ("algorithm", good + "[token]\nalgorithm = none\n", ("algorithm",), {}),
            ("kind of authenticator", good.replace("type = realmfile", "type = realmfiel"), ("realmfile",), {}),
            (
                "Redis without an address",
                good.replace("realm = example", "realm = example\nstate = redis"),
                ("redis needs redis_url",),
                {},
            ),
            ("order", good + "[authentication]\norder = locale\n", ("local",), {}),
            ("plug-in", good, ("acme_authenticator",), installed(self.directory(), broken)),
            (
                "two plug-ins of a kind",
                good,
                ("'realmfile'",),
                installed(self.directory(), SOURCE_TEXT.replace('kind = "acme"', 'kind = "realmfile"')),
            ),
            ("plug-in's option", good + SECTION + "heeld = no\n", ("heeld",), installed(self.directory())),
            ("plug-in that is not installed", good + SECTION, ("acme",), {}),
            ("error page", good + "[errors]\npage = 503 /nowhere.html\n", ("/nowhere.html",), {}),
            (
                "static directory",
                good.replace("upstream = service\nauth = none", "static = nowhere\nauth = none"),
                ("nowhere",),
                {},
            ),
        ]
        directory = self.directory()
        running = Gateway(directory, good, USERS)
        self.addCleanup(running.stop)
        running.start()
        (certificate,) = (directory / "state").glob("*.crt")
        files: dict[str, str | bytes] = {**USERS, "gw.crt": certificate.read_bytes()}
        (directory / "gw.crt").write_bytes(certificate.read_bytes())
        (directory / "mem").symlink_to("/proc/self/mem")
        self.assertEqual(self.get(running), 401)
        for name, config, words, environ in cases:
            self.assertFalse(config == good and not environ, f"{name}: the case changes nothing")
            if name not in STARTS:
                # a fault that does not stop a start would not stop a reload either; and this takes less than a second
                running.configure(config)
                before = running.log
                self.assertIn("STATUS=not reloaded: ", running.reload(), name)
                self.judge(name, running.log.removeprefix(before), words)
        self.assertEqual(self.get(running), 401)
        launched: list[tuple[str, Gateway, tuple[str, ...]]] = []
        for name, config, words, environ in cases:
            if name in STARTS:
                gateway = self.unstarted(config, files, environ)
                # permissions do not stop root; reading a process's memory at address 0 is an error for every user
                (gateway.directory / "mem").symlink_to("/proc/self/mem")
                gateway.launch()
                launched.append((name, gateway, words))
        self.assertEqual(len(launched), len(STARTS))
        for name, gateway, words in launched:
            self.assertEqual(gateway.wait(), 1, f"{name}: {gateway.log}")
            self.assertNotIn("Traceback", gateway.log, name)
            self.judge(name, gateway.log, words)
            gateway.kill()

    def get(self, gateway: Gateway) -> int:
        with gateway.connect() as wire:
            return wire.get("/x").status

    def judge(self, name: str, log: str, words: tuple[str, ...]) -> None:
        lines = [line for line in log.splitlines() if " info " not in line]
        for word in words:
            self.assertTrue(any(word in line for line in lines), f"{name}: {word!r} in {lines}")


STARTS = (
    "option",
    "key that cannot be read",
    "URL http://a:b",
    "realm file",
    "plug-in",
    "plug-in's option",
    "two plug-ins of a kind",
)
"""The cases for a real start: one of each kind, and those that need their own environment."""


class FullDiskTests(GatewayCase):
    """The test can fill the disk of the strict audit log: it is a link to /dev/full, and later to a file again."""

    def setUp(self) -> None:
        self.service = self.upstream(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nSECRET")
        config = site(
            ROUTES.format(url=self.service.url)
            + "[route other]\npath = /other\nupstream = service\nauth = none\naudit = other.log\n"
        )
        self.site = self.gateway(config, USERS)

    def fill(self, path: Path) -> None:
        path.rename(path.with_suffix(".before"))
        path.symlink_to("/dev/full")

    def outcome(self, target: str, *lines: str) -> bytes:
        """Everything that a client gets on a new connection."""
        with self.site.connect("http") as wire:
            head = "\r\n".join([f"GET {target} HTTP/1.1", "Host: a", "Connection: close", *lines, "", ""])
            wire.send(head.encode())
            return wire.read_all()

    def test_attack_41_audit_log_on_a_full_disk(self) -> None:
        """A request that cannot be logged is not served, on any path. With room on the disk the gateway recovers by itself."""
        log = self.site.directory / "access.log"
        wire = self.connect(self.site, "http")
        self.assertEqual(wire.get("/open/x").body, b"SECRET")
        token = json.loads(wire.get("/token", basic("alice", "secret")).body)["access_token"]
        self.site.await_audit(2)
        self.fill(log)
        # a moved file is noticed within a second; until then, lines still go to the file with room
        eventually(lambda: b"SECRET" not in self.outcome("/open/noticing"), "the full disk is noticed")
        reached = len(self.service.requests)
        for target, line in (
            ("/open/x", "X: y"),
            ("/x", basic("alice", "secret")),
            ("/x", bearer(token)),
            ("/token", basic("alice", "secret")),
            ("/status", "X: y"),
            ("/x", "X: y"),
            ("/open/..%2f", "X: y"),
        ):
            got = self.outcome(target, line)
            self.assertNotIn(b"SECRET", got, target)
            self.assertNotIn(b"access_token", got, target)
            self.assertNotIn(b" 200 ", got, target)
        said = self.outcome("/open/x", "X: y")
        self.assertIn(b"HTTP/1.1 503 ", said)
        self.assertIn(b'"audit_unavailable"', said)
        self.assertEqual(len(self.service.requests), reached, "nothing new reaches the service")
        self.site.await_log("cannot be written, and no request is served until it can be")
        # the file of a route with its own audit log has room
        self.assertIn(b"SECRET", self.outcome("/other/x"))
        log.unlink()
        log.touch()
        eventually(lambda: b"SECRET" in self.outcome("/open/again"), "it serves again")
        self.assertIn("can be written again", self.site.log)
        lines = self.site.audit()
        # the requests in between are logged too, once each
        self.assertEqual(sum("/open/..%2f" in line for line in lines), 1, lines)
        self.assertEqual(sum('"GET /token ' in line for line in lines), 1, lines)
        self.assertIn("/open/again", lines[-1])
        # the connection that was idle all the time still works
        self.assertEqual(wire.get("/open/x").status, 200)

    def test_attack_41_disk_that_fills_in_the_middle_of_a_download(self) -> None:
        """The last byte of a response is not sent before its record is in the file."""
        go, release = threading.Event(), threading.Event()
        self.addCleanup(release.set)
        self.service.close()

        def slow(connection: object) -> None:
            connection.request()  # type: ignore[attr-defined]
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n01234")  # type: ignore[attr-defined]
            go.set()
            release.wait(30)
            connection.send(b"56789")  # type: ignore[attr-defined]

        service = self.upstream(slow)
        self.site.configure(site(ROUTES.format(url=service.url)))
        self.site.reload()
        wire = self.connect(self.site, "http")
        wire.send(b"GET /open/x HTTP/1.1\r\nHost: a\r\n\r\n")
        self.assertEqual(wire.read_head()[0], 200)
        self.assertTrue(go.wait(10))
        self.assertEqual(wire.read_exactly(5), b"01234")
        self.fill(self.site.directory / "access.log")
        # this request makes the gateway check the file; its audit line is written at its end
        eventually(lambda: b" 40" not in self.outcome("/nothing", "X: y"), "the full disk is noticed")
        release.set()
        self.assertEqual(wire.read_all(), b"")
