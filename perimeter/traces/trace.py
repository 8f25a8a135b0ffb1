"""The trace of one request: notes of an exchange while it is served, and the spans that are made from them at its end.

A span names the route, the authenticator and the service, which are words of the configuration, the method, the status, and the
path without its query. It names neither the user nor the client: the audit log has them, under the request's id.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

import attrs

from perimeter.audit.escaping import escape, redact
from perimeter.http.roles import IBodySink
from perimeter.model import AccessRecord
from perimeter.traces.context import TraceContext, context_lines
from perimeter.traces.span import Attributes, Span, SpanKind

_LONGEST_PATH = 256
#: RFC 9110 and RFC 5789: clients may choose other methods, which would make many names of spans
_METHODS = frozenset((b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"CONNECT", b"OPTIONS", b"TRACE", b"PATCH"))


def random_id(size: int) -> str:
    """``size`` random bytes as hexadecimal digits."""
    return os.urandom(size).hex()


class Trace:
    """A request in a trace (`perimeter.http.roles.ExchangeTrace`). ``send`` gets its spans; None if it is not recorded."""

    __slots__ = (
        "_admitted",
        "_answered",
        "_clock",
        "_context",
        "_forwarded",
        "_remote",
        "_send",
        "_service_id",
        "_span_id",
        "_start",
    )

    def __init__(
        self,
        context: TraceContext,
        remote: bool,
        start: float,
        clock: Callable[[], float],
        send: Callable[[Sequence[Span]], None] | None,
    ) -> None:
        self._context = context
        self._remote = remote
        self._start = start
        self._clock = clock
        self._send = send
        self._span_id = random_id(8)
        self._service_id = ""
        self._admitted = self._forwarded = self._answered = 0.0

    def admitted(self) -> None:
        """See `ExchangeTrace`."""
        if self._send is not None:
            self._admitted = self._clock()

    def request_lines(self) -> bytes:
        """See `ExchangeTrace`."""
        context = self._context
        if self._send is None:
            return context_lines(context.trace_id, self._span_id, context.sampled, context.state)
        self._service_id = random_id(8)
        self._forwarded = self._clock()
        return context_lines(context.trace_id, self._service_id, context.sampled, context.state)

    def body_sink(self, sink: IBodySink) -> IBodySink:
        """See `ExchangeTrace`."""
        return sink

    def answered(self) -> None:
        """See `ExchangeTrace`."""
        if self._send is not None:
            self._answered = self._clock()

    def end(self, record: AccessRecord) -> None:
        """See `ExchangeTrace`."""
        send, self._send = self._send, None
        if send is not None:
            send(self._spans(record, record.time + record.duration))

    def _spans(self, record: AccessRecord, end: float) -> list[Span]:
        context = self._context
        whole = Span(
            context.trace_id,
            self._span_id,
            context.parent_id,
            _name(record),
            SpanKind.SERVER,
            self._start,
            end,
            _attributes(record),
            failed=record.status >= 500 or record.status == 0,
            remote=self._remote,
            state=context.state.decode("ascii"),
        )
        judged = self._admitted or self._answered or end
        part = attrs.evolve(whole, parent_id=self._span_id, remote=False)
        spans = [
            whole,
            attrs.evolve(
                part,
                span_id=random_id(8),
                name="authenticate",
                kind=SpanKind.INTERNAL,
                end=judged,
                attributes=_authentication(record),
                failed=not self._admitted and record.status >= 500,
            ),
        ]
        if self._service_id:
            spans.append(
                attrs.evolve(
                    part,
                    span_id=self._service_id,
                    name=f"upstream {record.upstream}",
                    kind=SpanKind.CLIENT,
                    start=self._forwarded,
                    attributes=(("perimeter.upstream", record.upstream), ("http.response.status_code", record.status)),
                    marks=(("response", self._answered),) if self._answered else (),
                )
            )
        return spans


def _method(record: AccessRecord) -> str:
    return record.method.decode("ascii") if record.method in _METHODS else "_OTHER"


def _name(record: AccessRecord) -> str:
    method = _method(record)
    return f"{'HTTP' if method == '_OTHER' else method} {record.route}".rstrip()


def _attributes(record: AccessRecord) -> Attributes:
    """The attributes of OpenTelemetry's conventions for HTTP servers, and the gateway's own."""
    path = redact(record.target.partition(b"?")[0][:_LONGEST_PATH])
    found: list[tuple[str, str | int]] = [
        ("http.request.method", _method(record)),
        ("http.response.status_code", record.status),
        ("http.route", record.route),
        ("url.path", escape(path).decode("ascii", "replace")),
        ("url.scheme", "https" if record.tls else "http"),
        ("network.protocol.version", record.version.removeprefix("HTTP/")),
        ("perimeter.listener", record.listener),
        ("http.request.body.size", record.received),
        ("http.response.body.size", record.sent),
    ]
    if record.request_id:
        found.append(("perimeter.request_id", record.request_id.decode("ascii")))
    if record.reason:
        found.append(("error.type", str(record.reason)))
    return tuple(found)


def _authentication(record: AccessRecord) -> Attributes:
    principal = record.principal
    return (
        () if principal is None else (("perimeter.authenticator", principal.authenticator), ("perimeter.realm", principal.realm))
    )
