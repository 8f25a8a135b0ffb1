"""``[upstream]``: servers with weights, and the values of balancing, checks and percentages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.trial.unittest import TestCase

from perimeter.config.language.datatypes import BadValue, Datatype
from perimeter.config.site.balancing import BALANCE, HEALTH, PERCENT, Balance, HashOf, HealthCheck, Method
from perimeter.config.site.server import MOST_WEIGHT, SERVER, ServerSettings
from tests.unit.doubles.site import SiteCase

HERE = Path()


class ValueTests(TestCase):
    def refused(self, datatype: Datatype[Any], *texts: str) -> None:
        for text in texts:
            self.assertRaises(BadValue, datatype.convert, text, HERE)

    def test_servers(self) -> None:
        for text, server in (
            ("http://a:1", ServerSettings("http", "a", 1)),
            ("http://a:1 weight=3", ServerSettings("http", "a", 1, 3)),
            ("http://a:1  backup", ServerSettings("http", "a", 1, 1, True)),
            (f"https://a backup weight={MOST_WEIGHT}", ServerSettings("https", "a", 443, MOST_WEIGHT, True)),
        ):
            self.assertEqual(SERVER.convert(text, HERE), server)
        self.refused(
            SERVER,
            "http://a:1 weight=0",
            "http://a:1 weight=1 weight=2",
            "http://a:1 backup weight=2 backup",
            f"http://a:1 weight={MOST_WEIGHT + 1}",
            "http://a:1 weight=",
            "http://a:1 weight=-1",
            "http://a:1 down",
            "http://a:1 http://b:1",
        )

    def test_balance(self) -> None:
        for text, balance in (
            ("round-robin", Balance()),
            ("least-connections", Balance(Method.LEAST_CONNECTIONS)),
            ("hash(user)", Balance(Method.HASH, HashOf.USER)),
            ("hash(address)", Balance(Method.HASH, HashOf.ADDRESS)),
            ("hash(header:X-Session)", Balance(Method.HASH, HashOf.HEADER, b"x-session")),
        ):
            found = BALANCE.convert(text, HERE)
            self.assertEqual(found, balance)
            self.assertEqual(str(found), text.lower())
        self.refused(BALANCE, "hash", "hash()", "hash(header)", "hash(header:)", "hash(user:x)", "hash(cookie:a)", "random")

    def test_health(self) -> None:
        for text, check in (
            ("GET /health 200-399 every 5s", HealthCheck("GET", "/health", 200, 399, 5.0, 5.0)),
            ("GET /health", HealthCheck("GET", "/health", 200, 399, 5.0, 5.0)),
            ("HEAD / 204 every 1s", HealthCheck("HEAD", "/", 204, 204, 1.0, 1.0)),
            ("OPTIONS /a?b=c 200-200 every 1m within 3s", HealthCheck("OPTIONS", "/a?b=c", 200, 200, 60.0, 3.0)),
            ("GET / every 1m", HealthCheck("GET", "/", 200, 399, 60.0, 5.0)),
            ("GET / 599 every 100ms", HealthCheck("GET", "/", 599, 599, 0.1, 0.1)),
        ):
            self.assertEqual(HEALTH.convert(text, HERE), check)
        self.refused(
            HEALTH,
            "/health",
            "POST /health",
            "GET health",
            "GET http://a/",
            "GET /a\x01",
            "GET / 100-200",
            "GET / 300-200",
            "GET / 200-600",
            "GET / every 90ms",
            "GET / every 1s within 2s",
            "GET / every soon",
            "GET / 200 5s",
        )

    def test_percentages(self) -> None:
        for text, part in (("0%", 0.0), ("20%", 0.2), ("12.5 %", 0.125), ("100%", 1.0)):
            self.assertEqual(PERCENT.convert(text, HERE), part)
        self.refused(PERCENT, "20", "101%", "-1%", "%", "0.2")


class SectionTests(SiteCase):
    def upstream(self, lines: str) -> str:
        return f"[upstream app]\nservers = http://127.0.0.1:1, http://127.0.0.1:2\n{lines}"

    def test_options_without_the_one_they_belong_to(self) -> None:
        for line, other in (
            ("queue = 1", "max_requests"),
            ("queue_timeout = 1s", "max_requests"),
            ("health_fall = 1", "health"),
            ("health_rise = 1", "health"),
            ("eject_time = 1s", "eject_after"),
            ("eject_floor = 1%", "eject_after"),
            ("retry_budget = 1%", "retries"),
        ):
            self.assertIn(f"is only allowed with {other}", "".join(self.problems(self.upstream(f"{line}\n"))))

    def test_options_of_connections(self) -> None:
        for name in ("own.pem", "own.key"):
            (self.directory / name).write_text("")
        https = "[upstream app]\nservers = https://127.0.0.1:1\n"
        pin = f"sha256//{'A' * 43}="
        for text, words in (
            (self.upstream("client_certificate = own.pem\n"), "client_certificate: is only allowed with https servers"),
            (self.upstream("client_key = own.key\n"), "client_key: is only allowed with https servers"),
            (self.upstream(f"pin = {pin}\n"), "pin: is only allowed with https servers"),
            (f"{https}client_key = own.key\n", "client_key: is only allowed with client_certificate"),
            (f"{https}proxy_protocol = v1\nkeepalive = 1\n", "keepalive: has no effect with proxy_protocol"),
            (f"{https}proxy_protocol = v1\nidle_timeout = 1s\n", "idle_timeout: has no effect with proxy_protocol"),
            (f"{https}proxy_protocol = v3\n", "proxy_protocol: expected v1 or v2"),
            ("[upstream app]\nservers = sample:\nproxy_protocol = v1\n", "proxy_protocol: is not allowed with sample:"),
            ("[upstream app]\nservers = sample:\nhealth = GET /\n", "health: is not allowed with sample:"),
            ("[upstream app]\nservers = unix:/run/a\nca_certificate = own.pem\n", "is only allowed with https servers"),
            ("[upstream app]\nservers = unix:/run/a\nresolve = dns\n", "dns is only allowed with names in servers"),
            ("[upstream app]\nservers = unix:/run/a, unix:/run/a backup\n", "the same server is listed twice"),
        ):
            self.assertIn(words, "".join(self.problems(text)), text)
        for text in (
            f"{https}client_certificate = own.pem\npin = {pin}, sha256//{'B' * 42}A=\nproxy_protocol = v2\n",
            f"{https}client_certificate = own.pem\nclient_key = own.key\n",
            "[upstream app]\nservers = unix:/run/a, unix:/run/b weight=2 backup\nproxy_protocol = v1\n",
        ):
            self.load(f"[listener a]\nport = 1\n{text}")

    def test_the_host_of_unix_sockets(self) -> None:
        for servers, host in (
            ("unix:/run/a", "localhost"),
            ("unix:/run/a, unix:/run/b", "localhost"),
            ("unix:/run/a, http://b", None),
        ):
            config = self.load(f"[listener a]\nport = 1\n[upstream app]\nservers = {servers}\n")
            self.assertEqual(config.upstreams[0].host, host)

    def test_the_same_server_twice(self) -> None:
        text = "[upstream app]\nservers = http://127.0.0.1:1, http://127.0.0.1:1 weight=2\n"
        self.assertIn("listed twice", "".join(self.problems(text)))

    def test_backups_alone(self) -> None:
        text = "[upstream app]\nservers = http://127.0.0.1:1 backup, http://127.0.0.1:2 backup\n"
        self.assertIn("must not be a backup", "".join(self.problems(text)))
