"""The daemon's own log, as ``[logging]`` configures it: a Twisted log observer. The audit log is `perimeter.audit.log`.

Every message is one line, whatever it contains (attack 42): invisible characters are escaped, and the lines of a traceback are
indented, so that no text from outside can begin a line. Credentials are removed from messages and tracebacks. That is a last
resort: code must not log them.

A warning or an error that repeats is written once, and then counted (`perimeter.repeats`). An event with ``counted`` is always
written: its sender counts, or an operator has asked for it.
"""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from string import Formatter
from typing import TextIO

from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent, formatTime
from zope.interface import implementer

from perimeter.audit.escaping import Redactor, escape_line, redact, without_signed_tokens
from perimeter.config.site.logging import LogFormat, LoggingSettings
from perimeter.model import TOKEN_PREFIX
from perimeter.repeats import Count, Repeats

_REDACTED = "REDACTED"
_LEVELS = {level.name: rank for rank, level in enumerate(LogLevel.iterconstants())}
_WARN = _LEVELS["warn"]

LIKE = 50
"""Different messages of one format that are written before the rest are counted."""

_Text = tuple[str, str, str]
"""Level, namespace, and text or format of a message."""

# A whole header (as it is sent, or in the repr of a tuple or dict), to the end of its line: a Digest has blanks and quotes in it.
_FIELD = re.compile(r"((?:authorization|cookie)(?:['\"]\s*[,:]|\s*[:=])\s*)\S[^\r\n]*", re.IGNORECASE)
# A credential after its scheme, but not the words that follow a scheme in prose or in a challenge.
_SCHEME = re.compile(
    r"\b(bearer|basic)(\s+|%20|\+)(?!(?:realm=|auth(?:entication)?|tokens?|credentials?|scheme|is|and|or)(?![\w.~+/=-]))[\w.~+/=-]+",
    re.IGNORECASE,
)
_TOKEN = re.compile(rf"\b{TOKEN_PREFIX}[\w-]{{20,}}")
# From the beginning of a word on, and only there: a long word takes time in proportion to its length.
_URL = re.compile(r"(?<![^\s'\"<>])[^\s'\"<>=%@]*+[=%@][^\s'\"<>]*")
# Each look-up of a name opens and closes sockets, and Twisted reports each of these steps.
_LOOKUP = re.compile(
    r"\(UDP Port [0-9]+ Closed\)|DNSDatagramProtocol starting on |(?:Starting|Stopping) protocol <twisted\.names\."
)
_QUOTED = re.compile(r"((?:token|password|passwd|secret)['\"]?\s*(?:=\s*b?['\"]|['\"]\s*[,:]\s*b?['\"]))[^'\"]*", re.IGNORECASE)


def redacted(text: str, redact: Redactor = redact) -> str:
    """``text`` without what looks like a credential."""
    text = _FIELD.sub(rf"\1{_REDACTED}", text)
    text = _SCHEME.sub(rf"\1 {_REDACTED}", text)
    text = without_signed_tokens(_TOKEN.sub(_REDACTED, text))
    text = _QUOTED.sub(rf"\1{_REDACTED}", text)
    return _URL.sub(lambda url: redact(url[0].encode("utf-8", "surrogatepass")).decode("utf-8", "surrogatepass"), text)


def _message(event: LogEvent) -> str:
    if "failure" in event and "log_text" in event:
        # twisted.python.log.err has put the whole traceback into the text.
        return str(event.get("why") or "Unhandled error")
    return formatEvent(event)


def _trace(event: LogEvent) -> str:
    failure = event.get("log_failure", event.get("failure"))
    if failure is None:
        return ""
    try:
        return str(failure.getTraceback()).rstrip("\n")
    except Exception as error:
        return f"(no traceback: {type(error).__name__})"


def _level(event: LogEvent) -> str:
    level = event.get("log_level")
    return getattr(level, "name", "info")


def console_line(event: LogEvent, redact: Redactor = redact, slot: int | None = None) -> str:
    """``2026-11-22T12:00:00+0000 info perimeter.gate: …``, local time; a traceback follows, indented.

    ``slot`` is that of a worker: ``2026-11-22T12:00:00+0000 info perimeter.gate slot=0: …``. If the event is about one request
    and has its ``request_id``, the line ends with it.
    """
    stamp = formatTime(event.get("log_time", time.time()))
    namespace = escape_line(str(event.get("log_namespace", "-")))
    place = "" if slot is None else f" slot={slot}"
    request = f" (request_id {escape_line(event['request_id'])})" if event.get("request_id") else ""
    line = f"{stamp} {_level(event)} {namespace}{place}: {escape_line(redacted(_message(event), redact))}{request}\n"
    trace = _trace(event)
    if trace:
        # Only at newlines: every other character that some program takes for a line end is escaped.
        line += "".join(f"    {escape_line(part)}\n" for part in redacted(trace, redact).split("\n"))
    return line


@lru_cache(maxsize=1024)
def _names(words: str) -> tuple[str, ...]:
    """The names of the values in the format of a message. Empty for a message that is one value."""
    try:
        parts = list(Formatter().parse(words))
    except ValueError:
        return ()
    if len(parts) == 1 and not parts[0][0]:
        return ()
    return tuple(dict.fromkeys(name for _, name, _, _ in parts if name and name.isidentifier()))


