"""``[audit]``: the log of requests and who sent them."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

import attrs

from perimeter.config.language.datatypes import (
    BOOLEAN,
    SIZE,
    TEXT,
    BadValue,
    Datatype,
    closest,
    file_path,
    integer,
    list_of,
    one_of,
    optional,
)
from perimeter.config.language.option import SectionKind, option
from perimeter.config.language.settings import Settings


class AuditFormat(StrEnum):
    """The format of a line."""

    REACTOR = "reactor"
    COMBINED = "combined"
    JSON = "json"


class Roll(StrEnum):
    """When a file is rolled, if not by its size."""

    DAILY = "daily"


def _roll(text: str, base: Path) -> Roll | int:
    if text == Roll.DAILY:
        return Roll.DAILY
    try:
        return SIZE.convert(text, base)
    except BadValue:
        raise BadValue("expected daily, or a size such as 100MiB", closest(text, (Roll.DAILY,))) from None


ROLL: Datatype[Roll | int] = Datatype("daily or size", _roll, Roll.DAILY)


@attrs.frozen
class AuditSettings(Settings):
    """``[audit]``. ``roll`` is `Roll.DAILY` or a size in bytes; ``path`` is None if there is no common log."""

    path: Path | None = option(
        optional(file_path()), "the file; not set: only routes with `audit` of their own have an audit log", default=""
    )
    format: AuditFormat = option(
        one_of(AuditFormat), "format of a line: that of Reactor, the Combined Log Format, or a JSON object", default="reactor"
    )
    request_id: bool = option(
        BOOLEAN,
        "`yes` adds the id of the request to each line of the text formats, as the last column; lines in JSON always have it",
        default="no",
    )
    command: bool = option(
        BOOLEAN,
        "`yes` adds the command that `audit_body` of the route finds, in quotes, to each line of the text formats, after all "
        "columns except the id of the request; lines in JSON always have it",
        default="no",
    )
    roll: Roll | int = option(
        ROLL,
        "when to start a new file: `daily` (access.log is renamed to access.log.2026-11-22), or when it reaches a size "
        "(several workers exceed it a little)",
        default="daily",
    )
    keep: int = option(integer(1, 100_000), "number of old files to keep", default="30")
    redact: tuple[str, ...] = option(
        list_of(TEXT),
        "names of more query parameters whose values are secret: the logs show `REDACTED` instead, as they do for "
        "`token`, `code`, `key`, `password` and the like",
        default="",
    )
    strict: bool = option(BOOLEAN, "`yes` completes no response before its record is written", default="yes")


KIND = SectionKind(
    "audit",
    AuditSettings,
    "The audit log: every request, who sent it, and how it was answered.",
    "path = /var/log/perimeter/access.log\nformat = json\nroll = 100MiB\nkeep = 10\nredact = ref, invitation\n",
)
