"""The answers of a metrics listener, also to many clients at once."""

from __future__ import annotations

import subprocess
import sys
from math import inf
from pathlib import Path
from typing import Any

from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

import perimeter
from perimeter.auth.chain.asking import GuardedAuthenticator
from perimeter.errors import Overloaded
from perimeter.gate.target import ITarget
from perimeter.http.connections import Connections
from perimeter.http.exchange import refuse_on_error
from perimeter.metrics.counts import Metrics
from perimeter.metrics.sources import ScrapeSources
from perimeter.state.freshness import Freshness
from perimeter.targets.metrics import HealthTarget, MetricsTarget, wants_openmetrics
from perimeter.tokens.jwk import generate
from perimeter.tokens.key_file import KeyEntry
from tests.unit.auth.chain.test_chain import Fake
from tests.unit.doubles.audit_records import make_record
from tests.unit.doubles.auth import ManualThreads, ThreadClock, offload_with
from tests.unit.doubles.exchange_rig import FakeOffload, Rig
from tests.unit.doubles.figures import Figures, read
from tests.unit.doubles.http_upstream import Gateway

OPENMETRICS = "Accept: application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2"


class Connection:
    """A connection with several exchanges, one for each stream."""

    def __init__(self, exchanges: int) -> None:
        self.exchanges = [object()] * exchanges


def in_force(**changes: Any) -> ScrapeSources:
    usual: dict[str, Any] = {
        "connections": {}, "pools": (), "audit_failing": False, "authenticators": (), "keys": (), "queues": {},
        "sessions": 0,
    }  # fmt: skip
    return ScrapeSources(**{**usual, **changes})


class TargetCase(TestCase):
    def setUp(self) -> None:
        self.metrics = Metrics()
        self.metrics.in_force = in_force
        self.offload = FakeOffload()
        self.target = MetricsTarget(self.metrics, self.offload)  # type: ignore[arg-type]

    def ask(self, line: str = "GET /metrics HTTP/1.1", *fields: str) -> Rig:
        rig = Rig(line, fields)
        try:
            self.target.handle(rig.exchange)
        except Exception as error:  # as the gate does
            refuse_on_error(rig.exchange, error)
        return rig

    def figures(self) -> Figures:
        return read(self.ask().reply.body)


class FormatTests(TargetCase):
    def test_targets(self) -> None:
        for target in (self.target, HealthTarget()):
            verifyObject(ITarget, target)

    def test_plain_text(self) -> None:
        self.metrics.requests.record(make_record())
        reply = self.ask().reply
        self.assertEqual(reply.status, 200)
        self.assertEqual(reply.get("content-type"), "text/plain; version=0.0.4; charset=utf-8")
        self.assertEqual(reply.get("cache-control"), "no-store")
        figures = read(reply.body)
        self.assertEqual(figures("perimeter_requests_total", listener="https", route="site", status="200"), 1)
        self.assertEqual(figures("perimeter_build_info", version=perimeter.__version__), 1)
        for name in ("process_cpu_seconds_total", "process_open_fds", "python_info", "python_gc_collections_total"):
            self.assertGreater(figures.total(name), 0, name)

    def test_openmetrics(self) -> None:
        self.metrics.requests.record(make_record())
        reply = self.ask("GET /metrics HTTP/1.1", OPENMETRICS).reply
        self.assertEqual(reply.get("content-type"), "application/openmetrics-text; version=1.0.0; charset=utf-8")
        figures = Figures(parse_openmetrics(reply.body.decode()))
        self.assertEqual(figures("perimeter_requests_total", listener="https", route="site", status="200"), 1)
        self.assertEqual(figures.kinds["perimeter_build"], "info")

    def test_which_of_them(self) -> None:
        for accept, expected in (
            (None, False),
            (b"*/*", False),
            (b"text/plain", False),
            (b"application/openmetrics-text", True),
            (b"text/plain;q=1, Application/OpenMetrics-Text; version=9;escaping=allow-utf-8", True),
            (b"application/openmetrics-textual", False),
        ):
            self.assertIs(wants_openmetrics(accept), expected, accept)

    def test_attack_26_nothing_of_accept_comes_back(self) -> None:
        for version in ("<svg>", "0.0.0.0.0", "999999", "1.0.0\x80"):
            rig = self.ask("GET /metrics HTTP/1.1", f"Accept: application/openmetrics-text; version={version}; escaping=<b>")
            self.assertEqual(rig.reply.status, 200)
            self.assertNotIn(version.encode("latin-1"), rig.written.split(b"\r\n\r\n")[0])

    def test_head_has_the_length_and_no_body(self) -> None:
        reply = self.ask("HEAD /metrics HTTP/1.1").reply
        self.assertEqual((reply.status, reply.body), (200, b""))
        self.assertGreater(int(reply.get("content-length") or 0), 1000)

    def test_a_state_that_machines_share(self) -> None:
        self.assertEqual(self.figures().total("perimeter_cluster_stale"), 0)
        self.assertNotIn("perimeter_cluster", self.ask().reply.body.decode())
        now, names = 1000.0, ("heard_seconds", "stale", "clock_offset_seconds")
        freshness = Freshness("redis", 60.0, clock=lambda: now)
        self.metrics.in_force = lambda: in_force(freshness=freshness)
        figures = self.figures()
        self.assertGreater(figures("perimeter_cluster_heard_seconds"), 0.0)
        self.assertLess(figures("perimeter_cluster_heard_seconds"), inf)
        freshness.compared(-1.5)
        freshness.heard(20.0)
        self.assertEqual([self.figures()(f"perimeter_cluster_{name}") for name in names], [20.0, 0.0, -1.5])
        now += 41.0
        self.assertEqual([self.figures()(f"perimeter_cluster_{name}") for name in names], [61.0, 1.0, -1.5])

    def test_health(self) -> None:
        rig = Rig("GET /health HTTP/1.1")
        HealthTarget().handle(rig.exchange)
        self.assertEqual((rig.reply.status, rig.reply.body), (200, b"OK"))

    def test_nothing_else_is_done(self) -> None:
        for target in (self.target, HealthTarget()):
            for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS", "GARBAGE"):
                rig = Rig(f"{method} /metrics HTTP/1.1")
                target.handle(rig.exchange)
                self.assertEqual((rig.reply.status, rig.reply.get("allow")), (405, "GET, HEAD"))


