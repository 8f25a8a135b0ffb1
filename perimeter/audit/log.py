"""The audit logs: where a record becomes a line on a file, and what happens when it cannot.

A strict log writes at once, and says so: `AuditLog.record` is True only where the line is on the file. When writing
fails (the disk is full, say) it is False, the log is unhealthy, and the lines are kept for a better time; once a second
it is tried again, with those lines. A log that is not strict collects the lines of one turn of the event loop, and loses, but
counts, what it cannot keep. Lines are made by `perimeter.audit.formats`, files are kept by `perimeter.audit.rolling`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import ILogObserver, LogEvent, Logger
from zope.interface import implementer

from perimeter.audit.formats import FORMATS, Format
from perimeter.audit.rolling import RollingFile, Unwritten
from perimeter.audit.sink import IAuditSink
from perimeter.audit.sinks import CountingSink
from perimeter.config.site.audit import AuditSettings
from perimeter.errors import StartupError
from perimeter.model import AccessRecord

_log = Logger(namespace="perimeter.audit")

#: seconds between two tries to write to a log that failed
RETRY = 1.0
#: octets of lines that are kept for as long as they cannot be written
BACKLOG = 4 * 1024 * 1024


@implementer(ILogObserver, IAuditSink)
class AuditLog:
    """One audit log file. Also a log observer: an event that carries an ``access_record`` is a record, any other none of ours."""

    def __init__(self, file: RollingFile, make_line: Format, strict: bool, clock: IReactorTime) -> None:
        self._file = file
        self._make_line = make_line
        self._strict = strict
        self._clock = clock
        self._pending = bytearray()
        self._dropped = 0
        self._flush: IDelayedCall | None = None
        self._failed = False
        self._retry_at = 0.0
        self._closed = True

    # -- what the gateway calls

    def record(self, access_record: AccessRecord) -> bool:
        """Write one line. False, in a strict log, where it is not on the file. Never raises."""
        try:
            line = self._make_line(access_record)
            if self._strict and not self._failed and not self._closed:
                self._file.write(line)
                return True
            return self._record_slowly(line)
        except Unwritten as unwritten:
            self._keep(unwritten)
            return False
        except Exception:
            # a bug: what could not be written down is not let out either
            _log.failure("An audit record could not be written")
            return not self._strict

    def healthy(self) -> bool:
        """False while a strict log cannot be written; tries again, once a second at most. Never raises."""
        return not (self._failed and self._strict) or self._try_again()

    @property
    def failing(self) -> bool:
        """Whether it could not be written when that was last tried."""
        return self._failed

    def __call__(self, event: LogEvent) -> None:
        """Write down the event's ``access_record``, if it has one."""
        access_record = event.get("access_record")
        if isinstance(access_record, AccessRecord):
            self.record(access_record)

    # -- what its owner calls

    def open(self) -> None:
        """Open the file. Raises `StartupError`."""
        try:
            self._file.open()
        except OSError as error:
            raise StartupError(f"{self._file.path}: the audit log cannot be opened: {error.strerror or error}") from error
        self._closed = False

    def reopen(self) -> None:
        """Turn to the file that is at the path now: somebody has moved the old one away. Never raises."""
        if self._closed:
            return
        self._write_pending()
        try:
            self._file.reopen()
        except OSError as error:
            _log.error("{path} cannot be reopened: {error}", path=self._file.path, error=error)

    def close(self) -> None:
        """Write what is pending and close. Records of exchanges that end later are still written, one by one."""
        if not self._write_pending():
            lost = self._dropped + self._pending.count(b"\n")
            _log.error("{path} is closed, {lost} lines were never written", path=self._file.path, lost=lost)
        if self._flush is not None:
            self._flush.cancel()
            self._flush = None
        self._closed = True
        self._file.close()

    # -- everything but the usual

    def _record_slowly(self, line: bytes) -> bool:
        self._add(line)
        if self._closed:
            return self._write_after_close()
        if self._failed:
            return self._try_again() or not self._strict
        if self._flush is None:
            self._flush = self._clock.callLater(0, self._flush_now)
        return True

    def _add(self, lines: bytes) -> None:
        if len(self._pending) + len(lines) > BACKLOG:
            self._dropped += lines.count(b"\n")
        else:
            self._pending += lines

    def _flush_now(self) -> None:
        self._flush = None
        if self._failed:
            self._try_again()
        else:
            self._write_pending()
        if self._failed:
            # nobody asks a log that is not strict whether it is well: it looks after itself
            self._flush = self._clock.callLater(RETRY, self._flush_now)

    def _write_pending(self) -> bool:
        """Write the lines that wait. True where none is left."""
        lines = bytes(self._pending)
        self._pending.clear()
        try:
            if lines:
                self._file.write(lines)
        except Unwritten as unwritten:
            self._keep(unwritten)
            return False
        return True

    def _keep(self, unwritten: Unwritten) -> None:
        """Hold on to the lines that are not on the file, and say once that there is trouble."""
        self._retry_at = self._clock.seconds() + RETRY
        later = bytes(self._pending)
        self._pending.clear()
        self._add(unwritten.rest)
        self._add(later)
        if self._failed:
            return
        self._failed = True
        if self._strict:
            _log.critical(
                "The audit log {path} cannot be written, nothing is served until it can: {error}",
                path=self._file.path,
                error=unwritten.error,
            )
        else:
            _log.warn("The audit log {path} cannot be written: {error}", path=self._file.path, error=unwritten.error)

    def _try_again(self) -> bool:
        """Reopen the file and write what waits, unless that was tried less than a second ago. True where all is well."""
        now = self._clock.seconds()
        # later than RETRY ahead: the clock was put back
        if now < self._retry_at <= now + RETRY:
            return False
        self._retry_at = now + RETRY
        try:
            self._file.reopen()
        except OSError:
            return False
        if not self._write_pending():
            return False
        self._failed = False
        _log.warn(
            "The audit log {path} can be written again, {dropped} lines are missing", path=self._file.path, dropped=self._dropped
        )
        self._dropped = 0
        return True

    def _write_after_close(self) -> bool:
        try:
            self._file.open()
        except OSError as error:
            self._keep(Unwritten(error, b""))
            return not self._strict
        try:
            return self._write_pending() or not self._strict
        finally:
            self._file.close()


