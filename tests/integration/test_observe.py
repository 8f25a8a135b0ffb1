"""What an operator sees of one request: its id in both logs, logs whose every line is JSON, and its trace in a collector."""

from __future__ import annotations

import contextlib
import json
import queue
import signal
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

from tests.integration.harness import Gateway, GatewayCase, site
from tests.integration.ports import eventually, free_port
from tests.integration.upstreams import OK
from tests.integration.wire import basic
from tests.unit.doubles.figures import read

ROUTES = """\
[upstream away]
servers = http://127.0.0.1:{away}

[route away]
path = /away
upstream = away
auth = none

[route closed]
path = /closed
upstream = away
"""
LOGS = "[logging]\nformat = json\nlevel = debug\n"


class JsonLogTests(GatewayCase):
    """With ``format = json`` both logs are JSON from their first line to their last."""

    FILES: ClassVar = {"users.realm": "alice: secret,admin\n"}

    def test_each_line_from_start_to_stop(self) -> None:
        config = site(ROUTES.format(away=free_port()), extra=LOGS).replace("[audit]\n", "[audit]\nformat = json\n")
        gateway = self.gateway(config, self.FILES)
        ids = []
        with gateway.connect("http") as wire:
            for target, lines, status in (
                ("/away", (), 502),
                ("/closed", (), 401),
                ("/closed", (basic("alice", "wrong"),), 401),
                ("/none", ("Accept: text/html",), 404),
            ):
                response = wire.get(target, *lines)
                self.assertEqual(response.status, status)
                ids.append(response.get("x-request-id"))
        gateway.configure(config + "[nonsense]\n")
        gateway.signal(signal.SIGHUP)
        eventually(lambda: "nonsense" in gateway.log, "the refused reload")
        gateway.stop()
        records = [json.loads(line) for line in gateway.audit()]
        self.assertEqual([record["request_id"] for record in records], ids)
        events: list[dict[str, Any]] = [json.loads(line) for line in gateway.log.splitlines()]
        self.assertEqual({"time", "level", "namespace", "message"} - set.intersection(*map(set, events)), set())
        self.assertEqual([event["request_id"] for event in events if "request_id" in event], ids)
        refused = next(event["values"] for event in events if event.get("request_id") == ids[1])
        self.assertEqual((refused["address"], refused["target"], refused["status"]), ("127.0.0.1", "/closed", 401))
        self.assertEqual(refused["reason"], "missing_credentials")


TRACED = """\
[listener figures]
port = @figures@
serve = metrics

[traces]
endpoint = {collector}
{traces}

[upstream service]
servers = {service}

[route open]
path = /
upstream = service
auth = none

[route closed]
path = /closed
upstream = service
"""
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class IdTests(GatewayCase):
    FILES: ClassVar = {"users.realm": "alice: secret,admin\n"}

    def test_without_ids_the_header_passes_as_any_other(self) -> None:
        service = self.upstream(b"HTTP/1.1 200 OK\r\nX-Request-ID: of-the-service\r\nContent-Length: 0\r\n\r\n")
        config = f"[upstream a]\nservers = {service.url}\n\n[route a]\npath = /\nupstream = a\nauth = none\n"
        gateway = self.gateway(site(config, perimeter="request_ids = no\ntrusted_proxies = 127.0.0.1"), self.FILES)
        with gateway.connect("http") as wire:
            response = wire.get("/", "X-Request-ID: of-the-client")
            refused = wire.get("/%2e%2e/x", "X-Request-ID: of-the-client")
        self.assertEqual(response.get("x-request-id"), "of-the-service")
        self.assertEqual(service.requests[-1].get("x-request-id"), "of-the-client")
        self.assertIsNone(refused.get("x-request-id"))
        self.assertEqual(set(json.loads(refused.body)), {"error", "error_description"})
        self.assertNotIn("request_id", gateway.log)

    def test_a_reload_changes_it_for_the_next_request_of_a_connection(self) -> None:
        service = self.upstream(OK)
        config = site(f"[upstream a]\nservers = {service.url}\n\n[route a]\npath = /\nupstream = a\nauth = none\n")
        gateway = self.gateway(config, self.FILES)
        with gateway.connect("http") as wire:
            self.assertIsNotNone(wire.get("/").get("x-request-id"))
            gateway.configure(config.replace("[perimeter]\n", "[perimeter]\nrequest_ids = no\n"))
            gateway.reload()
            self.assertIsNone(wire.get("/").get("x-request-id"))

    def test_the_column_of_the_text_formats(self) -> None:
        service = self.upstream(OK)
        config = site(f"[upstream a]\nservers = {service.url}\n\n[route a]\npath = /\nupstream = a\nauth = none\n")
        for form, end in (("reactor", r'HTTP/1.1" 200 \d+ '), ("combined", r'HTTP/1.1" 200 \d+ "-" "-" ')):
            text = config.replace("[audit]\n", f"[audit]\nformat = {form}\nrequest_id = yes\n")
            gateway = self.gateway(text, self.FILES)
            with gateway.connect("http") as wire:
                response = wire.get("/")
            self.assertRegex(gateway.audit()[-1], rf"{end}{response.get('x-request-id')}\Z")
            gateway.stop()


