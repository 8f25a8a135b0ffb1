"""The report over audit logs: exact as long as there is memory, and bounded."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import TestCase

from perimeter.audit.formats import line_format
from perimeter.audit.reading import parse_line
from perimeter.audit.report import LONGEST, SLOWEST, Report, Tally
from perimeter.config.site.audit import AuditFormat
from perimeter.model import Principal
from tests.unit.doubles.audit_records import make_record

T0 = 1_700_000_000.0


class ReportTests(TestCase):
    def setUp(self) -> None:
        self.report = Report()

    def add(self, kind: AuditFormat = AuditFormat.JSON, user: str | None = None, **record: Any) -> None:
        principal = None if user is None else Principal(user, "local")
        line = parse_line(line_format(kind)(make_record(principal=principal, **{"time": T0, **record})))
        assert line is not None
        self.report.add(line)

    def test_counts(self) -> None:
        self.add(user="alice", target=b"/a?x=1", status=200, sent=10, address="10.0.0.1", route="app")
        self.add(user="alice", target=b"/a?x=2", status=404, sent=20, time=T0 + 60, address="10.0.0.1")
        self.add(target=b"/b", status=401, sent=5, time=T0 - 60, reason="wrong_credentials", attempted_user="eve")
        self.add(AuditFormat.REACTOR, status=0, target=b"/c", sent=0)
        report = self.report
        self.assertEqual((report.requests, report.sent), (4, 35))
        assert report.first is not None
        assert report.last is not None
        self.assertEqual((report.first.timestamp(), report.last.timestamp()), (T0 - 60, T0 + 60))
        self.assertEqual(report.classes(), {"0": 1, "2xx": 1, "4xx": 2})
        self.assertEqual(report.users.top(9), [("-", 2), ("alice", 2)])
        self.assertEqual(report.paths.top(2), [("/a", 2), ("/b", 1)])
        self.assertEqual(report.reasons.top(9), [("wrong_credentials", 1)])
        self.assertEqual(report.attempted.top(9), [("eve", 1)])
        self.assertEqual(report.addresses.top(1), [("10.0.0.1", 2)])
        self.assertIn(("app", 1), report.routes.top(9))

    def test_a_tunnel_is_one_request(self) -> None:
        self.add(status=101, reason="tunnel_opened")
        self.assertEqual(self.report.requests, 0)
        self.add(status=101, sent=7)
        self.assertEqual((self.report.requests, self.report.classes()), (1, {"1xx": 1}))

    def test_the_slowest(self) -> None:
        for number in range(3 * SLOWEST):
            self.add(duration=float(number * 7 % 30), target=b"/%d" % number)
        self.assertEqual([one.seconds for one in self.report.slowest], [float(29 - number) for number in range(SLOWEST)])
        self.add(AuditFormat.COMBINED, target=b"/text")
        self.assertEqual(len(self.report.slowest), SLOWEST)


class TallyTests(TestCase):
    def test_a_tally_is_exact_for_few_values(self) -> None:
        tally = Tally(most=2)
        for value in "abcdabca":
            tally.add(value)
        self.assertEqual((tally.top(9), tally.dropped), ([("a", 3), ("b", 2), ("c", 2), ("d", 1)], 0))

    def test_attack_95_long_values_are_cut(self) -> None:
        tally = Tally()
        for value in ("x" * LONGEST, "y" * (LONGEST + 1), "y" * 1_000_000):
            tally.add(value)
        self.assertEqual(tally.top(9), [("y" * (LONGEST - 1) + "…", 2), ("x" * LONGEST, 1)])

    def test_attack_95_names_without_end(self) -> None:
        tally = Tally(most=10)
        for number in range(1000):
            tally.add(f"name {number}")
            tally.add("alice")
        self.assertEqual(tally.top(1), [("alice", 1000)])
        self.assertLessEqual(len(tally.top(10_000)), 20)
        self.assertEqual(tally.dropped + sum(count for _, count in tally.top(10_000)), 2000)
