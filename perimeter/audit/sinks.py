"""Audit sinks that wrap another audit sink."""

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
        self._record = inner.record
        self._count = count

    def record(self, access_record: AccessRecord) -> bool:
        """See `IAuditSink`."""
        self._count(access_record)
        return self._record(access_record)


@implementer(IAuditSink)
class LenientSink:
    """Like ``inner``, but never refuses: metrics must stay reachable while the audit log fails, since they report it."""

    def __init__(self, inner: IAuditSink) -> None:
        self._inner = inner

    def record(self, access_record: AccessRecord) -> bool:
        """See `IAuditSink`."""
        self._inner.record(access_record)
        return True

    def healthy(self) -> bool:
        """Return True."""
        return True
