"""The targets of a ``metrics`` listener: the metrics, as Prometheus's text or OpenMetrics, and ``OK`` for health checks.

The metrics are gathered on the reactor thread and made into text on another one. With several worker processes, they are those of
all of them (`perimeter.metrics.counts.Metrics.of_all_workers`). Scrapes that arrive meanwhile share that text, so many of them
cost no more than one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

from prometheus_client.core import CollectorRegistry, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from zope.interface import implementer

from perimeter.errors import MethodNotAllowed
from perimeter.gate.target import ITarget
from perimeter.http.exchange import Exchange, refuse_on_error
from perimeter.metrics.counts import Metrics
from perimeter.metrics.families import families
from perimeter.metrics.gauges import build_info, gauges
from perimeter.metrics.shares import system_registry
from perimeter.metrics.sources import NotRunning
from perimeter.offload import Offload

_NO_STORE = b"Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n"
_TEXT = CONTENT_TYPE_PLAIN_0_0_4
#: The version is fixed: nothing of the client's Accept gets into the answer.
_OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


class _Gathered(Collector):
    """Families that are already gathered, and those that the library reads from the system, unless they are gathered too."""

    def __init__(self, gathered: Iterable[Metric], system: CollectorRegistry | None) -> None:
        self._gathered = gathered
        self._system = system

    def collect(self) -> Iterable[Metric]:
        yield from self._gathered
        if self._system is not None:
            yield from self._system.collect()


def wants_openmetrics(accept: bytes | None) -> bool:
    """Whether Accept names OpenMetrics."""
    names = (part.partition(b";")[0].strip().lower() for part in (accept or b"").split(b","))
    return b"application/openmetrics-text" in names


@implementer(ITarget)
class MetricsTarget:
    """Answers with the metrics."""

    name = "perimeter"

    def __init__(self, metrics: Metrics, offload: Offload) -> None:
        self._metrics = metrics
        self._offload = offload
        self._system = system_registry()
        #: exchanges that wait for the text that is being made, by whether it is OpenMetrics
        self._waiting: dict[bool, list[Exchange]] = {}

    def handle(self, exchange: Exchange) -> None:
        """Answer ``exchange``."""
        if not _is_read(exchange):
            return
        form = wants_openmetrics(exchange.head.headers.get(b"accept"))
        if form in self._waiting:
            self._waiting[form].append(exchange)
            return
        if self._metrics.of_all_workers is None:
            gathered = self._gather()
            made = self._offload.proceed(self._text, _Gathered(gathered, self._system), form)
        else:
            made = Deferred.fromCoroutine(self._text_of_all(self._metrics.of_all_workers, form))
        self._waiting[form] = [exchange]
        made.addBoth(self._made, form)

    def _gather(self) -> list[Metric]:
        now = self._metrics.in_force()
        if now is None:
            raise NotRunning
        return [build_info(), *families(self._metrics), *gauges(now)]

    async def _text_of_all(self, gather: Callable[[], Awaitable[Iterable[Metric]]], form: bool) -> bytes:
        return await self._offload.proceed(self._text, _Gathered(await gather(), None), form)

    def _text(self, everything: Collector, form: bool) -> bytes:
        if form:
            return openmetrics.generate_latest(everything, version="1.0.0")  # type: ignore[no-any-return, no-untyped-call]
        return generate_latest(everything)

    def _made(self, text: bytes | Failure, form: bool) -> None:
        for exchange in self._waiting.pop(form):
            if isinstance(text, Failure):
                refuse_on_error(exchange, text.value or NotRunning())
            else:
                kind = (_OPENMETRICS if form else _TEXT).encode("ascii")
                exchange.answer(200, b"%bContent-Type: %b\r\n%b" % (exchange.date_line(), kind, _NO_STORE), text)


@implementer(ITarget)
class HealthTarget:
    """Answers that the gateway is up."""

    name = "perimeter"

    def handle(self, exchange: Exchange) -> None:
        """Answer ``exchange``."""
        if _is_read(exchange):
            exchange.answer(200, b"%bContent-Type: text/plain\r\n%b" % (exchange.date_line(), _NO_STORE), b"OK")


def _is_read(exchange: Exchange) -> bool:
    if exchange.head.method in (b"GET", b"HEAD"):
        return True
    exchange.refuse(MethodNotAllowed("only GET and HEAD are served here", allow=("GET", "HEAD")))
    return False