def _clean(text: str) -> str:
    # Strict readers refuse a line with a lone surrogate.
    return text.encode("utf-8", "backslashreplace").decode()


def _values(event: LogEvent, redact: Redactor) -> dict[str, object]:
    """The values in the message that are text, a path or an integer."""
    found: dict[str, object] = {}
    for name in _names(str(event.get("log_format") or "")):
        value = event.get(name)
        if isinstance(value, int):
            found[name] = value
        elif isinstance(value, str | Path):
            found[name] = _clean(redacted(str(value), redact))
    return found


def json_line(event: LogEvent, redact: Redactor = redact, slot: int | None = None) -> str:
    """One JSON object: time (UTC), level, namespace and message; first the ``slot`` of a worker.

    Where there are any: ``values``, those in the message, such as address and reason; ``request_id``; ``trace``, a traceback.
    """
    when = event.get("log_time", time.time())
    message = _message(event)
    shown = redacted(message, redact)
    fields: dict[str, object] = {
        "time": f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(when))}.{int(when % 1 * 1000):03}Z",
        "level": _level(event),
        "namespace": _clean(str(event.get("log_namespace", "-"))),
        "message": _clean(shown),
    }
    # a secret may not be recognisable without the words around it
    values = _values(event, redact) if shown == message else {}
    if values:
        fields["values"] = values
    if event.get("request_id"):
        fields["request_id"] = _clean(str(event["request_id"]))
    trace = _trace(event)
    if trace:
        fields["trace"] = _clean(redacted(trace, redact))
    return json.dumps(fields if slot is None else {"slot": slot, **fields}) + "\n"


_FORMATS = {LogFormat.CONSOLE: console_line, LogFormat.JSON: json_line}


@implementer(ILogObserver)
class DaemonLog:
    """Writes events of at least ``settings.level`` to ``outfile``, and flushes each. Never raises. Skips audit records.

    ``clock`` returns seconds. ``slot`` is that of a worker, and is in each line. The owner calls `report`
    about once a second, and `finish` at the end.
    """

    def __init__(
        self, settings: LoggingSettings, outfile: TextIO, clock: Callable[[], float] = time.time, slot: int | None = None
    ) -> None:
        self.configure(settings)
        self._same: Repeats[_Text] = Repeats(clock)
        self._alike: Repeats[_Text] = Repeats(clock, LIKE)
        self._outfile = outfile
        self._slot = slot
        self._encoding = getattr(outfile, "encoding", None) or "utf-8"

    def configure(self, settings: LoggingSettings, secrets: Sequence[str] = ()) -> None:
        """Use ``settings`` from now on. ``secrets`` are more parameters to redact in URLs (`Redactor`)."""
        self._redact = Redactor(secrets)
        self._least = _LEVELS[settings.level]
        self._make_line = _FORMATS[settings.format]

    def __call__(self, event: LogEvent) -> None:
        """Write the event, unless it is below the level."""
        if "access_record" in event or _LEVELS.get(_level(event), self._least) < self._least:
            return
        try:
            if event.get("log_namespace") == "log_legacy" and _LOOKUP.match(_message(event)):
                return
            if _LEVELS.get(_level(event), 0) >= _WARN and not event.get("counted") and self._held_back(event):
                return
            line = self._make_line(event, self._redact, self._slot)
        except Exception as error:
            # An event that cannot be turned into text must not be lost silently.
            line = self._make_line(
                {"log_format": "An event cannot be written: {kind}", "kind": type(error).__name__}, self._redact, self._slot
            )
        self._write(line)

    def report(self) -> None:
        """Write the counts that are due."""
        self._write_counts(self._same.due(), self._alike.due())

    def finish(self) -> None:
        """Write all counts, at the end."""
        self._write_counts(self._same.rest(), self._alike.rest())

    def _held_back(self, event: LogEvent) -> bool:
        """Count the event. Returns whether it is not written."""
        level, namespace = _level(event), str(event.get("log_namespace", "-"))
        failure = event.get("log_failure", event.get("failure"))
        kind = "" if failure is None else f" ({getattr(failure.type, '__name__', '?')})"
        if not self._same.admit((level, namespace, _message(event) + kind)):
            return True
        return not self._alike.admit((level, namespace, str(event.get("log_format", ""))))

    def _write_counts(self, same: list[Count[_Text]], alike: list[Count[_Text]]) -> None:
        for counts, words in ((same, "{text}: {more} more in {seconds} s"), (alike, "{more} more like {text!r} in {seconds} s")):
            for count in counts:
                level, namespace, text = count.key or ("warn", __name__, "messages of other kinds")
                if _LEVELS[level] >= self._least:
                    self._write(
                        self._make_line(
                            {
                                "log_format": words,
                                "log_level": LogLevel.lookupByName(level),
                                "log_namespace": namespace,
                                "text": text,
                                "more": count.more,
                                "seconds": round(count.seconds),
                            },
                            self._redact,
                            self._slot,
                        )
                    )

    def _write(self, line: str) -> None:
        # The gateway goes on serving if its log cannot be written. ValueError: the file is closed.
        with contextlib.suppress(OSError, ValueError):
            self._outfile.write(line.encode(self._encoding, "backslashreplace").decode(self._encoding))
            self._outfile.flush()
