"""Spans, and their form in OTLP over HTTP: JSON. Pure. <https://opentelemetry.io/docs/specs/otlp/#otlphttp>

The encoding is written here, because the exporters of OpenTelemetry's SDK send from threads with clients that block, and its
spans cost ten times as much as the request that they describe. The gateway needs only the few members below.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from enum import IntEnum
from typing import Final

import attrs

Value = str | int
Attributes = tuple[tuple[str, Value], ...]

_IS_REMOTE_KNOWN, _IS_REMOTE = 0x100, 0x200
_ERROR = 2

SLICE: Final = 16
"""Spans that are encoded without a pause, which takes some 0.2 ms."""


class SpanKind(IntEnum):
    """``SpanKind`` of OTLP."""

    INTERNAL = 1
    SERVER = 2
    CLIENT = 3


@attrs.frozen
class Span:
    """A part of a trace. Ids are hexadecimal digits, ``parent_id`` is "" for the first span; times are epoch seconds.

    ``remote``: the parent is a span of another program. ``failed``: the status of the span is an error. ``marks`` are events.
    """

    trace_id: str
    span_id: str
    parent_id: str
    name: str
    kind: SpanKind
    start: float
    end: float
    attributes: Attributes = ()
    failed: bool = False
    remote: bool = False
    state: str = ""
    marks: tuple[tuple[str, float], ...] = ()


def encoded(spans: Sequence[Span], resource: Mapping[str, Value], version: str, pause: Callable[[], None] | None = None) -> bytes:
    """An ``ExportTraceServiceRequest`` with ``spans``. ``resource`` describes the process; ``version`` is the gateway's.

    ``pause`` is called after each `SLICE` spans, so that other threads can work.
    """
    made = []
    for number, span in enumerate(spans, 1):
        made.append(_json(_span(span)))
        if pause is not None and number % SLICE == 0:
            pause()
    scope = f'{{"scope":{_json({"name": "perimeter", "version": version})},"spans":[{",".join(made)}]}}'
    resources = _json({"attributes": _attributes(tuple(resource.items()))})
    return f'{{"resourceSpans":[{{"resource":{resources},"scopeSpans":[{scope}]}}]}}'.encode("ascii")


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


def _span(span: Span) -> dict[str, object]:
    made: dict[str, object] = {
        "traceId": span.trace_id,
        "spanId": span.span_id,
        "flags": 1 | _IS_REMOTE_KNOWN | (_IS_REMOTE if span.remote else 0),
        "name": span.name,
        "kind": int(span.kind),
        "startTimeUnixNano": _nanoseconds(span.start),
        "endTimeUnixNano": _nanoseconds(max(span.start, span.end)),
        "attributes": _attributes(span.attributes),
    }
    if span.parent_id:
        made["parentSpanId"] = span.parent_id
    if span.state:
        made["traceState"] = span.state
    if span.marks:
        made["events"] = [{"name": name, "timeUnixNano": _nanoseconds(time)} for name, time in span.marks]
    if span.failed:
        made["status"] = {"code": _ERROR}
    return made


def _nanoseconds(seconds: float) -> str:
    # "64-bit integer numbers in JSON-encoded payloads are encoded as decimal strings"
    return str(int(seconds * 1e9))


def _attributes(attributes: Attributes) -> list[dict[str, object]]:
    return [
        {"key": name, "value": {"intValue": str(value)} if isinstance(value, int) else {"stringValue": value}}
        for name, value in attributes
    ]
