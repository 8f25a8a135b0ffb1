"""Lines that something other than the gateway has written."""

from __future__ import annotations

import json

from twisted.trial.unittest import TestCase

from perimeter.audit.formats import line_format
from perimeter.audit.reading import parse_line
from perimeter.config.site.audit import AuditFormat
from tests.unit.doubles.audit_records import make_record

GOOD = {"time": "2026-11-22T13:30:00.000Z", "user": None, "status": 200}


class HostileLinesTests(TestCase):
    def with_(self, **members: object) -> bytes:
        return json.dumps({**GOOD, **members}).encode()

    def test_the_rest_of_a_line(self) -> None:
        for kind in AuditFormat:
            line = parse_line(line_format(kind)(make_record(sent=1234, duration=0.25, route="app")))
            assert line is not None
            self.assertEqual(line.sent, 1234)
            more = ("app", 0.25) if kind is AuditFormat.JSON else ("", None)
            self.assertEqual((line.route, line.duration), more)

    def test_the_id_of_the_request(self) -> None:
        for kind in AuditFormat:
            for given, expected in ((b"abc-123", "abc-123"), (b"", "")):
                line = parse_line(line_format(kind, request_id=True)(make_record(request_id=given)))
                assert line is not None
                self.assertEqual(line.request_id, expected, kind)
            without = parse_line(line_format(kind)(make_record()))
            assert without is not None
            self.assertEqual(without.request_id, "", kind)

    def test_attack_95_deeply_nested_json(self) -> None:
        for depth in (1000, 100_000):
            self.assertIsNone(parse_line(b'{"time":' + b"[" * depth))
            self.assertIsNone(parse_line(b'{"time":' + b'{"a":' * depth))

    def test_attack_95_members_of_wrong_types(self) -> None:
        self.assertIsNotNone(parse_line(self.with_()))
        for name, values in {
            "time": (None, 3, [], {}, "", "2026", "2026-11-22T13:30:00", "9999-99-99T00:00Z"),
            "user": (3, [], {}, True),
            "attempted_user": (3, []),
            "status": ("", None, -1, "2xx", 1000, "²", 1.5, []),
        }.items():
            for value in values:
                self.assertIsNone(parse_line(self.with_(**{name: value})), (name, value))
        for name, value in (("sent", "x"), ("sent", None), ("duration", "x"), ("route", None), ("event", 3)):
            line = parse_line(self.with_(**{name: value}))
            assert line is not None
            self.assertEqual((line.sent, line.duration, line.route), (0, None, ""))

    def test_attack_95_numbers_without_end(self) -> None:
        self.assertIsNone(parse_line(b'{"time":"2026-11-22T13:30:00Z","user":null,"status":' + b"9" * 100_000 + b"}"))
        text = b'1.2.3.4 - [22/Nov/2026:13:30:00 +0000] "GET / HTTP/1.1" %b %b\n'
        self.assertIsNotNone(parse_line(text % (b"200", b"12")))
        self.assertIsNone(parse_line(text % (b"2000", b"12")))
        self.assertIsNone(parse_line(text % (b"200", b"1" * 19)))