@implementer(IAuditSink)
class NoAudit:
    """Where nothing is to be written down."""

    def record(self, access_record: AccessRecord) -> bool:
        """Forget it."""
        return True

    def healthy(self) -> bool:
        """Always."""
        return True


class AuditLogs:
    """All audit logs of a configuration: the one of ``[audit]`` and those of routes that have their own.

    ``sink`` while the gateway is put together, then `open`; `reopen` when told that files were moved; `close` at the end or, at
    a reload, as soon as another set is open. ``count`` is told of every record.
    """

    def __init__(self, settings: AuditSettings, clock: IReactorTime, count: Callable[[AccessRecord], None] | None = None) -> None:
        self._settings = settings
        self._count = count
        self._sinks: dict[AuditLog | None, IAuditSink] = {}
        self._clock = clock
        self._logs: dict[str, AuditLog] = {}
        self._opened = False

    def sink(self, path: Path | None = None) -> IAuditSink:
        """The sink of the file at ``path``, of ``[audit]``'s without one. The same file is the same sink.

        Raises `StartupError` where the file cannot be opened and `open` was called before.
        """
        path = path or self._settings.path
        log = None if path is None else self._log(path)
        sink = NoAudit() if log is None else log
        return sink if self._count is None else self._sinks.setdefault(log, CountingSink(sink, self._count))

    def _log(self, path: Path) -> AuditLog:
        # two spellings of one file must not become two writers, which would roll it twice
        key = os.path.realpath(path)
        log = self._logs.get(key)
        if log is None:
            # a link stays where it is when its file is rolled; but what is no file (/dev/stdout) has no other path
            if path.is_file() or not path.exists():
                path = Path(key)
            file = RollingFile(path, self._settings.roll, self._settings.keep, self._clock.seconds)
            log = AuditLog(file, FORMATS[self._settings.format], self._settings.strict, self._clock)
            if self._opened:
                log.open()
            self._logs[key] = log
        return log

    @property
    def failing(self) -> bool:
        """Whether one of them could not be written when that was last tried."""
        return any(log.failing for log in self._logs.values())

    def open(self) -> None:
        """Open every file. Raises `StartupError` for the first that cannot be; then none is left open."""
        try:
            for log in self._logs.values():
                log.open()
        except StartupError:
            self.close()
            raise
        self._opened = True

    def reopen(self) -> None:
        """Turn to the files that are at their paths now (SIGUSR1, after an external logrotate)."""
        for log in self._logs.values():
            log.reopen()

    def close(self) -> None:
        """Write what is pending and close every file."""
        for log in self._logs.values():
            log.close()
