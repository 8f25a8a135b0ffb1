"""Message bodies: where they end, and how they are written (RFC 9112, sections 6 and 7). Pure and incremental.

A reader takes what arrived and returns the bytes of the body and, once the body is complete, what followed it. It raises
`BadRequest` if the framing is malformed; `perimeter.proxy.connection` turns that into an error of the upstream.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Protocol

from perimeter.errors import BadRequest
from perimeter.http.grammar import split_fields
from perimeter.model import Field, HeaderBlock

#: A chunk-size line (RFC 9112, section 7.1). "Recipients MUST anticipate potentially large hexadecimal numerals": 15 digits stay
#: below 2**63, and some servers put zeros before them. "A recipient MUST ignore unrecognized chunk extensions" (section 7.1.1):
#: they are dropped, and those that are not exactly what the grammar says are refused, because parsers disagree about them. White
#: space after the size is BWS (RFC 9110, section 5.6.3), which "MUST" be parsed; some servers pad the size with it.
_SIZE = rb"0{0,32}[0-9A-Fa-f]"
_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
_QUOTED = rb'"[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]*+(?:\\[\t \x21-\x7e\x80-\xff][\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]*+)*"'
_EXTENSION = rb"[ \t]*+;[ \t]*+" + _TOKEN + rb"(?:[ \t]*+=[ \t]*+(?:" + _TOKEN + rb"|" + _QUOTED + rb"))?"
_CHUNK_SIZE = re.compile(rb"(" + _SIZE + rb"{1,15}+)(?:\r\n|((?:" + _EXTENSION + rb")*[ \t]*+)\r\n)")
#: A valid beginning of a chunk-size line that has not arrived completely.
_CHUNK_SIZE_START = re.compile(rb"(?:" + _SIZE + rb"{0,15}+(?:[ \t;][\t\x20-\x7e\x80-\xff]*+)?\r?)?")
#: Bytes of a chunk-size line.
_MAX_SIZE_LINE = 4096
#: Bytes of extensions in a body beyond those that its chunks are worth: 16 each, and two for each byte. Signatures of chunks, for
#: example, take 85 bytes of 64 KiB. More would be a body that costs much and contains nothing (Go CVE-2023-39326).
_MAX_EXCESS = 16 * 1024

#: Chunks that `ChunkedReader.feed` takes apart at a time, for some 0.1 ms: a chunk of one byte costs as much as a long one.
_MOST_CHUNKS = 256

_MAX_TRAILER = 8 * 1024
_MAX_TRAILER_FIELDS = 32


class BodyReader(Protocol):
    """Takes a body apart.

    ``behind``: the reader keeps data that has not been looked at, for the next `feed` (which may be of ``b""``). The caller lets
    others have a turn before that (attack 46).
    """

    trailers: Sequence[Field]
    behind: bool

    def feed(self, data: bytes) -> tuple[bytes, bytes | None]:
        """The bytes of the body in ``data``, and what follows the body: None while the body is not complete."""

    def end(self) -> bool:
        """The connection has ended. Returns whether the body is complete then."""


class LengthReader:
    """A body of a known number of bytes."""

    __slots__ = ("remaining",)
    trailers: Sequence[Field] = ()
    behind = False

    def __init__(self, length: int) -> None:
        self.remaining = length

    def feed(self, data: bytes) -> tuple[bytes, bytes | None]:
        """See `BodyReader`."""
        excess = len(data) - self.remaining
        if excess < 0:
            self.remaining = -excess
            return data, None
        if excess == 0:
            self.remaining = 0
            return data, b""
        body, rest = data[: self.remaining], data[self.remaining :]
        self.remaining = 0
        return body, rest

    def end(self) -> bool:
        """See `BodyReader`."""
        return self.remaining == 0


class CloseReader:
    """A response body that lasts until the upstream closes (RFC 9112, section 6.3, rule 8)."""

    __slots__ = ()
    trailers: Sequence[Field] = ()
    behind = False

    def feed(self, data: bytes) -> tuple[bytes, bytes | None]:
        """See `BodyReader`."""
        return data, None

    def end(self) -> bool:
        """See `BodyReader`."""
        return True


class ChunkedReader:
    """The chunked transfer coding (RFC 9112, section 7.1), bounded in every part."""

    __slots__ = ("_excess", "_in_trailer", "_pending", "_remaining", "behind", "trailers")

    def __init__(self) -> None:
        self.trailers: Sequence[Field] = ()
        self.behind = False
        self._pending = b""
        #: bytes left of the current chunk, with its CRLF; 0 between chunks
        self._remaining = 0
        self._in_trailer = False
        #: bytes of extensions that the chunks so far were not worth
        self._excess = 0

    def feed(self, data: bytes) -> tuple[bytes, bytes | None]:
        """See `BodyReader`."""
        if self._pending:
            data = self._pending + data
            self._pending = b""
        self.behind = False
        parts: list[bytes] = []
        position = self._chunk(data, 0, parts) if self._remaining else 0
        size = len(data)
        left = _MOST_CHUNKS
        while not self._in_trailer:
            if position == size:
                break
            match = _CHUNK_SIZE.match(data, position)
            if match is None or not left:
                self.behind = match is not None
                self._keep(data[position:])
                break
            left -= 1
            position = match.end()
            length = int(match[1], 16)
            if match[2]:
                self._count_extension(position - match.start(), length)
            end = position + length
            if not length:
                self._in_trailer = True
            elif data.startswith(b"\r\n", end):
                parts.append(data[position:end])
                position = end + 2
            else:
                self._remaining = length + 2
                position = self._chunk(data, position, parts)
        else:
            return b"".join(parts), self._trailer(data[position:])
        return b"".join(parts), None

    def _chunk(self, data: bytes, position: int, parts: list[bytes]) -> int:
        """Take the arrived part of an incomplete chunk, and its CRLF; returns the new position."""
        wanted = self._remaining - 2
        if wanted > 0:
            part = data[position : position + wanted]
            parts.append(part)
            self._remaining -= len(part)
            position += len(part)
        if self._remaining <= 2:
            expected = b"\r\n"[2 - self._remaining :]
            ending = data[position : position + len(expected)]
            if not expected.startswith(ending):
                # RFC 9112, section 7.1: chunk = chunk-size [ chunk-ext ] CRLF chunk-data CRLF
                raise BadRequest("a chunk does not end with CRLF")
            self._remaining -= len(ending)
            position += len(ending)
        return position

    def _keep(self, rest: bytes) -> None:
        """Look at ``rest`` the next time: a size line that is not whole, or with ``behind`` more chunks."""
        if not self.behind and (len(rest) > _MAX_SIZE_LINE or not _CHUNK_SIZE_START.fullmatch(rest)):
            raise BadRequest("a chunk size is malformed")
        self._pending = rest

    def _count_extension(self, line: int, length: int) -> None:
        """A chunk of ``length`` bytes has extensions or padding in its size line of ``line`` bytes.

        "A server ought to limit the total length of chunk extensions received in a request" (RFC 9112, section 7.1.1).
        """
        self._excess = max(0, self._excess + line - 16 - 2 * length)
        if line > _MAX_SIZE_LINE or self._excess > _MAX_EXCESS:
            raise BadRequest("the chunk extensions are too large")

    def _trailer(self, data: bytes) -> bytes | None:
        """The trailer section, from its first byte on; returns what follows the body."""
        if data.startswith(b"\r\n"):
            return data[2:]
        lines, end, rest = data.partition(b"\r\n\r\n")
        if len(lines) > _MAX_TRAILER:
            raise BadRequest("the trailer section is too large")
        if not end:
            self._pending = data
            return None
        self.trailers = split_fields(lines + b"\r\n", _MAX_TRAILER_FIELDS)
        return rest

    def end(self) -> bool:
        """See `BodyReader`."""
        return False


def body_reader(headers: HeaderBlock) -> BodyReader | None:
    """The reader of a request's body (RFC 9112, section 6.3), or None if it has no body."""
    if headers.chunked:
        return ChunkedReader()
    return LengthReader(headers.content_length) if headers.content_length else None


def chunk(data: bytes) -> bytes:
    """``data`` (not empty) as one chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def last_chunk(trailers: Sequence[Field]) -> bytes:
    """The end of a chunked body."""
    if not trailers:
        return b"0\r\n\r\n"
    lines = b"".join(b"%b: %b\r\n" % field for field in trailers)
    return b"0\r\n" + lines + b"\r\n"
