"""Reads lines of an audit log back: the parts of a line of any of the formats (`perimeter.audit.formats`). Pure."""

from __future__ import annotations

import json
import re
from datetime import datetime

import attrs

from perimeter.audit.formats import user_column

# address, user, time, request, status of both text formats: combined has one more column before the user
_TEXT = re.compile(rb'(\S+) (?:- )?(\S+) \[([^\]]+)\] "([^"]*)" (\d+) \d+(?: |\n|$)')


@attrs.frozen
class Line:
    """The parts of a line. They are escaped as in the file.

    ``user`` is as in the text formats, ``-`` for no user; ``attempted`` is the name of a login that failed. Only lines of the
    JSON format have ``attempted``, ``event`` and ``reason``, else they are "". ``target`` is "" if none could be read.
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


def parse_line(line: bytes) -> Line | None:
    """A line of any of the formats, or None."""
    try:
        return _json(line) if line.startswith(b"{") else _text(line)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _json(line: bytes) -> Line:
    record = json.loads(line)
    attempted = record.get("attempted_user")
    return Line(
        time=datetime.fromisoformat(record["time"]),
        address=str(record.get("address", "")),
        user=user_column(record["user"]),
        method=str(record.get("method", "")),
        target=str(record.get("target", "")),
        status=str(record["status"]),
        reason=str(record.get("reason", "")),
        attempted=b"" if attempted is None else user_column(attempted),
        event=str(record.get("event") or ""),
    )


def _text(line: bytes) -> Line | None:
    match = _TEXT.match(line)
    if match is None:
        return None
    address, user, time, request, status = match.groups()
    method, _, rest = request.decode("utf-8", "backslashreplace").partition(" ")
    return Line(
        time=datetime.strptime(time.decode(), "%d/%b/%Y:%H:%M:%S %z"),
        address=address.decode("utf-8", "backslashreplace"),
        user=user,
        method="" if method == "-" else method,
        target=rest.rpartition(" ")[0].removeprefix("-"),
        status=status.decode(),
    )
