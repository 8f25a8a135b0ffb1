"""Reads lines of an audit log back: the parts of a line of any of the formats (`perimeter.audit.formats`). Pure."""

from __future__ import annotations

import json
import re
from datetime import datetime
from functools import lru_cache
from typing import Any

import attrs

from perimeter.audit.formats import user_column

# address, user, time, request, status, length of both text formats: combined has one more column before the user
_TEXT = re.compile(rb'(\S+) (?:- )?(\S+) \[([^\]]+)\] "([^"]*)" (\d{1,3}) (\d{1,18})(?: |\n|$)')
_STATUS = re.compile(r"[0-9]{1,3}")


@attrs.frozen
class Line:
    """The parts of a line. They are escaped as in the file. ``time`` has a zone; ``sent`` is in bytes, ``duration`` in seconds.

    ``user`` is as in the text formats, ``-`` for no user; ``attempted`` is the name of a login that failed. Only lines of the
    JSON format have ``attempted``, ``event``, ``reason`` and ``route``, else they are "", and ``duration``, else it is None.
    ``target`` is "" if none could be read, and ``request_id`` if the line has none.
    """

    time: datetime
    address: str
    user: bytes
    method: str
    target: str
    status: str
    reason: str = ""
    attempted: bytes = b""
    event: str = ""
    sent: int = 0
    route: str = ""
    duration: float | None = None
    request_id: str = ""


def parse_line(line: bytes) -> Line | None:
    """A line of any of the formats, or None."""
    try:
        return _json(line) if line.startswith(b"{") else _text(line)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return None  # RecursionError: deeply nested JSON (attack 95)


def _json(line: bytes) -> Line | None:
    record: dict[str, Any] = json.loads(line)
    attempted, status, sent, duration = (
        record.get("attempted_user"),
        str(record["status"]),
        record.get("sent"),
        record.get("duration"),
    )
    moment = datetime.fromisoformat(record["time"])
    if moment.tzinfo is None or _STATUS.fullmatch(status) is None:
        return None
    return Line(
        time=moment,
        address=str(record.get("address", "")),
        user=_name(record["user"]),
        method=str(record.get("method", "")),
        target=str(record.get("target", "")),
        status=status,
        reason=str(record.get("reason", "")),
        attempted=b"" if attempted is None else _name(attempted),
        event=str(record.get("event") or ""),
        sent=sent if isinstance(sent, int) else 0,
        route=str(record.get("route") or ""),
        duration=duration if isinstance(duration, float) else None,
        request_id=str(record.get("request_id") or ""),
    )


def _name(name: object) -> bytes:
    if name is not None and not isinstance(name, str):
        raise TypeError("not a name")
    return user_column(name)


def _last_column(rest: bytes) -> str:
    """The request id, if there is one: in the text formats it is the last column, without quotes."""
    last = rest.rstrip(b"\n").rpartition(b" ")[2]
    return "" if not last or last == b"-" or last.endswith(b'"') else last.decode("utf-8", "backslashreplace")


@lru_cache(maxsize=256)
def _moment(text: bytes) -> datetime:
    """The time of a text format."""
    return datetime.strptime(text.decode(), "%d/%b/%Y:%H:%M:%S %z")


def _text(line: bytes) -> Line | None:
    match = _TEXT.match(line)
    if match is None:
        return None
    address, user, time, request, status, sent = match.groups()
    method, _, rest = request.decode("utf-8", "backslashreplace").partition(" ")
    return Line(
        time=_moment(time),
        address=address.decode("utf-8", "backslashreplace"),
        user=user,
        method="" if method == "-" else method,
        target=rest.rpartition(" ")[0].removeprefix("-"),
        status=status.decode(),
        sent=int(sent),
        request_id=_last_column(line[match.end(6) :]),
    )
