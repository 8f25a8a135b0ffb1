"""What takes the record of a request: the interface of an audit sink."""

from __future__ import annotations

from zope.interface import Interface

from perimeter.model import AccessRecord

# zope interfaces describe what a caller sees, so their methods name no self.


class IAuditSink(Interface):
    """Takes the one record that each request ends with."""

    def record(access_record: AccessRecord) -> bool:
        """Write a record. Never blocks on anything but the file, never raises.

        True where the record is on the file (or the log is not strict), else False: the caller then lets no more of the
        response out.
        """

    def healthy() -> bool:
        """False while a strict log cannot be written: nothing new is served until it can."""
