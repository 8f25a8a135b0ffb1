"""What is counted, and how Prometheus gets it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
from hypothesis import given
from prometheus_client.core import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.registry import Collector
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from perimeter.audit.logs import AuditLogs
from perimeter.audit.sink import IAuditSink
from perimeter.audit.sinks import CountingSink, LenientSink, NoAudit
from perimeter.config.site.audit import AuditSettings
from perimeter.config.site.augmenter import AugmenterSettings
from perimeter.config.site.authentication import AuthenticationSettings
from perimeter.config.site.authenticator import AuthenticatorSettings
from perimeter.config.site.config import SiteConfig
from perimeter.config.site.limits import LimitSettings
from perimeter.config.site.logging import LoggingSettings
from perimeter.config.site.perimeter import PerimeterSettings
from perimeter.config.site.token import TokenSettings
from perimeter.config.site.traces import TraceSettings
from perimeter.metrics.counts import OTHER, Metrics
from perimeter.metrics.families import families
from perimeter.model import AccessRecord, Principal
from perimeter.traces.exporter import Outcome
from tests.unit.doubles.audit_records import make_record, records
from tests.unit.doubles.figures import Figures, read
from tests.unit.doubles.http_rig import Audit

ALICE = Principal("alice", "local", ("admin",), "users")

CONFIG = SiteConfig(
    file=Path("site.ini"),
    perimeter=PerimeterSettings(Path("state")),
    limits=LimitSettings(),
    listeners=(),
    authenticators=(
        AuthenticatorSettings("users", "realmfile", "local", None),
        AuthenticatorSettings("ads", "ldap", "corp", None),
    ),
    authentication=AuthenticationSettings(),
    token=TokenSettings(),
    upstreams=(),
    routes=(),
    audit=AuditSettings(),
    logging=LoggingSettings(),
    augmenters=(AugmenterSettings("admins", "match", "local", None),),
)


class Gathered(Collector):
    def __init__(self, metrics: Metrics) -> None:
        self.metrics = metrics

    def collect(self) -> Any:
        return families(self.metrics)


class CountsCase(TestCase):
    def setUp(self) -> None:
        self.metrics = Metrics()
        self.metrics.configured(CONFIG)

    def count(self, *found: AccessRecord) -> None:
        for record in found:
            self.metrics.requests.record(record)

    @property
    def figures(self) -> Figures:
        registry = CollectorRegistry()
        registry.register(Gathered(self.metrics))
        return read(generate_latest(registry))


class RequestTests(CountsCase):
    def test_by_listener_route_and_status(self) -> None:
        self.count(make_record(), make_record(), make_record(status=502, reason="upstream_unreachable"), make_record(route=""))
        figures = self.figures
        self.assertEqual(figures("perimeter_requests_total", listener="https", route="site", status="200"), 2)
        self.assertEqual(figures("perimeter_requests_total", listener="https", route="site", status="502"), 1)
        self.assertEqual(figures("perimeter_requests_total", listener="https", route="", status="200"), 1)
        self.assertEqual(figures("perimeter_refusals_total", listener="https", reason="upstream_unreachable"), 1)

    def test_bytes_and_durations(self) -> None:
        self.count(make_record(sent=10, received=3, duration=0.0011), make_record(sent=5, status=404, duration=120.0))
        figures, place = self.figures, {"listener": "https", "route": "site"}
        self.assertEqual(figures("perimeter_sent_bytes_total", **place), 15)
        self.assertEqual(figures("perimeter_received_bytes_total", **place), 3)
        name = "perimeter_request_duration_seconds"
        self.assertEqual(figures(f"{name}_count", **place), 2)
        self.assertAlmostEqual(figures(f"{name}_sum", **place) or 0, 120.0011)
        found = [figures(f"{name}_bucket", le=end, **place) for end in ("0.001", "0.0025", "30.0", "+Inf")]
        self.assertEqual(found, [0, 1, 1, 2])

    def test_a_duration_on_a_bound_is_within_it(self) -> None:
        self.count(make_record(duration=0.005))
        bucket = self.figures("perimeter_request_duration_seconds_bucket", le="0.005", listener="https", route="site")
        self.assertEqual(bucket, 1)

    def test_a_tunnel_is_counted_once_when_it_ends(self) -> None:
        metrics = Metrics()
        metrics.requests.record(make_record(status=101, reason="tunnel_opened", sent=0))
        self.assertEqual((metrics.requests.rows, metrics.requests.refusals), ({}, {}))
        metrics.requests.record(make_record(status=101, reason="client_too_slow", sent=3))
        ((_, _, status, _),) = metrics.requests.rows
        self.assertEqual((status, metrics.requests.refusals["https", "client_too_slow"]), (101, 1))

    def test_the_length_of_a_tunnel_is_no_latency(self) -> None:
        self.count(make_record(status=101, duration=3600.0, sent=9))
        figures = self.figures
        self.assertEqual(figures.total("perimeter_requests_total"), 1)
        self.assertEqual(figures.total("perimeter_sent_bytes_total"), 9)
        self.assertEqual(figures.total("perimeter_request_duration_seconds_count"), 0)

    def test_who_was_known_and_who_was_not(self) -> None:
        self.count(
            make_record(principal=ALICE),
            make_record(principal=ALICE, status=403, reason="insufficient_scope"),
            make_record(status=401, reason="missing_credentials"),
            make_record(status=400, reason="invalid_request"),
            make_record(status=401, reason="wrong_credentials"),
            make_record(status=401, reason="invalid_token"),
            make_record(status=401, reason="expired_token"),
            make_record(status=503, reason="authentication_unavailable"),
            make_record(status=429, reason="too_many_attempts"),
            make_record(),
        )
        figures, name = self.figures, "auth_requests_total"
        self.assertEqual(figures(name, result="success", realm="local"), 2)
        self.assertEqual(figures(name, result="success", realm="corp"), 0)
        for result, count in (
            ("no_auth_header", 1),
            ("invalid_header", 1),
            ("all_failed", 3),
            ("unavailable", 1),
            ("too_many_attempts", 1),
        ):
            self.assertEqual(figures(name, result=result, realm="unknown"), count, result)

    def test_attack_23_a_realm_that_a_token_claims_is_no_label(self) -> None:
        for number in range(1000):
            self.count(make_record(principal=Principal("a", f"realm{number}")))
        self.assertEqual(self.figures("auth_requests_total", result="success", realm=OTHER), 1000)
        self.assertEqual(len(self.metrics.requests.rows), 1)

    def test_attack_23_nothing_of_a_request_is_a_label(self) -> None:
        self.count(make_record())
        before = set(self.figures.samples)
        for number in range(500):
            self.count(
                make_record(
                    method=b"M%d" % number, target=b"/%d" % number, host=b"h%d" % number, address=f"10.0.0.{number % 256}",
                    version=f"HTTP/{number}", principal=None,
                )
            )  # fmt: skip
        self.assertEqual(set(self.figures.samples), before)

    @given(records)
    def test_any_record_can_be_counted(self, record: AccessRecord) -> None:
        # Names from the configuration are plain text; everything else in a record may be any text.
        metrics = Metrics()
        for name in ("listener", "route", "reason"):
            setattr(record, name, "plain")
        metrics.requests.record(record)
        registry = CollectorRegistry()
        registry.register(Gathered(metrics))
        self.assertEqual(read(generate_latest(registry)).total("perimeter_requests_total"), 1)
        self.assertTrue(list(parse_openmetrics(generate_openmetrics(registry).decode())))


class AuthTests(CountsCase):
    def test_names_and_labels_are_auth_o_trons(self) -> None:
        auth = self.metrics.auth
        auth.asked("users", "success", 0.02)
        auth.asked("ads", "timeout", 5.0)
        auth.decided("success", "local", 0.02)
        auth.decided("all_failed", "unknown", 5.0)
        auth.augmented("admins", "error", 0.001)
        figures = self.figures
        users = {"provider_name": "users", "provider_type": "realmfile", "realm": "local"}
        ads = {"provider_name": "ads", "provider_type": "ldap", "realm": "corp"}
        admins = {"augmenter_type": "match", "realm": "local"}
        self.assertEqual(figures("auth_provider_attempts_total", result="success", **users), 1)
        self.assertEqual(figures("auth_provider_attempts_total", result="timeout", **ads), 1)
        self.assertEqual(figures("auth_provider_duration_seconds_count", **users), 1)
        self.assertEqual(figures("auth_duration_seconds_count", result="success", realm="local"), 1)
        self.assertEqual(figures("auth_duration_seconds_bucket", result="all_failed", realm="unknown", le="2.5"), 0)
        self.assertEqual(figures("auth_duration_seconds_bucket", result="all_failed", realm="unknown", le="5.0"), 1)
        self.assertEqual(figures("augmenter_attempts_total", augmenter_name="admins", result="error", **admins), 1)
        self.assertEqual(figures("augmenter_duration_seconds_count", **admins), 1)

    def test_what_has_not_happened_is_nought(self) -> None:
        figures = self.figures
        for result in ("success", "error", "timeout", "unavailable"):
            labels = {"provider_name": "ads", "provider_type": "ldap", "realm": "corp", "result": result}
            self.assertEqual(figures("auth_provider_attempts_total", **labels), 0)
        self.assertEqual(figures.total("augmenter_attempts_total"), 0)
        self.assertEqual(figures("auth_requests_total", result="all_failed", realm="unknown"), 0)

    def test_another_configuration_takes_nothing_away(self) -> None:
        self.metrics.auth.asked("users", "success", 0.02)
        self.count(make_record(principal=ALICE))
        self.metrics.configured(attrs.evolve(CONFIG, authenticators=CONFIG.authenticators[1:]))
        self.count(make_record(principal=ALICE))
        self.assertEqual(self.figures.total("auth_provider_attempts_total", provider_name="users"), 1)
        self.assertEqual(self.figures("auth_requests_total", result="success", realm="local"), 2)


class ReloadTests(CountsCase):
    def test_reloads(self) -> None:
        self.assertEqual(self.figures("perimeter_config_last_reload_successful"), 1)
        self.metrics.count_reload(False)
        self.assertEqual(self.figures("perimeter_config_last_reload_successful"), 0)
        self.metrics.count_reload(True)
        figures = self.figures
        self.assertEqual(figures("perimeter_config_last_reload_successful"), 1)
        self.assertEqual(figures("perimeter_config_reloads_total", result="error"), 1)
        self.assertEqual(figures("perimeter_config_reloads_total", result="success"), 1)


class SinkTests(CountsCase):
    def test_every_record_is_counted_once_and_passed_on(self) -> None:
        inner = Audit()
        sink = CountingSink(inner, self.metrics.requests.record)
        verifyObject(IAuditSink, sink)
        self.assertTrue(sink.record(make_record()))
        self.assertTrue(sink.healthy())
        self.assertEqual((len(inner.records), self.figures.total("perimeter_requests_total")), (1, 1))

    def test_attack_41_what_the_log_says_is_what_the_sink_says(self) -> None:
        class Failing(NoAudit):
            def record(self, access_record: AccessRecord) -> bool:
                return False

            def healthy(self) -> bool:
                return False

        sink = CountingSink(Failing(), self.metrics.requests.record)
        self.assertFalse(sink.record(make_record()))
        self.assertEqual(self.figures.total("perimeter_requests_total"), 0, "its caller changes it")
        sink.keep(make_record())
        self.assertFalse(sink.healthy())
        lenient = LenientSink(sink)
        verifyObject(IAuditSink, lenient)
        self.assertTrue(lenient.record(make_record()))
        self.assertTrue(lenient.healthy())
        self.assertEqual(self.figures.total("perimeter_requests_total"), 2, "and yet it was offered to the log")

    def test_logs_count_where_they_are_reported_to(self) -> None:
        path = Path(self.mktemp()).absolute()
        logs = AuditLogs(AuditSettings(path=path), Clock(), self.metrics.requests.record)
        self.assertIs(logs.sink(), logs.sink(path), "the same file is the same sink")
        logs.open()
        logs.sink().record(make_record())
        logs.close()
        AuditLogs(AuditSettings(), Clock(), self.metrics.requests.record).sink().record(make_record())
        self.assertEqual(self.figures.total("perimeter_requests_total"), 2)
        self.assertEqual(len(path.read_text().splitlines()), 1)
        self.assertEqual(logs.problems(), [])


class TraceTests(CountsCase):
    def test_without_traces_nothing_is_shown(self) -> None:
        self.assertEqual((self.metrics.traces, self.metrics.spans), ({}, {}))

    def test_each_count_begins_at_0(self) -> None:
        self.metrics.configured(attrs.evolve(CONFIG, traces=TraceSettings(endpoint="http://127.0.0.1:4318/v1/traces")))
        self.metrics.count_trace(True)
        self.metrics.count_spans("dropped", 3)
        self.metrics.configured(attrs.evolve(CONFIG, traces=TraceSettings(endpoint="http://127.0.0.1:4318/v1/traces")))
        self.assertEqual(self.metrics.traces, {("recorded",): 1, ("limited",): 0})
        self.assertEqual({outcome for (outcome,) in self.metrics.spans}, {str(one) for one in Outcome})
        self.assertEqual(self.metrics.spans["dropped",], 3)
        self.metrics.count_trace(False)
        self.assertEqual(self.metrics.traces["limited",], 1)


class RenewalTests(CountsCase):
    def test_what_providers_have_said_of_sessions(self) -> None:
        for outcome in ("renewed", "renewed", "ended"):
            self.metrics.count_renewal("corp", outcome)
        found = {
            sample.labels["outcome"]: sample.value
            for family in families(self.metrics)
            for sample in family.samples
            if sample.name == "perimeter_session_renewals_total" and sample.labels["provider"] == "corp"
        }
        self.assertEqual(found, {"renewed": 2.0, "ended": 1.0})