class Collector:
    """Takes spans, in the place of a collector. It does not answer while ``go_on`` is clear."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.go_on.set()
        self.headers: list[dict[str, str]] = []
        self.spans: queue.Queue[dict[str, Any]] = queue.Queue()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector.headers.append({name.lower(): value for name, value in self.headers.items()})
                collector.go_on.wait(30)
                for resource in json.loads(body)["resourceSpans"]:
                    for scope in resource["scopeSpans"]:
                        for span in scope["spans"]:
                            collector.spans.put(span)
                with contextlib.suppress(OSError):  # the gateway may not wait any more
                    self.send_response(200)
                    self.send_header("Content-Length", "2")
                    self.end_headers()
                    self.wfile.write(b"{}")

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1/traces"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def take(self, count: int) -> list[dict[str, Any]]:
        """The next ``count`` spans."""
        return [self.spans.get(timeout=10) for _ in range(count)]

    def close(self) -> None:
        self.go_on.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class TraceTests(GatewayCase):
    """Traces of a running gateway, in a collector."""

    FILES: ClassVar = {"users.realm": "alice: secret,admin\n"}

    def traced(self, traces: str = "ratio = 1", perimeter: str = "trusted_proxies = 127.0.0.1") -> Gateway:
        self.collector = Collector()
        self.addCleanup(self.collector.close)
        self.service = self.upstream(OK)
        config = TRACED.format(collector=self.collector.url, traces=traces, service=self.service.url)
        return self.gateway(site(config, perimeter=perimeter), self.FILES)

    def ask(self, gateway: Gateway, target: str, *lines: str) -> int:
        with gateway.connect("http") as wire:
            return wire.get(target, *lines).status

    def counted(self, gateway: Gateway, name: str, **labels: str) -> float:
        with gateway.connect("figures") as wire:
            return read(wire.get("/metrics").body).total(name, **labels)

    def test_a_trace_of_a_proxy_goes_through_to_the_service(self) -> None:
        gateway = self.traced("ratio = 0\nauthorization = Bearer for-the-collector")
        lines = (f"traceparent: 00-{TRACE}-{PARENT}-01", "tracestate: a=b", basic("alice", "secret"))
        self.assertEqual(self.ask(gateway, "/closed/x?token=y", *lines), 200)
        whole, authenticate, upstream = self.collector.take(3)
        self.assertEqual({span["traceId"] for span in (whole, authenticate, upstream)}, {TRACE})
        self.assertEqual((whole["parentSpanId"], whole["name"], whole["kind"]), (PARENT, "GET closed", 2))
        self.assertEqual((authenticate["parentSpanId"], authenticate["name"]), (whole["spanId"], "authenticate"))
        self.assertEqual((upstream["parentSpanId"], upstream["name"]), (whole["spanId"], "upstream service"))
        received = self.service.requests[-1]
        self.assertEqual(received.get("traceparent"), f"00-{TRACE}-{upstream['spanId']}-01")
        self.assertEqual(received.get("tracestate"), "a=b")
        (headers,) = self.collector.headers
        self.assertEqual((headers["content-type"], headers["authorization"]), ("application/json", "Bearer for-the-collector"))
        self.assertNotIn("secret", str((whole, authenticate, upstream)))
        # nothing else is recorded: its share is 0
        self.assertEqual(self.ask(gateway, "/"), 200)
        self.assertTrue((self.service.requests[-1].get("traceparent") or "").endswith("-00"))

    def test_attack_101_a_client_chooses_no_trace(self) -> None:
        gateway = self.traced("ratio = 0", perimeter="")
        self.assertEqual(self.ask(gateway, "/", f"traceparent: 00-{TRACE}-{PARENT}-01", "tracestate: a=b"), 200)
        received = self.service.requests[-1]
        self.assertRegex(received.get("traceparent") or "", rf"\A00-{received.get('x-request-id')}-[0-9a-f]{{16}}-00\Z")
        self.assertIsNone(received.get("tracestate"))

    def test_without_traces_the_headers_pass(self) -> None:
        service = self.upstream(OK)
        gateway = self.gateway(
            site(f"[upstream a]\nservers = {service.url}\n\n[route a]\npath = /\nupstream = a\nauth = none\n"), self.FILES
        )
        self.ask(gateway, "/", f"traceparent: 00-{TRACE}-{PARENT}-01")
        self.assertEqual(service.requests[-1].get("traceparent"), f"00-{TRACE}-{PARENT}-01")

    def test_attack_102_a_flood_and_a_collector_that_hangs(self) -> None:
        gateway = self.traced("ratio = 1\nlimit = 100000\nqueue = 100\ntimeout = 1s")
        self.collector.go_on.clear()
        begun = time.monotonic()
        with gateway.connect("http") as wire:
            for _ in range(300):
                self.assertEqual(wire.get("/").status, 200)
        self.assertLess(time.monotonic() - begun, 10)
        self.assertGreaterEqual(self.counted(gateway, "perimeter_trace_spans_total", outcome="dropped"), 700)
        eventually(lambda: "took longer than 1 s" in gateway.log, "the time-out")
        self.assertEqual(self.ask(gateway, "/"), 200)
        begun = time.monotonic()
        gateway.stop()
        self.assertLess(time.monotonic() - begun, 6)
        self.assertEqual(len(gateway.audit()), 302)

    def test_attack_102_a_limit_for_each_second(self) -> None:
        gateway = self.traced("ratio = 0\nlimit = 1")
        with gateway.connect("http") as wire:
            for _ in range(50):
                wire.get("/", f"traceparent: 00-{TRACE}-{PARENT}-01")
        recorded = self.counted(gateway, "perimeter_traces_total", outcome="recorded")
        self.assertLessEqual(recorded, 5)
        self.assertEqual(recorded + self.counted(gateway, "perimeter_traces_total", outcome="limited"), 50)

    def test_a_stop_and_a_reload_send_what_waits(self) -> None:
        gateway = self.traced()
        self.ask(gateway, "/a")
        gateway.reload()
        self.assertEqual(len(self.collector.take(3)), 3)
        self.ask(gateway, "/b")
        gateway.stop()
        self.assertEqual(len(self.collector.take(3)), 3)
