"""The roles around an exchange: the gate's decision, the sink of its body, and the responder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from zope.interface import Interface

from perimeter.audit.sink import IAuditSink
from perimeter.model import AccessRecord, Field, Principal

# zope interfaces describe what a caller sees, so their methods name no self.


class NamedTarget(Protocol):
    """What an exchange reads of the target of its route."""

    @property
    def name(self) -> str:
        """Shown in the audit log as the upstream."""


class AdmittingRoute(Protocol):
    """What an exchange reads of its route."""

    @property
    def name(self) -> str:
        """Shown in the audit log."""

    @property
    def audit(self) -> IAuditSink:
        """Takes the exchange's record."""

    @property
    def target(self) -> NamedTarget:
        """Answers the exchange."""

    @property
    def brief(self) -> bool:
        """Whether the gateway itself answers, and soon: such an answer is never cut."""


class Admission(Protocol):
    """What an exchange reads of the gate's decision (`perimeter.gate.decision.Admitted` and `Located`)."""

    @property
    def route(self) -> AdmittingRoute:
        """The route that the request belongs to."""

    @property
    def target(self) -> bytes:
        """Path and query, normalised, as they are forwarded."""

    @property
    def address(self) -> str:
        """The client's address, as rules and the audit log see it."""

    @property
    def principal(self) -> Principal | None:
        """The authenticated user, or None."""


class ExchangeTrace(Protocol):
    """Follows an exchange: a trace (`perimeter.traces.trace.Trace`), or what limits it (`perimeter.targets.limited`).

    Nothing here raises.
    """

    def admitted(self) -> None:
        """The gate has admitted the request."""

    def request_lines(self) -> bytes:
        """The request to the service is made: the header lines with the context of the trace for it."""

    def body_sink(self, sink: IBodySink) -> IBodySink:
        """The target takes the request's body with ``sink``. Returns the sink that gets it."""

    def answered(self) -> None:
        """The response begins."""

    def end(self, record: AccessRecord) -> None:
        """The exchange has ended with ``record``."""


class IBodySink(Interface):
    """Takes the body of a request, as `perimeter.http.exchange.Exchange.receive` delivers it."""

    def body_data(data: bytes) -> None:
        """Some bytes of the body, at least one."""

    def body_end(trailers: Sequence[Field]) -> None:
        """The body is complete; ``trailers`` is usually empty."""


class IBodyFront(IBodySink):
    """Takes the body of a request in front of the sink of the target, or has taken its beginning."""

    def before(sink: IBodySink) -> IBodySink:
        """The target is ready for the body, in ``sink``. Returns what the exchange delivers the rest of the body to."""

    def release() -> None:
        """Deliver what was held back, to the sink of `before`."""


class IResponder(Interface):
    """Produces the response of an exchange. It is notified when the client falls behind, catches up, or leaves."""

    def pause() -> None:
        """The client reads more slowly than the response comes: stop producing until `resume`."""

    def resume() -> None:
        """The client has caught up."""

    def client_gone() -> None:
        """The exchange ended before its response was complete: further writes are discarded."""
