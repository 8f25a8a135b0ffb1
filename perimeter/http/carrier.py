"""The interface between an exchange and its carrier: a connection of HTTP/1.1, or a stream of HTTP/2.

A `perimeter.http.exchange.Exchange` knows the rules of a request and its response; a `Carrier` knows the wire. `ResponseWriter`
is the part of the carrier that puts a response into the bytes or frames of its protocol.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from perimeter.model import Field

if TYPE_CHECKING:
    from perimeter.audit.sink import IAuditSink
    from perimeter.http.answers import Answers
    from perimeter.http.refusals import RefusalLog


class ExchangeSite(Protocol):
    """What all exchanges of a listener share. A reload may replace its attributes between requests."""

    clock: Callable[[], float]
    #: makes the id of a request, and its header line (`perimeter.http.request_ids`)
    next_id_line: Callable[[], bytes]
    answers: Answers
    refusals: RefusalLog
    #: takes the records of exchanges without a route
    audit: IAuditSink


class ResponseWriter(Protocol):
    """Writes one response: `interim` any number of times, then `whole`, or `head`, `data` and `end`.

    ``lines`` are whole header lines, each with its CRLF, without those that concern framing or the connection. ``bodiless``: the
    response has no body whatever ``length`` says (HEAD, 204, 304).
    """

    def whole(self, status: int, lines: bytes, body: bytes, reason: bytes, bodiless: bool) -> None:
        """The response, all at once. ``body`` is not sent if ``bodiless``."""

    def head(self, status: int, lines: bytes, length: int | None, reason: bytes, bodiless: bool, hold: bool) -> None:
        """Begin the response. ``length`` is that of the body in bytes, or None if it is not known.

        With ``hold`` the head waits for the first `data`, for `end`, or for `flush`.
        """

    def flush(self) -> None:
        """Send a head that waits."""

    def discard_head(self) -> None:
        """Forget a head that waits: another response is written in its place."""

    def data(self, data: bytes) -> None:
        """Some bytes of the body, at least one."""

    def end(self, trailers: Sequence[Field]) -> None:
        """The response is complete."""

    def interim(self, status: int, lines: bytes) -> None:
        """An informational response (RFC 9110, section 15.2), if the client's version has them."""

    def raw(self, data: bytes) -> None:
        """Bytes of a tunnel."""


class Carrier(Protocol):
    """The interface of a carrier for its exchange."""

    @property
    def site(self) -> ExchangeSite:
        """What all exchanges of the listener share."""

    @property
    def writer(self) -> ResponseWriter:
        """Writes the response."""

    def body_wanted(self) -> None:
        """The exchange has a sink: deliver the body to `Exchange.body_data` and `Exchange.body_end` as it comes."""

    def discard_body(self) -> None:
        """A response begins, and the body has no sink: skip it."""

    def flow_changed(self) -> None:
        """``Exchange.body_paused`` has changed: read from the client, or stop."""

    def open_tunnel(self, lines: bytes) -> None:
        """Accept the upgrade, with ``lines``. From now on all bytes go to `Exchange.tunnel_receive`."""

    def close_after(self) -> None:
        """The exchange must be the connection's last: its framing is in doubt. HTTP/2 has nothing to do."""

    def response_done(self) -> None:
        """The response is written."""

    def abort(self) -> None:
        """Cut off the response, so that the client sees that it is not whole: reset the connection or the stream."""
