"""HTTP/1.1 on the wire: status line, framing and Connection of a response (RFC 9112, sections 4, 6, 7 and 9).

One writer serves all responses of a connection, one after the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from perimeter.http.h1.framing import chunk, last_chunk
from perimeter.http.h1.phrases import PHRASES
from perimeter.model import Field, Version

_HTTP_1_0 = Version.HTTP_1_0


class Taking(Protocol):
    """The part of a transport that is needed here."""

    def write(self, data: bytes) -> None:
        """Send ``data``."""


#: The start of what a client of HTTP/2 sends first (RFC 9113, section 3.4). It looks like a request line.
HTTP_2_PREFACE = b"PRI * HTTP/2.0"
#: An empty SETTINGS frame, the first that a server sends (section 3.4), and GOAWAY (section 6.8): nothing was processed, and "the
#: endpoint requires that HTTP/1.1 be used instead of HTTP/2" (section 7, HTTP_1_1_REQUIRED).
_HTTP_1_1_REQUIRED = bytes((0, 0, 0, 4, 0, 0, 0, 0, 0)) + bytes((0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 13))


class Writer:
    """A `perimeter.http.carrier.ResponseWriter`. ``to`` takes the bytes: a transport.

    ``version`` is the request's. ``last``: the connection ends with this response, which is announced if the head has not been
    written yet. The connection sets both for each request. ``until_close``: the response that was begun ends with the connection.
    """

    __slots__ = ("_chunking", "_head", "_to", "last", "until_close", "version")

    def __init__(self, to: Taking) -> None:
        self._to = to
        self._chunking = False
        self._head = b""
        self.version = Version.HTTP_1_1
        self.last = False
        self.until_close = False

    def whole(self, status: int, lines: bytes, body: bytes, reason: bytes, bodiless: bool) -> None:
        """See `ResponseWriter`: one write."""
        if not bodiless:
            self._to.write(self._text(status, lines, len(body), reason, False) + body)
        else:
            # A 304 without a body says nothing of the length that a 200 would have (RFC 9110, section 8.6).
            self._to.write(self._text(status, lines, None if status == 304 else len(body), reason, True))

    def head(self, status: int, lines: bytes, length: int | None, reason: bytes, bodiless: bool, hold: bool) -> None:
        """See `ResponseWriter`."""
        head = self._text(status, lines, length, reason, bodiless)
        if hold:
            self._head = head
        else:
            self._to.write(head)

    def _text(self, status: int, lines: bytes, length: int | None, reason: bytes, bodiless: bool) -> bytes:
        """The head, with the framing that the response has from now on (RFC 9112, section 6.3)."""
        framing = b""
        if length is not None:
            if status != 204:
                framing = b"Content-Length: %d\r\n" % length
        elif not bodiless:
            if self.version is _HTTP_1_0:
                self.last = self.until_close = True
            else:
                self._chunking = True
                framing = b"Transfer-Encoding: chunked\r\n"
        if self.last:
            framing += b"Connection: close\r\n"
        elif self.version is _HTTP_1_0:
            framing += b"Connection: keep-alive\r\n"
        return b"HTTP/1.1 %d %b\r\n%b%b\r\n" % (status, reason or PHRASES.get(status, b""), lines, framing)

    def flush(self) -> None:
        """See `ResponseWriter`."""
        if self._head:
            head, self._head = self._head, b""
            self._to.write(head)

    def discard_head(self) -> None:
        """See `ResponseWriter`."""
        self._head = b""
        self._chunking = False

    def data(self, data: bytes) -> None:
        """See `ResponseWriter`."""
        if self._chunking:
            data = chunk(data)
        if self._head:
            data = self._head + data
            self._head = b""
        self._to.write(data)

    def end(self, trailers: Sequence[Field]) -> None:
        """See `ResponseWriter`. Trailers are part of chunked framing only."""
        rest, self._head = self._head, b""
        if self._chunking:
            self._chunking = False
            rest += last_chunk(trailers)
        if rest:
            self._to.write(rest)

    def interim(self, status: int, lines: bytes) -> None:
        """See `ResponseWriter`."""
        if self.version is not _HTTP_1_0:
            self._to.write(b"HTTP/1.1 %d \r\n%b\r\n" % (status, lines))

    def proceed(self) -> None:
        """100 Continue (RFC 9110, section 10.1.1)."""
        self._to.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def switch(self, lines: bytes) -> None:
        """101: what follows is a tunnel (RFC 9110, section 7.8)."""
        self._to.write(b"HTTP/1.1 101 Switching Protocols\r\n%b\r\n" % lines)

    def raw(self, data: bytes) -> None:
        """See `ResponseWriter`."""
        self._to.write(data)


class GoAwayWriter(Writer):
    """Answers a client that speaks HTTP/2 in its own protocol: it would not understand a response of HTTP/1.1."""

    __slots__ = ()

    def whole(self, status: int, lines: bytes, body: bytes, reason: bytes, bodiless: bool) -> None:
        """See `ResponseWriter`. The client is asked to use HTTP/1.1, whatever the response says."""
        self._to.write(_HTTP_1_1_REQUIRED)
