"""The limits of what a Redis server may send, checked before a byte of it is parsed.

The parser reserves a list of the length that the head of an array announces, so a few bytes could take all memory (attack 172).
"""

from __future__ import annotations

from typing import Final

MOST_BYTES: Final = 16 * 1024 * 1024
"""Bytes of one reply. Callers ask for large ones in parts."""

MOST_ELEMENTS: Final = 262_144
"""Elements of one reply, those of all arrays and maps in it together."""

DEEPEST: Final = 16
"""Arrays and maps inside each other."""

LONGEST_HEAD: Final = 16 * 1024
"""Bytes of a line: a length, a number, a simple string or an error."""

_BULK: Final = frozenset(b"$=")
_FACTORS: Final = {ord("*"): 1, ord("~"): 1, ord("%"): 2}
_LINES: Final = frozenset(b"+-:_,#(")


class BadReply(Exception):
    """What came is no reply, or too large a one. ``str()`` says which."""


class Framing:
    """Follows the replies of one connection (RESP3), from their first byte.

    Replies that come by themselves (push) and attributes are refused: the gateway asks for none.
    """

    def __init__(self) -> None:
        self._rest = b""
        #: bytes of a bulk string, and of the line end after it, that are still to come
        self._skip = 0
        #: for each array that has begun, the outermost first, the elements that are missing in it
        self._open: list[int] = []
        self._elements = 0
        self._bytes = 0

    def check(self, data: bytes) -> None:
        """Follow ``data``, the next part of what was received. Raises `BadReply`."""
        if self._rest:
            data = self._rest + data
            self._rest = b""
        at, end = 0, len(data)
        while at < end:
            if self._skip:
                step = min(self._skip, end - at)
                self._skip -= step
                at += step
                if self._skip:
                    return
                self._complete_one()
                continue
            stop = data.find(b"\r\n", at, at + LONGEST_HEAD)
            if stop < 0:
                self._incomplete(data[at:])
                return
            self._head(data[at], data[at + 1 : stop], stop + 2 - at)
            at = stop + 2

    def _incomplete(self, rest: bytes) -> None:
        if rest[0] not in _BULK and rest[0] not in _FACTORS and rest[0] not in _LINES:
            raise BadReply("it sent what is no reply of Redis")
        if len(rest) >= LONGEST_HEAD:
            raise BadReply("it sent a line that is too long")
        self._rest = rest

    def _head(self, kind: int, text: bytes, length: int) -> None:
        self._bytes += length
        if kind in _BULK:
            size = _length(text)
            self._bytes += size
            if size >= 0:
                self._skip = size + 2
            else:
                self._complete_one()
        elif kind in _FACTORS:
            count = max(0, _length(text)) * _FACTORS[kind]
            self._elements += count
            if not count:
                self._complete_one()
            elif len(self._open) < DEEPEST:
                self._open.append(count)
            else:
                raise BadReply("it sent arrays in arrays in arrays")
        elif kind in _LINES:
            self._complete_one()
        else:
            raise BadReply("it sent what is no reply of Redis")
        if self._bytes > MOST_BYTES or self._elements > MOST_ELEMENTS:
            raise BadReply("it sent a reply that is too large")

    def _complete_one(self) -> None:
        while self._open:
            self._open[-1] -= 1
            if self._open[-1]:
                return
            self._open.pop()
        self._elements = self._bytes = 0


def _length(text: bytes) -> int:
    """The length in a head, or -1 for none."""
    if text == b"-1":
        return -1
    if not text.isdigit() or len(text) > 10:
        raise BadReply("it sent what is no reply of Redis")
    return int(text)
