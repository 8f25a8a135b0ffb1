"""Audit sinks that wrap another audit sink, or write nothing."""

from __future__ import annotations

from collections.abc import Callable

from zope.interface import implementer

from perimeter.audit.sink import IAuditSink
from perimeter.model import AccessRecord


@implementer(IAuditSink)
class CountingSink:
    """Like ``inner``, but also calls ``count`` with every record."""

    def __init__(self, inner: IAuditSink, count: Callable[[AccessRecord], None]) -> None:
        self.healthy = inner.healthy
        self.problem = inner.problem
        self._record = inner.record
        self._keep = inner.keep
        self._count = count

    def record(self, access_record: AccessRecord) -> bool:
        """See `IAuditSink`."""
        if self._record(access_record):
            self._count(access_record)
            return True
        return False

    def keep(self, access_record: AccessRecord) -> None:
        """See `IAuditSink`."""
        self._count(access_record)
        self._keep(access_record)


@implementer(IAuditSink)
class LenientSink:
    """Like ``inner``, but never refuses: metrics must stay reachable while the audit log fails, since they report it."""

    def __init__(self, inner: IAuditSink) -> None:
        self._inner = inner

    def record(self, access_record: AccessRecord) -> bool:
        """See `IAuditSink`."""
        if not self._inner.record(access_record):
            self._inner.keep(access_record)
        return True

    def keep(self, access_record: AccessRecord) -> None:
        """See `IAuditSink`."""
        self._inner.keep(access_record)

    def problem(self) -> str:
        """See `IAuditSink`."""
        return ""

    def healthy(self) -> bool:
        """Return True."""
        return True


@implementer(IAuditSink)
class NoAudit:
    """The sink of a configuration without an audit log."""

    def record(self, access_record: AccessRecord) -> bool:
        """Ignore the record."""
        return True

    def keep(self, access_record: AccessRecord) -> None:
        """Ignore the record."""

    def problem(self) -> str:
        """Return ""."""
        return ""

    def healthy(self) -> bool:
        """Return True."""
        return True
