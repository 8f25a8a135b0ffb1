"""One request and its response on a client's connection: the object that every target works on.

The exchange knows the rules of answering (framing by version, no body for HEAD, one final response), counts octets, and
sees to it that exactly one `AccessRecord` is written, whatever the end, and before the last octet of the response leaves.
The bytes of the connection are `perimeter.http.h1.connection`'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from twisted.logger import Logger
from twisted.python.failure import Failure

from perimeter.errors import AuditUnavailable, InternalError, Refusal
from perimeter.http.h1.framing import ChunkedReader, LengthReader, chunk, last_chunk
from perimeter.http.reasons import REASONS
from perimeter.http.request_side import RequestSide
from perimeter.model import AccessRecord, ClientConnection, EarlyEnd, Field, RequestHead

if TYPE_CHECKING:
    from perimeter.http.h1.connection import Channel
    from perimeter.http.roles import Admission, IBodySink, IResponder

_log = Logger()

#: The status that the audit log shows where the client left before any answer (nginx's number for it).
CLIENT_GONE = 499


class Exchange(RequestSide):
    """A request, and what becomes of it.

    ``decision`` is what the gate found, set as soon as there is a route; ``responder`` is set by the target that produces the
    response; ``asked`` is the request that a proxy asks about, if this one is such a question: the audit log shows that one.
    """

    __slots__ = (
        "_body_left",
        "_chunking",
        "_head_waiting",
        "_recorded",
        "_started",
        "asked",
        "close",
        "connection",
        "decision",
        "reason",
        "responder",
        "sent",
        "status",
        "time",
        "tunnel",
        "upstream",
    )

    def __init__(self, channel: Channel, head: RequestHead, connection: ClientConnection, time: float) -> None:
        self._channel = channel
        self.head = head
        self.connection = connection
        self.time = time
        self.decision: Admission | None = None
        self.responder: IResponder | None = None
        self.asked: RequestHead | None = None
        #: name of the target, for the audit log, where it is not the route's own
        self.upstream = ""
        self.reason = ""
        self.status = 0
        self.sent = 0
        self.received = 0
        self.max_body = None
        self.tunnel = False
        self._sink = None
        self._paused = False
        self._started = False
        self._ended = False
        self._recorded = False
        self._chunking = False
        self._head_waiting = b""
        self._body_left: int | None = 0
        headers = head.headers
        self._reader = None
        if headers.chunked:
            self._reader = ChunkedReader()
        elif headers.content_length:
            self._reader = LengthReader(headers.content_length)
        self.body_done = self._reader is None
        self._continue = headers.expect_continue and not self.body_done and head.minor == 1
        #: the connection ends with this exchange
        self.close = headers.close or (head.minor == 0 and not headers.keep_alive)

    # -- the response

    @property
    def started(self) -> bool:
        """Whether a response has begun: from then on an error can only cut the connection."""
        return self._started

    @property
    def ended(self) -> bool:
        """Whether the response is complete, or never will be."""
        return self._ended

    def date_line(self) -> bytes:
        """The Date field line for now."""
        return self._channel.site.answers.date()

    def start(self, status: int, lines: bytes, length: int | None, reason: bytes = b"", *, flush: bool = True) -> None:
        """Begin the final response.

        ``lines`` are whole field lines, each with its CRLF, without the fields that concern framing or the connection. ``length``
        is the number of octets that will be written, or None where it is not known. Without ``flush`` the head waits for
        the first `write`, or for `flush`.
        """
        if self._ended:
            return
        head = self._begin(status, lines, length, reason)
        if self._body_left == 0 and not self._record():
            return
        if flush:
            self._channel.send(head)
        else:
            self._head_waiting = head

    def flush(self) -> None:
        """Send a head that `start` kept back."""
        if self._head_waiting and not self._ended:
            head, self._head_waiting = self._head_waiting, b""
            self._channel.send(head)

    def _begin(self, status: int, lines: bytes, length: int | None, reason: bytes) -> bytes:
        """Decide the response's framing (RFC 9112, section 6.3) and return its head."""
        self._started = True
        self.status = status
        if not self.body_done and self._sink is None:
            self._channel.discard_body()
        head = self.head
        bodiless = head.method == b"HEAD" or status == 304 or status == 204
        framing = b""
        if length is not None:
            self._body_left = 0 if bodiless else length
            if status != 204:
                framing = b"Content-Length: %d\r\n" % length
        elif bodiless:
            self._body_left = 0
        else:
            self._body_left = None
            if head.minor:
                self._chunking = True
                framing = b"Transfer-Encoding: chunked\r\n"
            else:
                self.close = True
        if self.close or self._channel.closing:
            self.close = True
            framing += b"Connection: close\r\n"
        elif not head.minor:
            framing += b"Connection: keep-alive\r\n"
        return b"HTTP/1.1 %d %b\r\n%b%b\r\n" % (status, reason or REASONS.get(status, b""), lines, framing)

    def write(self, data: bytes) -> None:
        """Some octets of the response's body; what exceeds the promised length is a fault of the caller and cuts the
        connection."""
        if self._ended or not data:
            return
        left = self._body_left
        if left is None:
            self.sent += len(data)
            if self._chunking:
                data = chunk(data)
        elif left == 0:
            # HEAD and 304 have a body that is not sent; anything else was announced as shorter.
            if not (self.head.method == b"HEAD" or self.status in (204, 304)):
                self.abort(EarlyEnd.RESPONSE_TOO_LONG)
            return
        else:
            size = len(data)
            if size > left:
                self.abort(EarlyEnd.RESPONSE_TOO_LONG)
                return
            self.sent += size
            self._body_left = left - size
            if size == left and not self._record():
                return
        if self._head_waiting:
            data = self._head_waiting + data
            self._head_waiting = b""
        self._channel.send(data)

    def finish(self, trailers: Sequence[Field] = ()) -> None:
        """The response is complete. A body shorter than its promised length cuts the connection."""
        if self._ended:
            return
        if self._body_left:
            self.abort(EarlyEnd.RESPONSE_TOO_SHORT)
            return
        if not self._recorded and not self._record():
            return
        if self._chunking:
            self._channel.send(self._head_waiting + last_chunk(trailers))
        elif self._head_waiting:
            self._channel.send(self._head_waiting)
        self._end()

    def answer(self, status: int, lines: bytes, body: bytes, reason: bytes = b"") -> None:
        """A whole response at once, in one write."""
        if self._ended:
            return
        # A 304 without a body says nothing of the length that a 200 would have (RFC 9110, section 8.6).
        head = self._begin(status, lines, None if status == 304 else len(body), reason)
        if self._body_left:
            self.sent = len(body)
            head += body
        if not self._record():
            return
        self._channel.send(head)
        self._end()

    def refuse(self, refusal: Refusal) -> None:
        """Answer with an error, or cut the connection where a response has begun."""
        if self._ended:
            return
        self.reason = refusal.reason
        if refusal.status >= 500:
            _log.warn("{reason}: {detail}", reason=refusal.reason, detail=refusal.detail)
        if self._started:
            self.abort(refusal.reason)
            return
        if refusal.close:
            self.close = True
        if not self.body_done:
            self._sink = None  # whoever took the body has failed: the channel skips the rest of it
        status, lines, body = self._channel.site.answers.render(refusal, self.head.headers)
        self.answer(status, lines, body)

    def interim(self, status: int, lines: bytes) -> None:
        """Pass on an informational response (RFC 9110, section 15.2), which HTTP/1.0 does not know."""
        if self.head.minor and not self._started and not self._ended:
            self._channel.send(b"HTTP/1.1 %d \r\n%b\r\n" % (status, lines))

    def abort(self, reason: str) -> None:
        """Cut the connection: the client sees that the response is not whole. ``reason`` is an `EarlyEnd`, or a refusal's."""
        if self._ended:
            return
        self.reason = self.reason or reason
        self._ended = True
        self._record()
        self._leave()
        self._channel.abort()

    # -- the tunnel (RFC 9110, section 7.8)

    def switch(self, lines: bytes, sink: IBodySink) -> None:
        """Answer 101 and let the connection become a tunnel: what the client sends goes to ``sink`` as it comes."""
        self._sink = sink
        self._started = True
        self.status = 101
        self.tunnel = True
        self.body_done = True
        self.close = True
        self._channel.send(b"HTTP/1.1 101 Switching Protocols\r\n%b\r\n" % lines)
        self._channel.body_wanted()

    def tunnel_receive(self, data: bytes) -> None:
        """Octets from the client's end of the tunnel."""
        self.received += len(data)
        if self._sink is not None:
            self._sink.body_data(data)

    def tunnel_send(self, data: bytes) -> None:
        """Octets to the client's end of the tunnel."""
        if not self._ended:
            self.sent += len(data)
            self._channel.send(data)

    def tunnel_close(self, reason: EarlyEnd | None = None) -> None:
        """The upstream's end has closed: what is under way is delivered, then the client's end closes too."""
        if not self._ended:
            self.reason = self.reason or reason or ""
            self._record()
            self._ended = True
            self._channel.response_done(self)

    # -- the end

    def client_gone(self, reason: EarlyEnd = EarlyEnd.CLIENT_GONE) -> None:
        """The client's connection is gone (from the channel)."""
        if self._ended:
            return
        self._ended = True
        if not (self.tunnel and reason is EarlyEnd.CLIENT_GONE):
            self.reason = self.reason or reason
        if not self._started:
            self.status = CLIENT_GONE
        self._record()
        self._leave()

    def withdraw(self, refusal: Refusal) -> None:
        """Refuse a request that was admitted before: answer with ``refusal``, or cut a response that has begun."""
        if not self._started:
            self._leave()
        self.refuse(refusal)

    def fail_body(self, refusal: Refusal) -> None:
        """The request's body turned out to be malformed, too large or too slow (from the channel)."""
        self.body_done = True
        self.close = True
        self._leave()
        self.refuse(refusal)

    def _end(self) -> None:
        """The response is written. Letting go of its maker leaves no cycle for the garbage collector (2 % of CPU)."""
        self._ended = True
        self.responder = None
        self._sink = None
        self._channel.response_done(self)

    def _leave(self) -> None:
        responder, self.responder = self.responder, None
        self._sink = None
        if responder is not None:
            responder.client_gone()

    def _record(self) -> bool:
        """Write the audit record, once. False where it could not be written: then the connection is cut."""
        if self._recorded:
            return True
        self._recorded = True
        channel = self._channel
        head = self.asked or self.head
        connection = self.connection
        decision = self.decision
        sink = channel.site.audit
        address = connection.address
        principal = None
        route = upstream = ""
        if decision is not None:
            sink = decision.route.audit
            address = decision.address
            principal = decision.principal
            route = decision.route.name
            upstream = self.upstream or decision.route.target.name
        record = AccessRecord()
        record.time = self.time
        record.duration = channel.site.clock() - self.time
        record.address = address
        record.listener = connection.listener
        record.tls = connection.tls
        record.method = head.method
        record.target = head.target
        record.version = "HTTP/1.1" if head.minor else "HTTP/1.0"
        record.host = head.host
        record.headers = head.headers
        record.status = self.status
        record.sent = self.sent
        record.received = self.received
        record.principal = principal
        record.route = route
        record.upstream = upstream
        record.reason = self.reason
        # The answer that the audit log is out of order may go out: its record waits, and is written once the log works.
        if sink.record(record) or self.reason == AuditUnavailable.reason:
            return True
        self._ended = True
        self._leave()
        channel.abort()
        return False


def refuse_on_error(exchange: Exchange, error: BaseException) -> None:
    """Answer with what ``error`` says; anything but a `Refusal` is a bug: it is logged whole and answered with 500."""
    if isinstance(error, Refusal):
        exchange.refuse(error)
        return
    _log.failure("a request ended in an unexpected error", failure=Failure(error))
    exchange.refuse(InternalError("an unexpected error"))
