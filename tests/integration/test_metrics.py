"""A metrics listener on a running gateway: what it counts, what survives a reload, and which clients are refused."""

from __future__ import annotations

from collections.abc import Mapping

import psutil
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics

from tests.integration.harness import USERS, Gateway, GatewayCase, site
from tests.integration.ports import eventually
from tests.integration.upstreams import OK
from tests.integration.wire import basic
from tests.unit.doubles.figures import Figures, read

METRICS = """
[listener figures]
port = @figures@
serve = metrics
"""

ROUTES = """
[upstream service]
servers = {url}

[upstream gone]
servers = http://127.0.0.1:@gone@

[route private]
path = /
upstream = service

[route open]
path = /open
upstream = service
auth = none

[route gone]
path = /gone
upstream = gone
auth = none
"""

TOKENS = """
[listener tokens]
port = @tokens@
interface = 127.0.0.1
serve = tokens
"""


class MetricsCase(GatewayCase):
    def running(self, extra: str = METRICS + TOKENS, perimeter: str = "", files: Mapping[str, str] | None = None) -> Gateway:
        self.service = self.upstream(OK)
        self.text = site(ROUTES.format(url=self.service.url), extra=extra, perimeter=perimeter)
        return self.gateway(self.text, {**USERS, **(files or {})})

    def get(self, gateway: Gateway, target: str, *fields: str, name: str = "http", method: str = "GET") -> int:
        wire = gateway.connect(name)
        try:
            wire.send(
                f"{method} {target} HTTP/1.1\r\nHost: gw\r\n{''.join(field + chr(13) + chr(10) for field in fields)}\r\n".encode()
            )
            return wire.response(method).status
        finally:
            wire.close()

    def scrape(self, gateway: Gateway) -> Figures:
        wire = gateway.connect("figures")
        try:
            response = wire.get("/metrics")
            self.assertEqual(response.status, 200)
            return read(response.body)
        finally:
            wire.close()


