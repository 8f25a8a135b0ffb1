"""Builds the traces of one configuration."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from twisted.logger import Logger

import perimeter
from perimeter.config.site.config import SiteConfig
from perimeter.gate.gate import Gate
from perimeter.http.exchange import Exchange
from perimeter.run.build.runtime import Runtime
from perimeter.traces.exporter import Exporter, Outcome
from perimeter.traces.span import Span, Value, encoded
from perimeter.traces.tracer import Tracer
from perimeter.web_client.clients import WebClients

if TYPE_CHECKING:
    from perimeter.web_client.client import RemoteAnswer, RemoteClient

_log = Logger()

#: Seconds in which a thread that encodes spans lets the reactor have the interpreter
_PAUSE = 0.0002


def collector_client(config: SiteConfig, runtime: Runtime) -> RemoteClient | None:
    """The client for the collector of the traces; None without traces. Blocks. Raises `StartupError`."""
    settings = config.traces
    if not settings.endpoint:
        return None
    # imported only by a site that uses it, as for authenticators
    from perimeter.web_client.client import RemoteClient

    client = WebClients(runtime.reactor).trusting(settings.ca_certificate)
    return RemoteClient("the collector of the traces", client, settings.timeout, runtime.reactor)


def tracer_of(config: SiteConfig, client: RemoteClient | None, runtime: Runtime) -> Tracer | None:
    """The tracer, which decides about traces of requests and sends them with ``client``; None without traces."""
    if client is None:
        return None
    settings, metrics = config.traces, runtime.metrics
    resource: dict[str, Value] = {
        "service.name": settings.service_name,
        "service.version": perimeter.__version__,
        "service.instance.id": f"{socket.gethostname()}:{os.getpid()}",
        "host.name": socket.gethostname(),
        "process.pid": os.getpid(),
    }

    def encode(spans: Sequence[Span], in_thread: bool) -> bytes:
        return encoded(spans, resource, perimeter.__version__, partial(time.sleep, _PAUSE) if in_thread else None)

    def send(body: bytes) -> Awaitable[RemoteAnswer]:
        return client.post(settings.endpoint, authorization=settings.authorization, content_type="application/json", data=body)

    def count(outcome: Outcome, number: int) -> None:
        metrics.count_spans(str(outcome), number)

    exporter = Exporter(encode, runtime.offload.proceed, send, settings.queue, runtime.reactor, count)
    return Tracer(settings.ratio, settings.limit, exporter, runtime.reactor.seconds, metrics.count_trace)


def traced(gate: Gate, tracer: Tracer | None) -> Callable[[Exchange], None]:
    """``gate.dispatch``, in a trace if there is a ``tracer``."""
    return gate.dispatch if tracer is None else partial(_dispatch, gate, tracer)


def _dispatch(gate: Gate, tracer: Tracer, exchange: Exchange) -> None:
    try:
        tracer.begin(exchange, gate.trusts(exchange))
    except Exception:  # a request is served without its trace
        _log.failure("a trace cannot begin", request_id=exchange.request_id)
    gate.dispatch(exchange)
