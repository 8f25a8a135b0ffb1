"""The traces of a configuration, put together: what the collector gets, and what goes on without it."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial import unittest

from perimeter.config.site.traces import TraceSettings
from perimeter.metrics.counts import Metrics
from perimeter.run.build.traces import traced, tracer_of
from perimeter.traces.exporter import INTERVAL
from tests.unit.doubles.exchange_rig import FakeOffload
from tests.unit.doubles.http_rig import Client, Echoing, Site

SETTINGS = TraceSettings(endpoint="http://127.0.0.1:4318/v1/traces", ratio=1.0, service_name="gw", authorization="Bearer x")


class CollectorClient:
    """Stands for the client of the collector."""

    def __init__(self) -> None:
        self.posts: list[tuple[str, dict[str, Any]]] = []

    def post(self, url: str, **options: Any) -> Deferred[Any]:
        self.posts.append((url, options))
        return succeed(SimpleNamespace(status=200))


class TracedTests(unittest.TestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000.0)
        self.site = Site(Echoing(), self.clock)
        self.client: Any = CollectorClient()
        self.metrics = Metrics()
        offload = FakeOffload()
        runtime: Any = SimpleNamespace(reactor=self.clock, metrics=self.metrics, offload=offload)
        config: Any = SimpleNamespace(traces=SETTINGS)
        self.tracer = tracer_of(config, self.client, runtime)
        self.assertIsNone(tracer_of(config, None, runtime))
        self.trusted = False

    def serve(self) -> Client:
        """A client, after a request to a gate that is traced."""
        gate: Any = SimpleNamespace(dispatch=self.site.dispatch, trusts=self.trusts)
        self.site.dispatch = traced(gate, self.tracer)  # type: ignore[method-assign]
        client = Client(self.site)
        client.get("/", "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
        return client

    def trusts(self, exchange: Any) -> bool:
        return self.trusted

    def spans(self) -> list[dict[str, Any]]:
        self.clock.advance(INTERVAL)
        ((_, options),) = self.client.posts
        return json.loads(options["data"])["resourceSpans"][0]["scopeSpans"][0]["spans"]  # type: ignore[no-any-return]

    def test_what_the_collector_gets(self) -> None:
        self.assertEqual(self.serve().response().status, 200)
        self.assertEqual([span["name"] for span in self.spans()], ["GET a-route", "authenticate"])
        ((url, options),) = self.client.posts
        self.assertEqual(url, SETTINGS.endpoint)
        self.assertEqual((options["authorization"], options["content_type"]), ("Bearer x", "application/json"))
        resource = json.loads(options["data"])["resourceSpans"][0]["resource"]["attributes"]
        self.assertIn({"key": "service.name", "value": {"stringValue": "gw"}}, resource)
        self.assertEqual((self.metrics.traces, self.metrics.spans), ({("recorded",): 1}, {("sent",): 2}))

    def test_the_gate_says_who_is_trusted(self) -> None:
        self.trusted = True
        self.serve()
        self.assertEqual({span["traceId"] for span in self.spans()}, {"0af7651916cd43dd8448eb211c80319c"})

    def test_a_request_is_served_without_the_trace_that_cannot_begin(self) -> None:
        def broken(exchange: Any) -> bool:
            raise ValueError("a bug")

        self.trusts = broken  # type: ignore[method-assign]
        self.assertEqual(self.serve().response().status, 200)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_without_traces_the_gate_itself_takes_requests(self) -> None:
        gate: Any = SimpleNamespace(dispatch=self.site.dispatch)
        self.assertEqual(traced(gate, None), self.site.dispatch)
