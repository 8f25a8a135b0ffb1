"""The trace of a request: which one it belongs to, whether it is recorded, and its spans."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.task import Clock
from twisted.trial import unittest

from perimeter.errors import InternalError, Unavailable
from perimeter.gate.decision import Admitted
from perimeter.http.exchange import Exchange
from perimeter.model import Principal
from perimeter.traces.span import Span, SpanKind
from perimeter.traces.tracer import Tracer
from tests.unit.doubles.http_rig import Client, Holding, Site

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
ID = "4bf92f3577b34da6a3ce929d0e0e4736"


class Collecting:
    """Stands for an exporter."""

    def __init__(self) -> None:
        self.spans: list[Span] = []

    def add(self, spans: Sequence[Span]) -> None:
        self.spans.extend(spans)


class TracerCase(unittest.TestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000.0)
        self.exporter: Any = Collecting()
        self.counts: list[bool] = []
        self.site = Site(Holding(), self.clock)
        self.site.next_id_line = lambda: f"X-Request-ID: {ID}\r\n".encode()

    def tracer(self, ratio: float = 1.0, limit: int = 1000) -> Tracer:
        return Tracer(ratio, limit, self.exporter, self.clock.seconds, self.counts.append)

    def begun(self, *lines: str, tracer: Tracer | None = None, trusted: bool = False, line: str = "GET /a?token=x") -> Exchange:
        self.client = Client(self.site)
        method, _, target = line.partition(" ")
        self.client.request(method, target, *lines)
        exchange: Exchange = self.site.route.target.exchanges[-1]  # type: ignore[attr-defined]
        (tracer or self.tracer()).begin(exchange, trusted)
        return exchange

    def lines(self, exchange: Exchange) -> list[str]:
        assert exchange.trace is not None
        return exchange.trace.request_lines().decode().split("\r\n")[:-1]


class ContextTests(TracerCase):
    def test_a_trace_that_begins_here_has_the_id_of_the_request(self) -> None:
        (line,) = self.lines(self.begun())
        self.assertRegex(line, rf"\Atraceparent: 00-{ID}-[0-9a-f]{{16}}-01\Z")

    def test_a_request_without_such_an_id_gets_another_one(self) -> None:
        for request_id in ("", "proxy-1", "0" * 32, ID.upper()):
            self.site.next_id_line = lambda it=request_id: f"X-Request-ID: {it}\r\n".encode() if it else b""  # type: ignore[misc]
            (line,) = self.lines(self.begun())
            self.assertRegex(line, r"\Atraceparent: 00-[0-9a-f]{32}-[0-9a-f]{16}-01\Z")
            self.assertNotIn(request_id or ID, line)

    def test_the_trace_of_a_trusted_proxy_goes_on(self) -> None:
        for flag in ("00", "01"):
            exchange = self.begun(f"traceparent: 00-{TRACE}-{PARENT}-{flag}", "tracestate: a=b", trusted=True)
            parent, state = self.lines(exchange)
            self.assertRegex(parent, rf"\Atraceparent: 00-{TRACE}-[0-9a-f]{{16}}-{flag}\Z")
            self.assertNotIn(PARENT, parent)
            self.assertEqual(state, "tracestate: a=b")

    def test_attack_101_the_trace_of_another_client_does_not_go_on(self) -> None:
        exchange = self.begun(f"traceparent: 00-{TRACE}-{PARENT}-01", "tracestate: a=b", tracer=self.tracer(0.0))
        (line,) = self.lines(exchange)
        self.assertRegex(line, rf"\Atraceparent: 00-{ID}-[0-9a-f]{{16}}-00\Z")
        exchange.answer(200, b"", b"")
        self.assertEqual(self.exporter.spans, [])

    def test_each_request_to_a_service_has_a_span_of_its_own(self) -> None:
        exchange = self.begun()
        self.assertNotEqual(self.lines(exchange), self.lines(exchange))

    def test_a_request_that_is_not_recorded_has_one_span_for_all(self) -> None:
        exchange = self.begun(tracer=self.tracer(0.0))
        self.assertEqual(self.lines(exchange), self.lines(exchange))


class SampledTests(TracerCase):
    def sampled(self, ratio: float, trace_id: str) -> bool:
        self.site.next_id_line = lambda: f"X-Request-ID: {trace_id}\r\n".encode()
        return self.lines(self.begun(tracer=self.tracer(ratio)))[0].endswith("-01")

    def test_the_share_is_decided_by_the_last_bits_of_the_id(self) -> None:
        start = "1" * 18
        for ratio, digits, sampled in (
            (0.0, "0" * 14, False),
            (0.5, "0" * 14, True),
            (0.5, "7" + "f" * 13, True),
            (0.5, "8" + "0" * 13, False),
            (0.25, "3" + "f" * 13, True),
            (0.25, "4" + "0" * 13, False),
            (1.0, "f" * 14, True),
        ):
            self.assertEqual(self.sampled(ratio, start + digits), sampled, (ratio, digits))

    def test_attack_102_no_more_than_the_limit_in_a_second(self) -> None:
        tracer = self.tracer(limit=2)
        for _ in range(2):
            for _ in range(4):
                exchange = self.begun(f"traceparent: 00-{TRACE}-{PARENT}-01", trusted=True, tracer=tracer)
                self.assertTrue(self.lines(exchange)[0].endswith("-01"), "the decision of the proxy is passed on")
                exchange.answer(200, b"", b"")
            self.clock.advance(1.0)
        self.assertEqual(self.counts, [True, True, False, False] * 2)
        self.assertEqual(len({span.span_id for span in self.exporter.spans if span.kind is SpanKind.SERVER}), 4)

    def test_a_request_that_is_not_to_be_recorded_does_not_count(self) -> None:
        self.begun(tracer=self.tracer(0.0))
        self.assertEqual(self.counts, [])


class SpanTests(TracerCase):
    def admit(self, exchange: Exchange, principal: Principal | None = None) -> None:
        exchange.decision = Admitted(self.site.route, principal, b"/a", b"", "192.0.2.7")
        assert exchange.trace is not None
        exchange.trace.admitted()

    def test_a_request_to_a_service(self) -> None:
        exchange = self.begun(f"traceparent: 00-{TRACE}-{PARENT}-01", "tracestate: a=b", trusted=True)
        self.clock.advance(0.25)
        self.admit(exchange, Principal("alice", "local", (), "file"))
        self.clock.advance(0.25)
        (line, _) = self.lines(exchange)
        self.clock.advance(0.25)
        exchange.start(200, b"", 2)
        self.clock.advance(0.25)
        exchange.write(b"ok")
        whole, authenticate, upstream = self.exporter.spans
        self.assertEqual({span.trace_id for span in self.exporter.spans}, {TRACE})
        self.assertEqual([span.state for span in self.exporter.spans], ["a=b"] * 3)
        self.assertEqual((whole.parent_id, whole.remote, whole.kind), (PARENT, True, SpanKind.SERVER))
        self.assertEqual((whole.name, whole.start, whole.end, whole.failed), ("GET a-route", 1000.0, 1001.0, False))
        self.assertEqual(
            whole.attributes,
            (
                ("http.request.method", "GET"),
                ("http.response.status_code", 200),
                ("http.route", "a-route"),
                ("url.path", "/a"),
                ("url.scheme", "http"),
                ("network.protocol.version", "1.1"),
                ("perimeter.listener", "https"),
                ("http.request.body.size", 0),
                ("http.response.body.size", 2),
                ("perimeter.request_id", ID),
            ),
        )
        self.assertEqual((authenticate.parent_id, authenticate.remote), (whole.span_id, False))
        self.assertEqual((authenticate.name, authenticate.kind), ("authenticate", SpanKind.INTERNAL))
        self.assertEqual((authenticate.start, authenticate.end, authenticate.failed), (1000.0, 1000.25, False))
        self.assertEqual(authenticate.attributes, (("perimeter.authenticator", "file"), ("perimeter.realm", "local")))
        self.assertEqual((upstream.parent_id, upstream.remote), (whole.span_id, False))
        self.assertEqual(line, f"traceparent: 00-{TRACE}-{upstream.span_id}-01")
        self.assertEqual((upstream.name, upstream.kind), ("upstream holding", SpanKind.CLIENT))
        self.assertEqual((upstream.start, upstream.end, upstream.marks), (1000.5, 1001.0, (("response", 1000.75),)))
        self.assertEqual(upstream.attributes, (("perimeter.upstream", "holding"), ("http.response.status_code", 200)))

    def test_an_answer_of_the_gateway_itself_has_no_span_of_a_service(self) -> None:
        exchange = self.begun()
        self.admit(exchange)
        exchange.answer(200, b"", b"")
        self.assertEqual([span.name for span in self.exporter.spans], ["GET a-route", "authenticate"])
        self.assertEqual(self.exporter.spans[0].parent_id, "")

    def test_a_refused_request(self) -> None:
        for refusal, failed in ((Unavailable("away"), True), (InternalError("x"), True)):
            self.exporter.spans.clear()
            exchange = self.begun()
            self.clock.advance(0.5)
            exchange.refuse(refusal)
            whole, authenticate = self.exporter.spans
            self.assertEqual((whole.failed, authenticate.failed), (failed, failed))
            self.assertEqual(authenticate.end - authenticate.start, 0.5)
            self.assertIn(("error.type", refusal.reason), whole.attributes)

    def test_a_service_that_fails_is_no_failure_of_the_authentication(self) -> None:
        for status, failed in ((499, False), (500, True), (404, False)):
            self.exporter.spans.clear()
            exchange = self.begun()
            self.admit(exchange)
            exchange.answer(status, b"", b"")
            self.assertEqual([span.failed for span in self.exporter.spans], [failed, False], status)

    def test_a_request_without_an_answer_has_failed(self) -> None:
        exchange = self.begun()
        exchange.client_gone()
        self.assertIn(("http.response.status_code", 499), self.exporter.spans[0].attributes)
        self.assertEqual(len(self.exporter.spans), 2)

    def test_a_service_that_did_not_answer_has_no_mark(self) -> None:
        exchange = self.begun()
        self.admit(exchange)
        self.lines(exchange)
        exchange.client_gone()
        self.assertEqual(self.exporter.spans[2].marks, ())

    def test_a_record_that_could_not_be_written_is_what_the_client_saw(self) -> None:
        exchange = self.begun()
        self.site.audit.failing = True
        exchange.answer(200, b"", b"x")
        self.assertIn(("http.response.status_code", 503), self.exporter.spans[0].attributes)
        self.assertEqual(len(self.exporter.spans), 2)

    def test_a_tunnel_is_one_span_to_its_end(self) -> None:
        exchange = self.begun("Connection: upgrade", "Upgrade: x")
        self.admit(exchange)
        self.lines(exchange)
        exchange.switch(b"", None)  # type: ignore[arg-type]
        self.assertEqual(self.exporter.spans, [])
        self.clock.advance(5.0)
        exchange.tunnel_close()
        self.assertEqual([span.end - span.start for span in self.exporter.spans], [5.0, 0.0, 5.0])
        self.assertEqual(self.exporter.spans[2].marks, (("response", 1000.0),))

    def test_attack_102_words_of_clients_name_no_span_and_no_secret_is_in_one(self) -> None:
        exchange = self.begun("Authorization: Basic eHl6enk6eHl6enk=", "Cookie: s=xyzzy", line="XYZZY /p%0Ax?token=xyzzy")
        exchange.answer(200, b"", b"")
        self.assertEqual(self.exporter.spans[0].name, "HTTP a-route")
        self.assertIn(("http.request.method", "_OTHER"), self.exporter.spans[0].attributes)
        self.assertNotIn("xyzzy", str(self.exporter.spans).lower())
        self.exporter.spans.clear()
        exchange = self.begun(line="GET /" + "a" * 1000)
        exchange.answer(200, b"", b"")
        self.assertIn(("url.path", "/" + "a" * 255), self.exporter.spans[0].attributes)
