"""Filters for audit logs: the parts that a line must have, and the lines of a text that may have them. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from json.encoder import encode_basestring_ascii as quote

import attrs

from perimeter.audit.escaping import escape_text
from perimeter.audit.formats import user_column
from perimeter.audit.reading import Line


@attrs.frozen
class Wanted:
    """A filter for lines. An empty value, or None, matches any line.

    ``user`` is a user's name (``-``: no user), also that of a login that failed; ``path`` is the beginning of the target;
    ``status`` is a number, or a class like ``4xx``; ``reason`` is a code; times are epoch seconds; ``request_id`` is the whole
    id.
    """

    user: str = ""
    path: str = ""
    status: str = ""
    reason: str = ""
    since: float | None = None
    until: float | None = None
    request_id: str = ""

    def matches(self, line: Line) -> bool:
        """Whether ``line`` matches all parts of the filter."""
        if self.user and _column(self.user) not in (line.user, line.attempted):
            return False
        if self.path and not line.target.startswith((self.path, escape_text(self.path).decode())):
            return False
        if self.status and line.status != self.status and not (self.status[1:] == "xx" and line.status[0] == self.status[0]):
            return False
        if self.reason and line.reason != self.reason:
            return False
        if self.request_id and line.request_id != self.request_id:
            return False
        moment = line.time.timestamp()
        return (self.since is None or moment >= self.since) and (self.until is None or moment < self.until)

    def needles(self) -> tuple[bytes, ...]:
        """Texts: each matching line contains one of them, in any of the formats; () if any line may match."""
        if self.request_id:
            return (escape_text(self.request_id),)
        if self.user:
            if self.user == "-":
                return b'"user":null', b" - ["
            name = quote(self.user).encode("ascii")
            return b'"user":' + name, b'"attempted_user":' + name, b" " + user_column(self.user) + b" ["
        if self.reason:
            return (b'"reason":' + quote(self.reason).encode("ascii"),)
        if self.path:
            return b'"target":' + quote(self.path).encode("ascii")[:-1], b" " + escape_text(self.path)
        if self.status:
            digits = self.status.removesuffix("xx").encode("ascii", "replace")
            return b'"status":' + digits, b'" ' + digits
        return ()


def _column(user: str) -> bytes:
    return user_column(None if user == "-" else user)


def candidates(lines: bytes, needles: Sequence[bytes]) -> Iterator[tuple[int, bytes]]:
    """The whole lines in ``lines`` that have one of ``needles`` (or all lines, if there are none), in their order.

    Each line has its offset, and no newline.
    """
    if not needles:
        at = 0
        while (end := lines.find(b"\n", at)) >= 0:
            yield at, lines[at:end]
            at = end + 1
        return
    for start in sorted({begin for needle in needles for begin in _lines_with(needle, lines)}):
        end = lines.find(b"\n", start)
        if end >= 0:
            yield start, lines[start:end]


def _lines_with(needle: bytes, lines: bytes) -> Iterator[int]:
    """The offsets of the lines that contain ``needle``."""
    at = lines.find(needle)
    while at >= 0:
        yield lines.rfind(b"\n", 0, at) + 1
        end = lines.find(b"\n", at)
        at = lines.find(needle, end) if end >= 0 else -1


def at(text: str) -> float | None:
    """The epoch seconds of a time like ``2026-11-22``, ``2026-11-22T13:30`` or ``…+01:00`` (UTC without zone).

    None for "". Raises ValueError and OverflowError.
    """
    if not text:
        return None
    moment = datetime.fromisoformat(text)
    return (moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment).timestamp()
