"""One request and its response: the object that every target works on, independent of the protocol (`perimeter.http.carrier`).

The exchange knows the rules of answering (no body for HEAD, one final response, no more and no less of a body than announced),
counts bytes, and sees to it that exactly one `AccessRecord` is written, however it ends, and before the last byte of the response
leaves. A tunnel has a record when it opens, too. Its methods are for three parties, in this order: the target (request body,
response, tunnel), those who refuse or end it, and the carrier.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from twisted.logger import Logger
from twisted.python.failure import Failure

from perimeter.errors import AuditUnavailable, BodyTooLarge, InternalError, Refusal, ShuttingDown
from perimeter.http.request_ids import id_in
from perimeter.model import AccessRecord, ClientConnection, EarlyEnd, Field, RequestHead

if TYPE_CHECKING:
    from perimeter.audit.sink import IAuditSink
    from perimeter.http.carrier import Carrier
    from perimeter.http.roles import Admission, ExchangeTrace, IBodyFront, IBodySink, IResponder

_log = Logger()

#: The status that the audit log shows where the client left before any answer (nginx's number for it).
CLIENT_GONE = 499
_TUNNEL_OPENED = EarlyEnd.TUNNEL_OPENED
_BY_TARGET, _BY_LIMIT = 1, 2


class Exchange:
    """A request and its response.

    ``decision`` is what the gate found, set as soon as there is a route; ``responder`` is set by the target that produces the
    response; ``asked`` is the request that a proxy asks about, if this one is such a question: the audit log shows that one;
    ``upstream`` is the target's name for the audit log, if it is not the route's. ``refusal`` is the refusal that ended it.
    ``event`` is what a page of the gateway did, for the audit log: ``login``, ``logout`` and the like. ``command`` is what the
    body asks for, if the route has it logged. ``front``, if it is set before a target calls `receive`, gets the body first.
    ``id_line`` is the header line with the request's id, for the service and for the client; empty if requests have no ids.
    ``answer_lines`` are header lines of every final response, whoever makes it: at first the one with the id.
    ``has_body``: the request is chunked, or has a Content-Length above 0. ``held``: the response's head waits in the writer (see
    `start`). ``received`` and ``sent`` count bytes of the bodies, ``max_body`` bounds the first.
    """

    __slots__ = (
        "_body_left",
        "_carrier",
        "_ended",
        "_paused",
        "_recorded",
        "_sink",
        "_started",
        "answer_lines",
        "asked",
        "body_done",
        "command",
        "connection",
        "decision",
        "event",
        "front",
        "has_body",
        "head",
        "held",
        "id_line",
        "max_body",
        "reason",
        "received",
        "refusal",
        "responder",
        "review",
        "sent",
        "status",
        "time",
        "trace",
        "tunnel",
        "upstream",
    )

    def __init__(self, carrier: Carrier, head: RequestHead, connection: ClientConnection, time: float, has_body: bool) -> None:
        self._carrier = carrier
        self.head = head
        self.connection = connection
        self.time = time
        self.has_body = has_body
        self.id_line = self.answer_lines = carrier.site.next_id_line()
        self.decision: Admission | None = None
        self.responder: IResponder | None = None
        self.asked: RequestHead | None = None
        self.upstream = ""
        self.reason: str = ""
        self.event = ""
        self.command = ""
        self.front: IBodyFront | None = None
        self.refusal: Refusal | None = None
        self.status = 0
        self.sent = 0
        self.received = 0
        self.max_body: int | None = None
        self.tunnel = False
        #: None without traces
        self.trace: ExchangeTrace | None = None
        #: when it is judged again, in the clock's seconds; 0: not known yet (`perimeter.gate.review`)
        self.review = 0.0
        #: the request's body is complete
        self.body_done = not has_body
        self._sink: IBodySink | None = None
        #: who holds the body: `_BY_TARGET`, `_BY_LIMIT`
        self._paused = 0
        self._started = False
        self._ended = False
        self._recorded = False
        self.held = False
        #: bytes of the response's body that were announced and are still to come; None if the length is not known
        self._body_left: int | None = 0

    @property
    def request_id(self) -> str:
        """The request's id, empty if requests have none."""
        return id_in(self.id_line).decode("ascii")

    # -- the request's body, for the target

    def receive(self, sink: IBodySink) -> None:
        """Deliver the body to ``sink`` from now on. A client that waits for 100 Continue gets it (RFC 9110, section 10.1.1)."""
        trace, front = self.trace, self.front
        if front is None:
            self._sink = sink if trace is None else trace.body_sink(sink)
        else:
            self.front = None
            # a body that was held back is complete, and has passed the trace
            self._sink = front.before(sink if trace is None or self.body_done else trace.body_sink(sink))
            front.release()
            if self.body_done or self._ended:
                return
        if self.has_body:
            self._carrier.body_wanted()
        else:
            sink.body_end(())

    def pause_body(self) -> None:
        """Deliver no more of the body until `resume_body`."""
        self._pause(_BY_TARGET)

    def resume_body(self) -> None:
        """Undo `pause_body`."""
        self._resume(_BY_TARGET)

    def hold_body(self) -> None:
        """As `pause_body`, for a limit of the route: the body goes on when neither the target nor the limit holds it."""
        self._pause(_BY_LIMIT)

    def release_body(self) -> None:
        """Undo `hold_body`."""
        self._resume(_BY_LIMIT)

    def _pause(self, by: int) -> None:
        if not self._paused & by and not self._ended:
            self._paused |= by
            self._carrier.flow_changed()

    def _resume(self, by: int) -> None:
        if self._paused & by:
            self._paused &= ~by
            self._carrier.flow_changed()

    # -- the response, for the target

    @property
    def started(self) -> bool:
        """Whether a response has begun: from then on an error can only cut the connection."""
        return self._started

    @property
    def ended(self) -> bool:
        """Whether the response is complete, or never will be."""
        return self._ended

    def date_line(self) -> bytes:
        """The Date header line for now."""
        return self._carrier.site.answers.date()

    def start(self, status: int, lines: bytes, length: int | None, reason: bytes = b"", *, flush: bool = True) -> None:
        """Begin the final response. ``lines`` and ``length`` are those of `perimeter.http.carrier.ResponseWriter.head`.

        Without ``flush`` the head waits for the first `write`, or for `flush`.
        """
        if self._ended:
            return
        bodiless = self._open(status)
        self._body_left = 0 if bodiless else length
        if self._body_left == 0 and not self._record(unseen=True):
            return
        self.held = not flush
        self._carrier.writer.head(status, lines + self.answer_lines, length, reason, bodiless, self.held)

    def flush(self) -> None:
        """Send a head that `start` kept back."""
        if self.held and not self._ended:
            self.held = False
            self._carrier.writer.flush()

    def write(self, data: bytes) -> None:
        """Send some bytes of the response's body. More than the announced length is a bug, and cuts the connection."""
        if self._ended or not data:
            return
        left = self._body_left
        if left:
            size = len(data)
            if size > left:
                self.abort(EarlyEnd.RESPONSE_TOO_LONG)
                return
            self.sent += size
            self._body_left = left - size
            if size == left and not self._record(size, unseen=self.held):
                return
        elif left is None:
            self.sent += len(data)
        else:
            # The body of a HEAD, 204 or 304 is not sent; anything else was announced as shorter.
            if not (self.head.method == b"HEAD" or self.status in (204, 304)):
                self.abort(EarlyEnd.RESPONSE_TOO_LONG)
            return
        self.held = False
        self._carrier.writer.data(data)

    def finish(self, trailers: Sequence[Field] = ()) -> None:
        """The response is complete. A body shorter than its announced length cuts the connection."""
        if self._ended:
            return
        if self._body_left:
            self.abort(EarlyEnd.RESPONSE_TOO_SHORT)
            return
        if not self._recorded and not self._record(unseen=self.held):
            return
        self._carrier.writer.end(trailers)
        self._end()

    def answer(self, status: int, lines: bytes, body: bytes, reason: bytes = b"") -> None:
        """A whole response at once, in one write."""
        if self._ended:
            return
        bodiless = self._open(status, True)
        if not bodiless:
            self.sent = len(body)
        if not self._record(unseen=True):
            return
        self._carrier.writer.whole(status, lines + self.answer_lines, body, reason, bodiless)
        self._end()

    def interim(self, status: int, lines: bytes) -> None:
        """Pass on an informational response (RFC 9110, section 15.2). HTTP/1.0 does not have them."""
        if not self._started and not self._ended:
            self._carrier.writer.interim(status, lines)

    def _open(self, status: int, whole: bool = False) -> bool:
        """Begin. Returns whether the response has no body, whatever its length (RFC 9110, section 6.4.1)."""
        self._started = True
        self.status = status
        if self.trace is not None:
            self.trace.answered()
        if not self.body_done:
            if self._sink is None:
                self._carrier.discard_body()
            elif whole or status >= 400:
                # Its end comes before that of the request, or a service refuses an upload: no sink will want the rest.
                self._carrier.close_after()
        return self.head.method == b"HEAD" or status == 304 or status == 204

    # -- the tunnel (RFC 9110, section 7.8), for the target

    def switch(self, lines: bytes, sink: IBodySink) -> None:
        """Accept the upgrade: from now on what the client sends goes to ``sink`` as it comes.

        The audit log gets a line now and another one at the end: a tunnel may last for days. If it cannot be written, there is no
        tunnel.
        """
        self._started = True
        self.status = 101
        if self.trace is not None:
            self.trace.answered()
        if self._record(unseen=True, opens_tunnel=True):
            self._sink = sink
            self.tunnel = True
            self._carrier.open_tunnel(lines + self.answer_lines)

    def tunnel_send(self, data: bytes) -> None:
        """Send bytes to the client's end of the tunnel."""
        if not self._ended:
            self.sent += len(data)
            self._carrier.writer.raw(data)

    def tunnel_close(self, reason: EarlyEnd | None = None) -> None:
        """The upstream's end has closed: what is under way is delivered, then the client's end closes too."""
        if not self._ended:
            self.reason = self.reason or reason or ""
            self._record()
            self._ended = True
            self._carrier.response_done()

    # -- refusals and early ends, for all

    def refuse(self, refusal: Refusal) -> None:
        """Answer with an error, or cut the connection if a response has begun."""
        if self._ended:
            return
        self.explain(refusal)
        if self._started:
            self.abort(refusal.reason)
            return
        if refusal.close:
            self._carrier.close_after()
        if not self.body_done:
            self._sink = None  # the sink has failed: the carrier skips the rest of the body
        status, lines, body = self._carrier.site.answers.render(refusal, self.head.headers, self.id_line)
        self.answer(status, lines, body)

    def explain(self, refusal: Refusal, status: int | None = None) -> None:
        """Log why this request is refused. ``status`` is that of the response, if a target writes that itself."""
        self.reason = refusal.reason
        self.refusal = refusal
        self._carrier.site.refusals.note(refusal, self, status)

    def withdraw(self, refusal: Refusal) -> None:
        """Refuse a request that was admitted before: answer with ``refusal``, or cut a response that has begun."""
        if not self._started:
            self._leave()
        self.refuse(refusal)

    def shut_down(self) -> None:
        """The gateway stops, and there is no more time: a tunnel is closed in order, anything else withdrawn."""
        if self.tunnel:
            self.tunnel_close(EarlyEnd.SHUTDOWN)
            self._leave()
        else:
            self.withdraw(ShuttingDown("not answered before the end of drain_timeout"))

    def abort(self, reason: str) -> None:
        """Cut the connection: the client sees that the response is not whole. ``reason`` is an `EarlyEnd`, or a refusal's."""
        if self._ended:
            return
        self.reason = self.reason or reason
        self._ended = True
        self._record()
        self._leave()
        self._carrier.abort()

    # -- for the carrier

    @property
    def body_paused(self) -> bool:
        """Whether the body has no sink, or its sink cannot take more at the moment."""
        return self._paused != 0 or self._sink is None

    def body_data(self, data: bytes) -> None:
        """Some bytes of the request's body. Raises `BodyTooLarge` if they exceed ``max_body``."""
        self.received += len(data)
        if self.max_body is not None and self.received > self.max_body:
            raise BodyTooLarge("the body is longer than max_body")
        if self._sink is not None:
            self._sink.body_data(data)

    def body_end(self, trailers: Sequence[Field]) -> None:
        """The request's body is complete."""
        self.body_done = True
        if self._sink is not None and not self._ended:
            self._sink.body_end(trailers)

    def tunnel_receive(self, data: bytes) -> None:
        """Bytes from the client's end of the tunnel."""
        self.received += len(data)
        if self._sink is not None:
            self._sink.body_data(data)

    def fail_body(self, refusal: Refusal) -> None:
        """The request's body is malformed, too large or too slow."""
        self.body_done = True
        self._leave()
        self.refuse(refusal)

    def client_gone(self, reason: EarlyEnd = EarlyEnd.CLIENT_GONE) -> None:
        """The client's connection is gone, or is about to be cut."""
        if self._ended:
            return
        self._ended = True
        if not (self.tunnel and reason is EarlyEnd.CLIENT_GONE):
            self.reason = self.reason or reason
        if not self._started:
            self.status = CLIENT_GONE
        self._record()
        self._leave()

    # -- the end

    def _end(self) -> None:
        """The response is written. Dropping its maker leaves no cycle for the garbage collector (2 % of CPU)."""
        self._ended = True
        self.responder = None
        self._sink = None
        self._carrier.response_done()

    def _leave(self) -> None:
        responder, self.responder = self.responder, None
        self._sink = None
        if responder is not None:
            responder.client_gone()

    def _record(self, unsent: int = 0, *, unseen: bool = False, opens_tunnel: bool = False) -> bool:
        """Write the audit record, once. False if it could not be written: then the response is replaced, or cut.

        ``unsent`` bytes of ``sent`` are sent only if it was written. ``unseen``: no byte of the response was sent. The record
        that a tunnel opens comes before that one.
        """
        if self._recorded:
            return True
        self._recorded = not opens_tunnel
        site = self._carrier.site
        head = self.asked or self.head
        connection = self.connection
        decision = self.decision
        record = AccessRecord()
        if decision is None:
            sink = site.audit
            record.address = connection.address
            record.principal = None
            record.route = record.upstream = ""
        else:
            route = decision.route
            sink = route.audit
            record.address = decision.address
            record.principal = decision.principal
            record.route = route.name
            record.upstream = self.upstream or route.target.name
        record.time = self.time
        record.duration = site.clock() - self.time
        record.listener = connection.listener
        record.tls = connection.tls
        record.method = head.method
        record.target = head.target
        record.version = head.version
        record.host = head.host
        record.headers = head.headers
        record.status = self.status
        record.sent = self.sent
        record.received = self.received
        record.event = self.event
        record.command = self.command
        record.request_id = self.id_line[14:-2]  # as `id_in`, without the call
        record.reason = _TUNNEL_OPENED if opens_tunnel else self.reason
        refusal = self.refusal
        if refusal is None:
            record.detail = ""
            record.attempted_user = None
        else:
            record.detail = refusal.detail
            record.attempted_user = refusal.attempted_user
        written = sink.record(record) or self._unrecorded(sink, record, unsent, unseen)
        if self.trace is not None and not opens_tunnel:
            self.trace.end(record)
        return written

    def _unrecorded(self, sink: IAuditSink, record: AccessRecord, unsent: int, unseen: bool) -> bool:
        """The record is not in the file: make it say what the client sees instead of the response (attack 41)."""
        if self.reason == AuditUnavailable.reason:
            # This answer may go out: its record waits, and is written once the log works.
            sink.keep(record)
            return True
        if self._ended:  # the client has left, or the response was cut for another reason
            sink.keep(record)
        elif unseen:
            self._refuse_unrecorded(sink, record)
        else:
            record.reason = AuditUnavailable.reason
            record.detail = sink.problem()
            record.sent -= unsent
            sink.keep(record)
            self._ended = True
            self._leave()
            self._carrier.abort()
        return False

    def _refuse_unrecorded(self, sink: IAuditSink, record: AccessRecord) -> None:
        """Answer 503 in the place of a response of which nothing was written."""
        refusal = AuditUnavailable(sink.problem())
        carrier = self._carrier
        carrier.site.refusals.note(refusal, self)
        status, lines, body = carrier.site.answers.render(refusal, self.head.headers, self.id_line)
        bodiless = self.head.method == b"HEAD"
        self.status = record.status = status
        self.sent = record.sent = 0 if bodiless else len(body)
        self.reason = record.reason = refusal.reason
        record.detail = refusal.detail
        sink.keep(record)
        self._leave()
        if self.held:
            carrier.writer.discard_head()
        carrier.writer.whole(status, lines + self.answer_lines, body, b"", bodiless)
        self._end()


def refuse_on_error(exchange: Exchange, error: BaseException) -> None:
    """Answer with what ``error`` says; anything but a `Refusal` is a bug: it is logged whole and answered with 500."""
    if isinstance(error, Refusal):
        exchange.refuse(error)
        return
    _log.failure("a request ended in an unexpected error", failure=Failure(error), request_id=exchange.request_id)
    exchange.refuse(InternalError("an unexpected error"))
