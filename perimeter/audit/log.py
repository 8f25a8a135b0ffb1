"""An audit log: it writes records to a file as lines, and handles a file that cannot be written.

A strict log writes at once: `AuditLog.record` returns True only if the line is in the file. If a write fails (the disk is full,
for example), `record` returns False, and the log is unhealthy. The caller then says what the client has seen
(`AuditLog.keep`), and the log tries to write those lines once a second. A log that is not strict collects the lines of one turn
of the event loop; it counts the lines that it cannot keep, and drops them. `perimeter.audit.formats` makes the lines, and
`perimeter.audit.rolling` manages the files.
"""

from __future__ import annotations

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import ILogObserver, LogEvent, Logger
from zope.interface import implementer

from perimeter.audit.formats import Format
from perimeter.audit.rolling import RollingFile, Unwritten
from perimeter.audit.sink import IAuditSink
from perimeter.descriptors import system_reason
from perimeter.errors import StartupError
from perimeter.model import AccessRecord

_log = Logger(namespace="perimeter.audit")

#: seconds between two tries to write to a log that failed
RETRY = 1.0
#: bytes of lines that are kept while they cannot be written
BACKLOG = 4 * 1024 * 1024


@implementer(ILogObserver, IAuditSink)
class AuditLog:
    """One audit log file. It is also a log observer: it writes the ``access_record`` of an event, and ignores other events."""

    def __init__(self, file: RollingFile, make_line: Format, strict: bool, clock: IReactorTime) -> None:
        self._file = file
        self._make_line = make_line
        self._strict = strict
        self._clock = clock
        self._pending = bytearray()
        self._dropped = 0
        self._flush: IDelayedCall | None = None
        self._failed = False
        self._error = ""
        self._retry_at = 0.0
        self._closed = True

    # -- what the gateway calls

    def record(self, access_record: AccessRecord) -> bool:
        """Write one line. Returns False if the log is strict and the line is not in the file. Never raises."""
        try:
            line = self._make_line(access_record)
            if not self._strict:
                self._keep_line(line)
                return True
            if self._closed:
                return self._write_after_close(line)
            if self._failed and not self._try_again():
                return False
            self._file.write(line)
            return True
        except Unwritten as unwritten:
            self._fail(unwritten.error)
            return False
        except Exception:
            # a bug: the response must not be sent without its record
            _log.failure("An audit record could not be written")
            return not self._strict

    def keep(self, access_record: AccessRecord) -> None:
        """Write one line as soon as the file can be written. Never raises."""
        try:
            self._keep_line(self._make_line(access_record))
        except Exception:
            _log.failure("An audit record could not be written")

    def problem(self) -> str:
        """Why the last attempt to write failed, or "" if it did not."""
        return f"{self._file.path}: {self._error}" if self._failed else ""

    def healthy(self) -> bool:
        """Return False while a strict log cannot be written. Tries again at most once a second. Never raises."""
        return not (self._failed and self._strict) or self._try_again()

    def __call__(self, event: LogEvent) -> None:
        """Write the event's ``access_record``, if it has one."""
        access_record = event.get("access_record")
        if isinstance(access_record, AccessRecord):
            self.record(access_record)

    # -- what its owner calls

    def open(self) -> None:
        """Open the file. Raises `StartupError`."""
        try:
            self._file.open()
        except OSError as error:
            raise StartupError(f"{self._file.path}: the audit log cannot be opened: {system_reason(error)}") from error
        self._closed = False

    def reopen(self) -> None:
        """Switch to the file that is at the path now, after the old one was moved away. Never raises."""
        if self._closed:
            return
        self._write_pending()
        try:
            self._file.reopen()
        except OSError as error:
            _log.error("{path} cannot be reopened: {error}", path=self._file.path, error=error)

    def close(self) -> None:
        """Write the pending lines and close the file. Records of exchanges that end later are still written, one by one."""
        if not self._write_pending():
            lost = self._dropped + self._pending.count(b"\n")
            _log.error("{path} is closed; {lost} lines could not be written", path=self._file.path, lost=lost)
        if self._flush is not None:
            self._flush.cancel()
            self._flush = None
        self._closed = True
        self._file.close()

    # -- everything except the usual write

    def _keep_line(self, line: bytes) -> None:
        self._add(line)
        if self._closed:
            self._write_after_close(b"")
        elif self._flush is None:
            self._flush = self._clock.callLater(RETRY if self._failed else 0, self._flush_now)

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
            # the log recovers by itself, even if no request comes
            self._flush = self._clock.callLater(RETRY, self._flush_now)

    def _write_pending(self) -> bool:
        """Write the pending lines. Returns True if none is left."""
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
        """Keep the lines that are not in the file, before those that came later."""
        later = bytes(self._pending)
        self._pending.clear()
        self._add(unwritten.rest)
        self._add(later)
        self._fail(unwritten.error)

    def _fail(self, error: OSError) -> None:
        """The file cannot be written: log it once."""
        self._retry_at = self._clock.seconds() + RETRY
        self._error = error.strerror or str(error)
        if self._failed:
            return
        self._failed = True
        if self._strict:
            _log.critical(
                "The audit log {path} cannot be written, and no request is served until it can be: {error}",
                path=self._file.path,
                error=self._error,
            )
        else:
            _log.warn("The audit log {path} cannot be written: {error}", path=self._file.path, error=self._error)

    def _try_again(self) -> bool:
        """Reopen the file and write the pending lines, at most once a second. Returns True if the log works again."""
        now = self._clock.seconds()
        # a retry later than RETRY from now means that the clock was set back: try at once
        if now < self._retry_at <= now + RETRY:
            return False
        self._retry_at = now + RETRY
        try:
            self._file.reopen()
        except OSError as error:
            self._error = error.strerror or str(error)
            return False
        if not self._write_pending():
            return False
        self._failed = False
        _log.warn(
            "The audit log {path} can be written again, {dropped} lines are missing", path=self._file.path, dropped=self._dropped
        )
        self._dropped = 0
        return True

    def _write_after_close(self, line: bytes) -> bool:
        """Write the pending lines, then ``line``. Returns False if they are not in the file. Raises `Unwritten` for ``line``."""
        try:
            self._file.open()
        except OSError as error:
            self._fail(error)
            return False
        try:
            if not self._write_pending():
                return False
            if line:
                self._file.write(line)
            return True
        finally:
            self._file.close()