class CrowdTests(TargetCase):
    def test_attack_23_a_crowd_costs_no_more_than_one(self) -> None:
        self.offload.by_hand = True
        crowd = [self.ask() for _ in range(50)]
        self.assertEqual(self.offload.jobs, 1)
        other = self.ask("GET /metrics HTTP/1.1", OPENMETRICS)
        self.assertEqual(self.offload.jobs, 2)
        self.offload.step()
        self.assertEqual({rig.reply.status for rig in crowd}, {200})
        self.assertEqual(other.written, b"")
        self.offload.step()
        self.assertEqual(other.reply.status, 200)
        self.assertEqual(self.ask().written, b"", "the next one asks anew")
        self.assertEqual(self.offload.jobs, 3)

    def test_who_has_left_is_not_answered(self) -> None:
        self.offload.by_hand = True
        gone, patient = self.ask(), self.ask()
        gone.leave()
        self.offload.step()
        self.assertEqual((gone.written, patient.reply.status), (b"", 200))

    def test_logins_in_the_queue_do_not_shut_it_out(self) -> None:
        clock, threads = ThreadClock(), ManualThreads()
        offload = offload_with(threads, clock, count=1, queue=1)
        jobs = [offload.run(lambda: None) for _ in range(2)]
        self.failureResultOf(offload.run(lambda: None), Overloaded)
        self.target = MetricsTarget(self.metrics, offload)
        rig = self.ask()
        while threads.jobs:
            threads.step()
        self.assertEqual(rig.reply.status, 200)
        for job in jobs:
            self.successResultOf(job)

    def test_a_fault_is_an_error_and_not_the_end(self) -> None:
        self.metrics.requests.rows["no", "status", "key", None] = None  # type: ignore[index, assignment]
        with capturedLogs():
            self.assertEqual(self.ask().reply.status, 500)
        del self.metrics.requests.rows["no", "status", "key", None]  # type: ignore[arg-type]
        self.assertEqual(self.ask().reply.status, 200)
        self.flushLoggedErrors()

    def test_a_fault_in_the_thread_reaches_all_that_wait(self) -> None:
        self.offload.by_hand = True
        crowd = [self.ask(), self.ask()]
        done, _ = self.offload.waiting.pop()
        with capturedLogs():
            done.errback(ZeroDivisionError())
        self.assertEqual([rig.reply.status for rig in crowd], [500, 500])
        self.offload.by_hand = False
        self.assertEqual(self.ask().reply.status, 200)
        self.flushLoggedErrors()

    def test_a_gateway_that_stops_has_no_figures(self) -> None:
        self.metrics.in_force = lambda: None
        self.assertEqual((self.ask().reply.status, self.ask().reason), (503, "not_running"))


