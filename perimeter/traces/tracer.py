"""Decides to which trace a request belongs, and whether it is recorded.

A request with the ``traceparent`` of a trusted proxy continues that trace, and the proxy decides whether it is recorded. Any
other request begins a new trace, even with these headers: a client must not choose which requests are recorded, nor add its
requests to the traces of others (attack 101). Its trace-id is the request's id. A share of these traces is recorded. In one
second at most ``limit`` requests are recorded, so that neither clients nor a trusted proxy can make the gateway spend its time on
traces.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from math import ceil
from typing import TYPE_CHECKING, Final

from perimeter.traces.context import TraceContext, context_of
from perimeter.traces.exporter import Exporter
from perimeter.traces.trace import Trace, random_id

if TYPE_CHECKING:
    from perimeter.http.exchange import Exchange

_TRACE_ID = re.compile(r"(?!0{32})[0-9a-f]{32}")
#: the share is decided by the last 56 bits of a trace-id, which are random (W3C Trace Context, level 2, section 2.2.1)
_RANDOM_DIGITS: Final = 14


class Tracer:
    """Begins the traces of requests. ``count`` is called with True for each request that is recorded, False above ``limit``."""

    def __init__(
        self, ratio: float, limit: int, exporter: Exporter, clock: Callable[[], float], count: Callable[[bool], None]
    ) -> None:
        self._below = ceil(ratio * 16**_RANDOM_DIGITS)
        self._limit = limit
        self.exporter = exporter
        self._clock = clock
        self._count = count
        self._second = 0
        self._left = limit

    def begin(self, exchange: Exchange, trusted: bool) -> None:
        """Let ``exchange`` belong to a trace. ``trusted``: it comes from a trusted proxy."""
        context = context_of(exchange.head.headers) if trusted else None
        remote = context is not None
        if context is None:
            request_id = exchange.request_id
            trace_id = request_id if _TRACE_ID.fullmatch(request_id) else random_id(16)
            context = TraceContext(trace_id, "", int(trace_id[-_RANDOM_DIGITS:], 16) < self._below)
        send = self.exporter.add if context.sampled and self._admit() else None
        exchange.trace = Trace(context, remote, exchange.time, self._clock, send)

    def _admit(self) -> bool:
        second = int(self._clock())
        if second != self._second:
            self._second = second
            self._left = self._limit
        recorded = self._left > 0
        if recorded:
            self._left -= 1
        self._count(recorded)
        return recorded
