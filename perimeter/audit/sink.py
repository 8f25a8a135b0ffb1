"""The interface of an audit sink, which receives the record of each request."""

from __future__ import annotations

from zope.interface import Interface

from perimeter.model import AccessRecord

# The methods of a zope interface have no ``self``, because they describe the call.


class IAuditSink(Interface):
    """Receives exactly one record for each request, at its end."""

    def record(access_record: AccessRecord) -> bool:
        """Write a record. Blocks on nothing except the file, and never raises.

        Returns True if the record is in the file or the log is not strict. After False the record is not kept: the caller sends
        no more of the response, changes the record to what the client has seen, and calls `keep`.
        """

    def keep(access_record: AccessRecord) -> None:
        """Write a record as soon as the log can be written. Never raises."""

    def healthy() -> bool:
        """Return False while a strict log cannot be written: no new request is served until it can be."""

    def problem() -> str:
        """Return why the log cannot be written, or ""."""
