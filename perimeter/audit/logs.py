"""The audit logs of one configuration. `perimeter.audit.log` writes one of them."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from twisted.internet.interfaces import IReactorTime

from perimeter.audit.formats import Format, line_format
from perimeter.audit.log import AuditLog
from perimeter.audit.rolling import RollingFile
from perimeter.audit.shared import SharedFile
from perimeter.audit.sink import IAuditSink
from perimeter.audit.sinks import CountingSink, NoAudit
from perimeter.config.site.audit import AuditSettings
from perimeter.errors import StartupError
from perimeter.model import AccessRecord


class AuditLogs:
    """All audit logs of a configuration: the log of ``[audit]``, and the logs of routes that have their own.

    The caller uses `sink` while it builds the gateway, then `open`; `reopen` after files were moved; `close` at the end or, at a
    reload, as soon as another set is open. ``count`` is called with every record.

    If other processes write to the same files, ``tell_torn`` sends them the path of a file that ends in an incomplete line; they
    call `torn`.
    """

    def __init__(
        self,
        settings: AuditSettings,
        clock: IReactorTime,
        count: Callable[[AccessRecord], None] | None = None,
        tell_torn: Callable[[str], None] | None = None,
    ) -> None:
        self._tell_torn = tell_torn
        self._files: dict[str, SharedFile] = {}
        self._settings = settings
        self._count = count
        self._sinks: dict[AuditLog | None, IAuditSink] = {}
        self._clock = clock
        self._logs: dict[str, AuditLog] = {}
        self._opened = False

    def sink(self, path: Path | None = None) -> IAuditSink:
        """Return the sink for the file at ``path`` (None: the file of ``[audit]``). The same file has the same sink.

        Raises `StartupError` if `open` was called before and the file cannot be opened.
        """
        path = path or self._settings.path
        log = None if path is None else self._log(path)
        sink = NoAudit() if log is None else log
        return sink if self._count is None else self._sinks.setdefault(log, CountingSink(sink, self._count))

    def _line_format(self) -> Format:
        settings = self._settings
        return line_format(settings.format, settings.redact, settings.request_id, settings.command)

    def _log(self, path: Path) -> AuditLog:
        # two spellings of one path must not become two writers, which would roll the file twice
        key = os.path.realpath(path)
        log = self._logs.get(key)
        if log is None:
            # a symbolic link stays when its file is rolled; but a path that is no regular file (/dev/stdout) is used as it is
            if path.is_file() or not path.exists():
                path = Path(key)
            file = self._file(key, path)
            log = AuditLog(file, self._line_format(), self._settings.strict, self._clock)
            if self._opened:
                log.open()
            self._logs[key] = log
        return log

    def _file(self, key: str, path: Path) -> RollingFile:
        arguments = path, self._settings.roll, self._settings.keep, self._clock.seconds
        if self._tell_torn is None:
            return RollingFile(*arguments)
        file = self._files[key] = SharedFile(*arguments, partial(self._tell_torn, key))
        return file

    def torn(self, path: str) -> None:
        """Another process has left an incomplete line at the end of the file at ``path``."""
        file = self._files.get(path)
        if file is not None:
            file.begin_anew()

    def problems(self) -> list[str]:
        """Path and reason for each file that cannot be written."""
        return [problem for log in self._logs.values() if (problem := log.problem())]

    @property
    def paths(self) -> list[Path]:
        """The files."""
        return [Path(key) for key in self._logs]

    def open(self) -> None:
        """Open every file. Raises `StartupError` for the first that cannot be opened, and closes the others."""
        try:
            for log in self._logs.values():
                log.open()
        except StartupError:
            self.close()
            raise
        self._opened = True

    def reopen(self) -> None:
        """Switch to the files that are at their paths now (SIGUSR1, after an external logrotate)."""
        for log in self._logs.values():
            log.reopen()

    def close(self) -> None:
        """Write the pending lines and close every file."""
        for log in self._logs.values():
            log.close()
