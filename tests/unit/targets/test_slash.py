"""The path of a route that is served from a service's root gets its slash."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import attrs
from zope.interface.verify import verifyObject

from perimeter.gate.access import ANYBODY
from perimeter.gate.target import ITarget
from perimeter.targets.slash import SlashTarget
from tests.unit.doubles.http_rig import Holding
from tests.unit.gate.test_gate import GateTestCase


class SlashTests(GateTestCase):
    def answer(
        self, line: str, *lines: str, prefix: str = "/app", peer: str | None = None, **route: Any
    ) -> tuple[int, str | None]:
        """Status and Location; (0, None) if the request was handed on."""
        self.inner = Holding()
        target = SlashTarget(self.inner)
        options: dict[str, Any] = {"access": ANYBODY, "rewrite": b"", **route}
        served = attrs.evolve(self.route("app", prefix, **options), target=target)
        gate = self.gate(served, trusted_proxies=(ip_network("10.0.0.0/8"),))
        client = self.ask(line, *lines, gate=gate, **({"peer": peer} if peer else {}))
        if self.inner.exchanges:
            return 0, None
        response = client.response(line.partition(" ")[0].encode())
        return response.status, (response.get(b"location") or b"").decode()

    def test_is_a_target(self) -> None:
        self.assertTrue(verifyObject(ITarget, SlashTarget(Holding())))

    def test_get_and_head_are_redirected(self) -> None:
        for target, location in (
            ("/app", "/app/"),
            ("/app?", "/app/?"),
            ("/app?a=b&c=/d", "/app/?a=b&c=/d"),
            ("//app", "/app/"),
            ("/%61pp?x", "/app/?x"),
        ):
            for method in ("GET", "HEAD"):
                self.assertEqual(self.answer(f"{method} {target}"), (301, location), (method, target))

    def test_everything_else_is_handed_on(self) -> None:
        for line in (
            "GET /app/",
            "GET /app/?x",
            "GET /app/x",
            "HEAD /app/",
            "POST /app",
            "PUT /app",
            "DELETE /app",
            "OPTIONS /app",
        ):
            self.assertEqual(self.answer(line), (0, None), line)
            self.assertEqual(self.inner.exchanges[0].upstream, "")
        # a client that opens a WebSocket follows no redirect
        self.assertEqual(self.answer("GET /app", "Connection: upgrade", "Upgrade: websocket"), (0, None))

    def test_a_path_as_it_is_sent(self) -> None:
        self.assertEqual(self.answer("GET /app", path_as_sent=True), (301, "/app/"))
        self.assertEqual(self.answer("GET /app//", path_as_sent=True), (0, None))

    def test_behind_a_proxy_that_removes_a_prefix(self) -> None:
        outer = "X-Forwarded-Prefix: /outer"
        self.assertEqual(self.answer("GET /app?x", outer, peer="10.0.0.1"), (301, "/outer/app/?x"))
        self.assertEqual(self.answer("GET /app?x", outer), (301, "/app/?x"))
        self.assertEqual(self.answer("GET /app", "X-Forwarded-Prefix: //evil.test", peer="10.0.0.1"), (301, "/app/"))

    def test_who_may_not_use_the_route_is_not_redirected(self) -> None:
        self.assertEqual(self.answer("GET /app", access=self.closed.access)[0], 401)
