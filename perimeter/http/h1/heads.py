"""The heads of one connection's requests, out of the bytes that come; what was read before is not read again.

A client that asks again mostly sends the same header block (it saves 5 to 10 µs), and one that polls the same head (3 more).
`perimeter.http.grammar` says what is well formed.
"""

from __future__ import annotations

import re
from typing import Generic, TypeVar

from perimeter.config.site.limits import LimitSettings
from perimeter.connection_faults import begins_tls
from perimeter.errors import BadRequest, HeadTooLarge, TargetTooLong
from perimeter.http.grammar import has_bare_lf, parse_block, parse_request
from perimeter.model import HeaderBlock, RequestHead, ResponseHead, Version

Head = TypeVar("Head", RequestHead, ResponseHead)

_NO_HEADERS = HeaderBlock(())
_EMPTY_LINES = re.compile(rb"\A(?:\r\n)+")
_METHOD = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}(?= )")


class BadHead(Exception):
    """A head that can never become valid. ``line`` is the part of its request line that has arrived."""

    def __init__(self, line: bytes, refusal: BadRequest) -> None:
        super().__init__(refusal.detail)
        self.line = line
        self.refusal = refusal


class HeadMemory(Generic[Head]):
    """The last head of a connection, and the text that it was read from: data that begins with this text has the same head.

    ``head`` may be read once `after` has returned something or `keep` was called.
    """

    __slots__ = ("_text", "head")
    head: Head

    def __init__(self) -> None:
        self._text = b""

    def after(self, data: bytes) -> bytes | None:
        """The data after the head, if ``data`` begins with it."""
        text = self._text
        return data[len(text) :] if text and data.startswith(text) else None

    def keep(self, text: bytes, head: Head) -> None:
        """Remember ``head``, which was read from ``text``."""
        self._text = text
        self.head = head


class HeadReader(HeadMemory[RequestHead]):
    """Reads the heads of requests; ``head`` is the last one."""

    __slots__ = ("_block", "_block_text")

    def __init__(self) -> None:
        super().__init__()
        self._block_text = b""
        self._block = _NO_HEADERS

    def read(self, data: bytes, limits: LimitSettings) -> bytes | None:
        """Read the head at the start of ``data``. Returns what follows it, or None if it is not complete.

        Empty lines before it are ignored (RFC 9112, section 2.2). Raises `BadHead`.
        """
        text = self._text
        if text and data.startswith(text):  # as `after` does: a call would take longer than the rest of it
            return data[len(text) :]
        data = without_empty_lines(data)
        end = data.find(b"\r\n\r\n")
        limit = limits.max_head
        if end < 0 or end > limit:
            _check_incomplete(data, limit)
            return None
        line_end = data.find(b"\r\n")
        line = data[:line_end]
        block = data[line_end + 2 : end + 2]
        try:
            if block == self._block_text:
                headers = self._block
            else:
                headers = parse_block(block, limits.max_headers)
                self._block_text = block
                self._block = headers
            head = parse_request(line, headers)
        except BadRequest as refusal:
            raise BadHead(line, refusal) from None
        self.keep(data[: end + 4], head)
        return data[end + 4 :]


def _check_incomplete(data: bytes, limit: int) -> None:
    if begins_tls(data):
        raise BadHead(b"", BadRequest("a TLS handshake at a listener without TLS: set tls = yes, or let clients use http://"))
    if len(data) > limit:
        overlong_line = data.find(b"\r\n", 0, limit) < 0
        raise BadHead(data[:limit], TargetTooLong("over max_head") if overlong_line else HeadTooLarge("over max_head"))
    if has_bare_lf(data):
        raise BadHead(data.partition(b"\n")[0], BadRequest("a bare LF in the head"))


def without_empty_lines(data: bytes) -> bytes:
    """``data`` without the empty lines before the request line, which are ignored (RFC 9112, section 2.2)."""
    return _EMPTY_LINES.sub(b"", data) if data.startswith(b"\r\n") else data


def remains(data: bytes) -> RequestHead:
    """The part of an invalid head that the audit log may show: its method and target, if it begins with a method at all.

    What does not may be the rest of a body that was longer than its Content-Length: a login form, say (attack 42).
    """
    line = data.partition(b"\r\n")[0]
    method = _METHOD.match(line)
    if method is None:
        return RequestHead(b"", b"", Version.HTTP_1_1, _NO_HEADERS, b"")
    target = line[method.end() + 1 :].partition(b" ")[0]
    return RequestHead(method[0], target, Version.HTTP_1_1, _NO_HEADERS, b"")
