"""The target of a route with limits that concern an admitted request: rates of users, requests in flight, bodies, and its time.

A route without them has no such target. A rate of an address or a route counts before the client is identified
(`perimeter.gate.entry`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf
from typing import TYPE_CHECKING

import attrs
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from zope.interface import implementer

from perimeter.errors import DeadlineExceeded, Overloaded, RequestTimeout, TooManyInFlight
from perimeter.gate.clients import client_of
from perimeter.gate.decision import Admitted
from perimeter.gate.target import ITarget
from perimeter.http.exchange import Exchange
from perimeter.http.roles import ExchangeTrace, IBodySink
from perimeter.limits.flights import Flights, NoCell
from perimeter.limits.keys import Key, key_of
from perimeter.limits.rates import RateLimit
from perimeter.model import AccessRecord, Field, network_of

if TYPE_CHECKING:  # `perimeter explain` does without the reactor
    from perimeter.net.deadlines import Deadlines

ClientOf = Callable[[Admitted], str]
"""Returns whose limit counts for a request."""


def address_of(decision: Admitted) -> str:
    """The client's address; for IPv6 its network."""
    return network_of(decision.address)


def everybody(decision: Admitted) -> str:
    """All clients of the route together."""
    return ""


@attrs.frozen
class FlightLimit:
    """At most ``most`` requests in flight of each client. ``place`` identifies the limit; ``count`` is called for a refusal."""

    flights: Flights
    secret: bytes
    place: str
    name: str
    most: int
    client: ClientOf
    count: Callable[[], None]

    def begin(self, decision: Admitted) -> Key:
        """Count a request, which has to be removed at its end. Raises `TooManyInFlight`, or `Overloaded` without memory."""
        key = key_of(f"{self.place} {self.client(decision)}", self.secret)
        try:
            if self.flights.begin(key, self.most):
                return key
        except NoCell:
            raise Overloaded("too many clients have requests in flight", retry_after=1) from None
        self.count()
        raise TooManyInFlight(f"over in_flight = {self.name}", retry_after=1)


@attrs.frozen
class Limits:
    """The limits of a route. ``timeout`` is in seconds. ``clock`` and ``deadlines`` are those of the gateway."""

    clock: IReactorTime
    deadlines: Deadlines
    rates: tuple[RateLimit, ...] = ()
    flights: tuple[FlightLimit, ...] = ()
    bodies: tuple[tuple[RateLimit, ClientOf], ...] = ()
    timeout: float = inf

    @property
    def follow(self) -> bool:
        """Whether a request has to be followed to its end."""
        return bool(self.flights or self.bodies) or self.timeout != inf


@implementer(ITarget)
class LimitedTarget:
    """Hands requests within ``limits`` to ``inner``."""

    def __init__(self, inner: ITarget, limits: Limits) -> None:
        self._inner = inner
        self._limits = limits
        self._follow = limits.follow
        self.name = inner.name

    def handle(self, exchange: Exchange) -> None:
        """Hand ``exchange`` on. Raises a `Refusal` if it is over a limit."""
        decision = exchange.decision
        assert isinstance(decision, Admitted)
        exchange.answer_lines += self.count(decision)
        if self._follow:
            Underway(exchange, decision, self._limits).begin()
        self._inner.handle(exchange)

    def count(self, decision: Admitted) -> bytes:
        """Count a request that was admitted, also one that another proxy forwards. Raises `RateExceeded`.

        Returns header lines for the response.
        """
        return b"".join([rate.take(client_of(decision)) for rate in self._limits.rates])


class Underway:
    """A request that is followed to its end, in place of its trace if it has one. It has a deadline (`Deadlines`)."""

    __slots__ = ("_call", "_decision", "_exchange", "_flights", "_limits", "_trace", "deadline")

    def __init__(self, exchange: Exchange, decision: Admitted, limits: Limits) -> None:
        self._exchange = exchange
        self._decision = decision
        self._limits = limits
        self._trace: ExchangeTrace | None = exchange.trace
        self._flights: list[tuple[Flights, Key]] = []
        self._call: IDelayedCall | None = None
        self.deadline = exchange.time + limits.timeout

    def begin(self) -> None:
        """Follow the request. Raises a `Refusal` if there are too many."""
        self._exchange.trace = self
        for limit in self._limits.flights:
            self._flights.append((limit.flights, limit.begin(self._decision)))
        if self.deadline != inf:
            self._limits.deadlines.watch(self)

    # -- its time (HasDeadline)

    def deadline_expired(self) -> None:
        """The request has taken too long."""
        self._limits.deadlines.forget(self)
        exchange = self._exchange
        if exchange.tunnel:
            return
        detail = f"not complete within request_timeout ({self._limits.timeout:g} s)"
        exchange.withdraw(DeadlineExceeded(detail) if exchange.body_done else RequestTimeout(f"the body was {detail}"))

    # -- the parts of the exchange (ExchangeTrace)

    def admitted(self) -> None:
        """See `ExchangeTrace`. It was admitted before it came here."""

    def request_lines(self) -> bytes:
        """See `ExchangeTrace`."""
        return b"" if self._trace is None else self._trace.request_lines()

    def body_sink(self, sink: IBodySink) -> IBodySink:
        """See `ExchangeTrace`."""
        if not self._limits.bodies:
            return sink
        self.received(0)  # an earlier body may have come too fast
        return PacedBody(sink, self)

    def answered(self) -> None:
        """See `ExchangeTrace`."""
        if self._trace is not None:
            self._trace.answered()

    def end(self, record: AccessRecord) -> None:
        """See `ExchangeTrace`. The request does not count any more."""
        self._limits.deadlines.forget(self)
        if self._call is not None:
            self._call.reset(0)  # not here: the exchange is in the middle of its end
        flights, self._flights = self._flights, []
        for table, key in flights:
            table.end(key)
        if self._trace is not None:
            self._trace.end(record)

    # -- its body

    def received(self, size: int) -> None:
        """Count bytes of the body, and hold the rest back if they came too fast."""
        seconds = max(rate.spend(client(self._decision), size) for rate, client in self._limits.bodies)
        if seconds and self._call is None and not self._exchange.body_done:
            self._exchange.hold_body()
            self._call = self._limits.clock.callLater(seconds, self._release)

    def _release(self) -> None:
        self._call = None
        self._exchange.release_body()


@implementer(IBodySink)
class PacedBody:
    """The body on its way to ``sink``."""

    __slots__ = ("_sink", "_underway")

    def __init__(self, sink: IBodySink, underway: Underway) -> None:
        self._sink = sink
        self._underway = underway

    def body_data(self, data: bytes) -> None:
        """See `IBodySink`."""
        self._sink.body_data(data)
        self._underway.received(len(data))

    def body_end(self, trailers: Sequence[Field]) -> None:
        """See `IBodySink`."""
        self._sink.body_end(trailers)
