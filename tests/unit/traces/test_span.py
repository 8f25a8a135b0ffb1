"""Spans in the JSON of OTLP."""

from __future__ import annotations

import json

import attrs
from twisted.trial import unittest

from perimeter.traces.span import SLICE, Span, SpanKind, encoded

SPAN = Span("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", "", "GET app", SpanKind.SERVER, 1.5, 2.25)


class EncodedTests(unittest.TestCase):
    def test_the_whole_request(self) -> None:
        found = json.loads(encoded([SPAN], {"service.name": "perimeter", "process.pid": 7}, "1.0"))
        self.assertEqual(
            found,
            {
                "resourceSpans": [
                    {
                        "resource": {
                            "attributes": [
                                {"key": "service.name", "value": {"stringValue": "perimeter"}},
                                {"key": "process.pid", "value": {"intValue": "7"}},
                            ]
                        },
                        "scopeSpans": [
                            {
                                "scope": {"name": "perimeter", "version": "1.0"},
                                "spans": [
                                    {
                                        "traceId": "0af7651916cd43dd8448eb211c80319c",
                                        "spanId": "b7ad6b7169203331",
                                        "flags": 0x101,
                                        "name": "GET app",
                                        "kind": 2,
                                        "startTimeUnixNano": "1500000000",
                                        "endTimeUnixNano": "2250000000",
                                        "attributes": [],
                                    }
                                ],
                            }
                        ],
                    }
                ]
            },
        )

    def one(self, **changes: object) -> dict[str, object]:
        body = encoded([attrs.evolve(SPAN, **changes)], {}, "1.0")  # type: ignore[arg-type]
        return json.loads(body)["resourceSpans"][0]["scopeSpans"][0]["spans"][0]  # type: ignore[no-any-return]

    def test_what_only_some_spans_have(self) -> None:
        self.assertEqual(self.one(parent_id="0102030405060708", remote=True)["parentSpanId"], "0102030405060708")
        self.assertEqual(self.one(remote=True)["flags"], 0x301)
        self.assertEqual(self.one(state="a=b")["traceState"], "a=b")
        self.assertEqual(self.one(failed=True)["status"], {"code": 2})
        self.assertEqual(self.one(marks=(("response", 1.75),))["events"], [{"name": "response", "timeUnixNano": "1750000000"}])
        self.assertEqual(
            self.one(attributes=(("a", "b"), ("c", 1)))["attributes"],
            [{"key": "a", "value": {"stringValue": "b"}}, {"key": "c", "value": {"intValue": "1"}}],
        )
        self.assertEqual([self.one(kind=kind)["kind"] for kind in SpanKind], [1, 2, 3])

    def test_a_thread_pauses_between_slices(self) -> None:
        for count, expected in ((0, 0), (SLICE - 1, 0), (SLICE, 1), (2 * SLICE - 1, 1), (2 * SLICE, 2)):
            pauses: list[None] = []
            body = encoded([SPAN] * count, {}, "1.0", lambda: pauses.append(None))  # noqa: B023  # called at once
            self.assertEqual(len(pauses), expected)
            self.assertEqual(body, encoded([SPAN] * count, {}, "1.0"))
            self.assertEqual(len(json.loads(body)["resourceSpans"][0]["scopeSpans"][0]["spans"]), count)

    def test_no_span_ends_before_it_begins(self) -> None:
        self.assertEqual(self.one(end=1.0)["endTimeUnixNano"], "1500000000")

    def test_any_text_is_ascii(self) -> None:
        self.assertTrue(encoded([attrs.evolve(SPAN, name="é\ud800\n")], {}, "1").isascii())
