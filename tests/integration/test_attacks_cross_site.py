"""50: what a page of another site makes a browser send, with credentials that the browser adds by itself."""

from __future__ import annotations

from tests.integration.harness import USERS, Gateway, GatewayCase, site
from tests.integration.wire import Response, basic, bearer

ROUTES = """\
[upstream sample]
servers = sample:

[route listed]
path = /listed
upstream = sample
cross_site = https://app.example

[route any]
path = /any
upstream = sample
cross_site = allow

[route open]
path = /open
upstream = sample
auth = none

[route all]
path = /
upstream = sample
"""

FRONT = "[authenticator front]\ntype = trusted-header\nnetworks = 127.0.0.1\n"
ALICE = basic("alice", "secret")
EVIL = "Origin: https://evil.example"
UPGRADE = ("Connection: Upgrade", "Upgrade: websocket")


class CrossSiteTests(GatewayCase):
    def ask(
        self, gateway: Gateway, *lines: str, method: str = "POST", target: str = "/", name: str = "http", host: str = "gw.test"
    ) -> Response:
        with gateway.connect(name, tls=name == "https") as wire:
            return wire.get(target, *lines, method=method, host=host)

    def statuses(self, gateway: Gateway, *credential: str, **options: str) -> tuple[int, ...]:
        """For a page of the own origin, of another one, and for a client that names none."""
        own = "Origin: https://gw.test" if options.get("name") == "https" else "Origin: http://gw.test"
        return tuple(self.ask(gateway, *credential, *lines, **options).status for lines in ((own,), (EVIL,), ()))

    def test_attack_50_a_cached_password(self) -> None:
        gateway = self.gateway(site(ROUTES), USERS)
        for method in ("POST", "PUT", "DELETE", "PATCH"):
            self.assertEqual(self.statuses(gateway, ALICE, method=method), (200, 403, 200), method)
        self.assertEqual(self.statuses(gateway, ALICE, method="GET"), (200, 200, 200))
        self.assertEqual(self.ask(gateway, ALICE, EVIL, *UPGRADE, method="GET").status, 403)
        self.assertEqual(self.ask(gateway, ALICE, "Origin: null", *UPGRADE, method="GET").status, 403)
        self.assertEqual(self.ask(gateway, ALICE, "Sec-Fetch-Site: same-site").status, 403)
        self.assertEqual(self.ask(gateway, ALICE, "Origin: https://gw.test").status, 403, "another scheme is another origin")
        self.assertIn(" alice ", gateway.await_audit(19)[-1])

    def test_attack_50_a_token_is_added_by_scripts_alone(self) -> None:
        gateway = self.gateway(site(ROUTES), USERS)
        token = self.ask(gateway, ALICE, method="GET", target="/token").body.decode().split('"access_token":"')[1].split('"')[0]
        self.assertEqual(self.statuses(gateway, bearer(token)), (200, 200, 200))

    def test_attack_50_a_trusted_header(self) -> None:
        gateway = self.gateway(site(ROUTES, extra=FRONT), USERS)
        self.assertEqual(self.statuses(gateway, "X-Remote-User: carol"), (200, 403, 200))
        self.assertEqual(self.ask(gateway, "X-Remote-User: carol", EVIL, *UPGRADE, method="GET").status, 403)

    def test_attack_50_an_endpoint_of_the_gateways_own(self) -> None:
        gateway = self.gateway(site(ROUTES, extra=FRONT), USERS)
        lines = ("X-Remote-User: carol", "Content-Type: application/json")
        self.assertEqual(self.ask(gateway, *lines, EVIL, target="/tokens").status, 403)

    def test_attack_50_what_a_route_allows(self) -> None:
        gateway = self.gateway(site(ROUTES), USERS)
        self.assertEqual(self.ask(gateway, ALICE, "Origin: https://app.example", target="/listed").status, 200)
        self.assertEqual(self.ask(gateway, ALICE, EVIL, target="/listed").status, 403)
        self.assertEqual(self.ask(gateway, ALICE, EVIL, target="/any").status, 200)
        self.assertEqual(self.ask(gateway, EVIL, target="/open").status, 200)

    def test_attack_50_the_origin_is_what_the_client_used(self) -> None:
        """Behind a proxy that ends TLS and is trusted; from any other peer its headers count for nothing."""
        lines = (ALICE, "Origin: https://outside.test:8443", "X-Forwarded-Proto: https", "X-Forwarded-Host: outside.test:8443")
        for trusted, status in (("trusted_proxies = 127.0.0.1", 200), ("trusted_proxies = 192.0.2.1", 403)):
            gateway = self.gateway(site(ROUTES, perimeter=trusted), USERS)
            self.assertEqual(self.ask(gateway, *lines, host="inside").status, status, trusted)

    def test_attack_50_a_question_of_a_proxy(self) -> None:
        gateway = self.gateway(site(ROUTES, perimeter="trusted_proxies = 127.0.0.1"), USERS)

        def asked(method: str, *lines: str) -> int:
            original = (f"X-Original-Method: {method}", "X-Original-URI: /x", "X-Forwarded-For: 192.0.2.1")
            return self.ask(gateway, ALICE, *original, *lines, method="GET", target="/authenticate").status

        self.assertEqual([asked("POST", *lines) for lines in (("Origin: https://gw.test",), (EVIL,), ())], [200, 403, 200])
        self.assertEqual(asked("GET", EVIL), 200)
        self.assertEqual(asked("GET", EVIL, "Sec-WebSocket-Key: x"), 403, "a WebSocket: proxies drop Upgrade")
        self.assertEqual(asked("POST", "Origin: http://gw.test", "X-Forwarded-Proto: https"), 403)
