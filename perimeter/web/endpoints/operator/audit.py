"""The search in the audit logs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from perimeter.audit.search import Answer, StaleCursor, search
from perimeter.audit.wanted import Wanted, at
from perimeter.config.site.audit import AuditFormat
from perimeter.errors import Overloaded
from perimeter.offload import Offload
from perimeter.web.endpoints.operator.section import Asked, Section, moment

_STATUS: Final = re.compile(r"0|[1-5](?:[0-9]{2}|xx)")
_FIELDS: Final = ("log", "user", "path", "status", "reason", "request_id", "since", "until")
_LONGEST: Final = 1024

EVERY: Final = 1.0
"""Seconds between the beginnings of two searches."""


class Searches:
    """Lets one search run at a time, and one begin in `EVERY` seconds, because a search slows all requests.

    A search that comes too early waits for its turn. Meanwhile, and during a search, further searches are refused.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._taken = False
        self._next = clock.seconds()

    async def run(self, offload: Offload, path: Path, wanted: Wanted, cursor: str) -> Answer:
        """`perimeter.audit.search.search` in a thread. Raises its exceptions, and `Overloaded` if another search runs."""
        if self._taken:
            raise Overloaded("another search in the audit log is under way", retry_after=2)
        self._taken = True
        try:
            rest = min(EVERY, self._next - self._clock.seconds())  # the clock may have been set back
            if rest > 0:
                await deferLater(self._clock, rest)
            self._next = self._clock.seconds() + EVERY
        except BaseException:  # the client has left
            self._taken = False
            raise
        answer: Deferred[Answer] = Deferred()
        offload.run(search, path, wanted, cursor).addBoth(self._ended, answer)
        return await answer

    def _ended(self, result: Any, answer: Deferred[Answer]) -> None:
        """The thread is done, whether or not the client has left meanwhile."""
        self._taken = False
        if not answer.called:
            answer.callback(result)


def _wanted(asked: Asked) -> Wanted:
    """What is searched for. Raises ValueError with what is wrong."""
    status = asked.field("status").lower()
    if status and not _STATUS.fullmatch(status):
        raise ValueError("A status is a number like 401, a class like 4xx, or 0 for no answer.")
    try:
        since, until = at(asked.field("since")), at(asked.field("until"))
    except (ValueError, OverflowError):
        raise ValueError("A time looks like 2026-11-27 or 2026-11-27T13:30.") from None
    texts = {name: asked.field(name)[:_LONGEST] for name in ("user", "path", "reason", "request_id")}
    return Wanted(status=status, since=since, until=until, **texts)


@attrs.frozen
class AuditSearch:
    """The section. ``searches`` are those of all operators."""

    searches: Searches

    async def show(self, asked: Asked) -> Mapping[str, Any]:
        """What was found, if something was searched for."""
        assembly = asked.gateway.assembly
        logs = {str(path): path for path in assembly.audit.paths}
        log = asked.field("log") if asked.field("log") in logs else next(iter(logs), "")
        given = {name: asked.field(name)[:_LONGEST] for name in _FIELDS}
        values: dict[str, Any] = {
            "given": given,
            "logs": list(logs),
            "log": log,
            "has_reasons": assembly.config.audit.format is AuditFormat.JSON,
            "answer": None,
            "error": "",
            "more": "",
        }
        if asked.field("search") != "1" or not log:
            return values
        try:
            answer = await self.searches.run(asked.gateway.offload, logs[log], _wanted(asked), asked.field("cursor"))
        except StaleCursor:
            values["error"] = "The file that was searched is gone. Search again."
        except ValueError as error:
            values["error"] = str(error)
        except OSError as error:
            values["error"] = f"The log cannot be read: {error.strerror}"
        else:
            kept = {name: value for name, value in given.items() if value}
            values["answer"] = answer
            values["hits"] = [_hit(hit) for hit in answer.hits]
            values["read"] = f"{answer.read / 1024 / 1024:.1f} MiB"
            if answer.cursor:
                values["more"] = "?" + urlencode({**kept, "search": "1", "cursor": answer.cursor})
        return values

    def section(self) -> Section:
        """As a section of the page."""
        return Section("audit", "Audit log", "operator_audit.html", self.show, "audit_search")


def _hit(hit: Any) -> dict[str, str]:
    line = hit.line
    user = line.user.decode("utf-8", "replace")
    attempted = line.attempted.decode("utf-8", "replace")
    return {
        "time": moment(line.time.timestamp()),
        "address": line.address,
        "user": user if user != "-" or not attempted else f"({attempted})",
        "request": f"{line.method} {line.target}".strip() or "-",
        "status": line.status,
        "reason": line.reason,
        "event": line.event,
        "text": hit.text,
        "state": "bad"
        if line.status.startswith("5") or line.status == "0"
        else "warn"
        if line.status.startswith("4")
        else "good",
    }