class GaugeTests(TargetCase):
    def put(self, **changes: Any) -> Figures:
        self.metrics.in_force = lambda: in_force(**changes)
        return self.figures()

    def test_connections(self) -> None:
        figures = self.put(
            connections={"https": Connections([Connection(3), Connection(1), Connection(0)]), "figures": Connections()}
        )
        self.assertEqual(figures("perimeter_connections", listener="https"), 3)
        self.assertEqual(figures("perimeter_requests_in_flight", listener="https"), 4)
        self.assertEqual(figures("perimeter_connections", listener="figures"), 0)

    def test_the_audit_log(self) -> None:
        self.assertEqual(self.put()("perimeter_audit_healthy"), 1)
        self.assertEqual(self.put(audit_failing=True)("perimeter_audit_healthy"), 0)

    def test_authenticators(self) -> None:
        asked = GuardedAuthenticator(Fake(None, "corp", "ads"), 5, Clock())
        labels = {"authenticator": "ads", "realm": "corp"}
        self.assertEqual(self.put(authenticators=[asked])("perimeter_authenticator_down", **labels), 0)
        asked.breaker.failed(False, 9.0, "slow")
        self.assertEqual(self.put(authenticators=[asked])("perimeter_authenticator_down", **labels), 1)

    def test_queues(self) -> None:
        offload = offload_with(ManualThreads(), ThreadClock(), count=1)
        for _ in range(3):
            offload.run(lambda: None).addErrback(lambda _: None)
        self.assertEqual(self.put(queues={"work": offload})("perimeter_offload_waiting", pool="work"), 2)

    def test_the_signing_key(self) -> None:
        name = "perimeter_signing_key_activated_timestamp_seconds"
        following = KeyEntry(generate("ES256"), 5.0)
        self.assertEqual(self.put(keys=[KeyEntry(generate("ES256"), 5.0, 17.0), following])(name), 17)
        self.assertIsNone(self.put(keys=[following])(name))

    def test_certificates(self) -> None:
        name = "perimeter_certificate_expiry_timestamp_seconds"
        self.assertEqual(self.put(certificates={"https": 17.0})(name, listener="https"), 17)
        self.assertEqual(self.put()(name, listener="https"), None)

    def test_upstreams(self) -> None:
        gateway = Gateway("one", "two")
        one, two = {"upstream": "backend", "server": "http://one:8080"}, {"upstream": "backend", "server": "http://two:8080"}
        client = gateway.client()
        client.request("GET", "/")
        peer = gateway.attempts[-1].accept()
        busy = self.put(pools=[gateway.pool])
        self.assertEqual(busy.total("perimeter_upstream_connections", state="busy"), 1)
        peer.reply(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        idle = self.put(pools=[gateway.pool])
        self.assertEqual(idle.total("perimeter_upstream_connections", state="busy"), 0)
        self.assertEqual(idle.total("perimeter_upstream_connections", state="idle"), 1)
        gateway.pool.choice.unreachable(gateway.pool.servers[1], "refused")
        down = self.put(pools=[gateway.pool])
        self.assertEqual([down("perimeter_upstream_server_up", **which) for which in (one, two)], [1, 0])
        gateway.reactor.advance(3600)
        self.assertEqual(self.put(pools=[gateway.pool])("perimeter_upstream_server_up", **two), 0, "until it is reached again")
        gateway.pool.choice.reached(gateway.pool.servers[1])
        self.assertEqual(self.put(pools=[gateway.pool])("perimeter_upstream_server_up", **two), 1)


class LibraryTests(TestCase):
    def test_only_who_serves_metrics_loads_the_library(self) -> None:
        program = "import sys, perimeter.run, perimeter.cli; sys.exit('prometheus_client' in sys.modules)"
        root = Path(perimeter.__file__).parent.parent
        self.assertEqual(subprocess.run([sys.executable, "-c", program], cwd=root, check=False).returncode, 0)