class CountedTests(MetricsCase):
    def test_logins_and_services_good_and_bad(self) -> None:
        gateway = self.running()
        self.assertEqual(self.get(gateway, "/a", basic("alice", "secret")), 200)
        self.assertEqual(self.get(gateway, "/a", basic("alice", "secret")), 200)
        self.assertEqual(self.get(gateway, "/a", basic("alice", "wrong")), 401)
        self.assertEqual(self.get(gateway, "/a", basic("nobody", "wrong")), 401)
        self.assertEqual(self.get(gateway, "/a"), 401)
        self.assertEqual(self.get(gateway, "/open"), 200)
        self.assertEqual(self.get(gateway, "/gone"), 502)
        figures = self.scrape(gateway)
        requests = "perimeter_requests_total"
        for route, status, count in (("private", "200", 2), ("private", "401", 3), ("open", "200", 1), ("gone", "502", 1)):
            self.assertEqual(figures(requests, listener="http", route=route, status=status), count, (route, status))
        for result, realm, count in (
            ("success", "local", 2),
            ("all_failed", "unknown", 2),
            ("no_auth_header", "unknown", 1),
        ):
            self.assertEqual(figures("auth_requests_total", result=result, realm=realm), count, result)
        local = {"provider_name": "local", "provider_type": "realmfile", "realm": "local"}
        self.assertEqual(figures("auth_provider_attempts_total", result="success", **local), 1, "the second was remembered")
        self.assertEqual(figures("auth_provider_attempts_total", result="error", **local), 2)
        self.assertEqual(figures("auth_provider_duration_seconds_count", **local), 3)
        self.assertEqual(figures("auth_duration_seconds_count", result="success", realm="local"), 1)
        self.assertEqual(figures("perimeter_refusals_total", listener="http", reason="upstream_unreachable"), 1)
        up = "perimeter_upstream_server_up"
        self.assertEqual(figures(up, upstream="gone", server=f"http://127.0.0.1:{gateway['gone']}"), 0)
        self.assertEqual(figures(up, upstream="service", server=self.service.url), 1)
        self.assertEqual(figures.total("perimeter_upstream_connections", upstream="service", state="idle"), 1)
        self.assertEqual(figures("perimeter_sent_bytes_total", listener="http", route="open"), 2)
        self.assertGreater(figures("process_resident_memory_bytes") or 0, 1e6)

    def test_openmetrics(self) -> None:
        gateway = self.running()
        response = self.connect(gateway, "figures").get("/metrics", "Accept: application/openmetrics-text; version=1.0.0")
        self.assertIn("application/openmetrics-text; version=1.0.0", response.get("content-type") or "")
        self.assertEqual(Figures(parse_openmetrics(response.body.decode()))("perimeter_audit_healthy"), 1)

    def test_connections_and_requests_in_flight(self) -> None:
        gateway = self.running()
        waiting = self.connect(gateway, "http")
        waiting.send(b"POST /open HTTP/1.1\r\nHost: gw\r\nContent-Length: 5\r\n\r\nab")
        self.connect(gateway, "http")
        eventually(lambda: self.scrape(gateway)("perimeter_connections", listener="http") == 2, "two connections")
        eventually(lambda: self.scrape(gateway)("perimeter_requests_in_flight", listener="http") == 1, "one of them busy")
        waiting.send(b"cde")
        self.assertEqual(waiting.response("POST").status, 200)
        self.assertEqual(self.scrape(gateway)("perimeter_requests_in_flight", listener="http"), 0)

    def test_counts_outlive_a_reload(self) -> None:
        gateway = self.running()
        self.get(gateway, "/a", basic("alice", "secret"))
        self.get(gateway, "/open")
        gateway.configure(self.text.replace("[route open]", "[route renamed]"))
        gateway.reload()
        self.get(gateway, "/open")
        self.get(gateway, "/a", basic("alice", "secret"))
        figures = self.scrape(gateway)
        for route, count in (("private", 2), ("open", 1), ("renamed", 1)):
            self.assertEqual(figures("perimeter_requests_total", listener="http", route=route, status="200"), count, route)
        self.assertEqual(figures.total("auth_provider_attempts_total", result="success"), 2)
        self.assertEqual(figures("perimeter_config_reloads_total", result="success"), 1)
        gateway.configure("[nonsense]\n")
        gateway.reload()
        self.assertEqual(self.scrape(gateway)("perimeter_config_last_reload_successful"), 0)
        self.assertEqual(self.scrape(gateway)("perimeter_config_reloads_total", result="error"), 1)

    def test_a_listener_that_comes_with_a_reload(self) -> None:
        gateway = self.running(extra="")
        self.get(gateway, "/open")
        gateway.configure(self.text + METRICS)
        gateway.reload()
        self.assertEqual(self.scrape(gateway).total("perimeter_requests_total"), 0, "nothing was counted until then")
        self.get(gateway, "/open")
        self.assertEqual(self.scrape(gateway).total("perimeter_requests_total", listener="http"), 1)

    def test_a_full_disk_can_be_seen(self) -> None:
        self.service = self.upstream(OK)
        text = site(ROUTES.format(url=self.service.url), extra=METRICS).replace("path = access.log", "path = /dev/full")
        gateway = self.gateway(text, USERS)
        self.scrape(gateway)
        self.assertEqual(self.scrape(gateway)("perimeter_audit_healthy"), 0, "the scrape before this one could not be recorded")
        self.assertEqual(self.get(gateway, "/open"), 503)
        self.assertEqual(self.connect(gateway, "figures").get("/health").status, 200)


class ExposedTests(MetricsCase):
    def test_attack_43_metrics_are_on_no_other_listener(self) -> None:
        gateway = self.running(perimeter="trusted_proxies = 127.0.0.1")
        alice = basic("alice", "secret")
        for name in ("http", "tokens"):
            for target in ("/metrics", "//metrics", "/metrics/", "/%6detrics", "/status/../metrics", "/authenticate/metrics"):
                for fields in ((), (alice,), ("X-Forwarded-For: 127.0.0.1",), ("Accept: application/openmetrics-text",)):
                    wire = gateway.connect(name)
                    response = wire.get(target, *fields)
                    self.assertNotIn(b"perimeter_", response.body, (name, target, fields))
                    wire.close()
        self.assertEqual(self.get(gateway, "/metrics", alice, name="tokens"), 404)
        self.assertTrue(any("/metrics" in request.line for request in self.service.requests), "it is the service's own")

    def test_attack_43_nothing_else_is_on_a_metrics_listener(self) -> None:
        gateway = self.running()
        for target in ("/", "/open", "/token", "/authenticate", "/.well-known/jwks.json", "/metrics/x", "/metrics/", "/debug"):
            self.assertEqual(self.get(gateway, target, basic("alice", "secret"), name="figures"), 404, target)
        self.assertEqual(self.get(gateway, "/metrics", name="figures", method="POST"), 405)
        for target in ("/health", "/status"):
            response = self.connect(gateway, "figures").get(target)
            self.assertEqual((response.status, response.body), (200, b"OK"))
        self.assertEqual(self.service.requests, [])

    def test_attack_43_this_machine_only_by_default(self) -> None:
        gateway = self.running()
        (place,) = {
            connection.laddr.ip
            for connection in psutil.Process(gateway.pid).net_connections("inet")
            if connection.laddr.port == gateway["figures"] and connection.status == psutil.CONN_LISTEN
        }
        self.assertEqual(place, "127.0.0.1")

    def test_who_may_ask(self) -> None:
        gateway = self.running(extra=f"{METRICS}[metrics]\nnetworks = 192.0.2.0/24\npath = /figures\n")
        for target in ("/figures", "/health"):
            self.assertEqual(self.get(gateway, target, name="figures"), 403)
            self.assertEqual(self.get(gateway, target, "X-Forwarded-For: 192.0.2.1", name="figures"), 403)
        gateway.configure(self.text.replace("192.0.2.0/24", "127.0.0.0/8"))
        gateway.reload()
        self.assertEqual(self.get(gateway, "/figures", name="figures"), 200)
        self.assertEqual(self.get(gateway, "/metrics", name="figures"), 404)

    def test_scrapes_are_on_record(self) -> None:
        gateway = self.running()
        self.scrape(gateway)
        (line,) = gateway.await_audit(1)
        self.assertIn("/metrics", line)

    def test_attack_23_garbage_makes_no_series(self) -> None:
        gateway = self.running()
        for target in ("/a", "/open"):
            self.get(gateway, target)
        self.get(gateway, "/a", basic("alice", "wrong"))
        self.get(gateway, "/open", method="BREW0")
        wire = gateway.connect("http")
        wire.send(b"\x00garbage\r\n\r\n")
        wire.read_all()
        wire.close()
        self.scrape(gateway)
        before = set(self.scrape(gateway).samples)
        for number in range(30):
            self.get(gateway, f"/a{number}?x={number}", f"X-Auth-Realm: realm{number}", basic(f"user{number}", "wrong"))
            self.get(gateway, f"/open/{number}", f"Host{number}: {number}", f"User-Agent: {number}", method=f"BREW{number}")
            wire = gateway.connect("http")
            wire.send(b"\x00garbage%d\r\n\r\n" % number)
            wire.read_all()
            wire.close()
        after = self.scrape(gateway)
        new = {(name, labels) for name, labels in set(after.samples) - before if ("status", "429") not in labels}
        self.assertEqual({name for name, labels in new if ("reason", "too_many_attempts") not in labels}, set())
        self.assertEqual(after.labels("realm"), {"local", "unknown"})
        self.assertEqual(after.labels("route"), {"", "private", "open", "metrics"})
