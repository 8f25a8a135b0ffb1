"""The lines about failed TLS handshakes of clients in the daemon's log: their meaning, a few times, and then a count."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import attrs
from twisted.logger import Logger

from perimeter.connection_faults import client_fault
from perimeter.repeats import Count, Repeats

_log = Logger()

FIRST: Final = 5
"""Failures of one kind at one listener that are logged before the rest are counted."""

_Kind = tuple[str, str]
"""Listener and meaning."""


class FailedHandshakes:
    """Logs failures at all listeners. ``clock`` returns seconds. The owner calls `report` and `finish` as for `Repeats`."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._repeats: Repeats[_Kind] = Repeats(clock, FIRST)

    def note(self, listener: str, address: str, reason: str) -> None:
        """Log a failure with OpenSSL's ``reason``, or count it. A client that has just left is not logged."""
        meaning = client_fault(reason)
        if meaning and self._repeats.admit((listener, meaning)):
            _log.info(
                "TLS handshake with {address} at listener {listener} failed: {meaning}",
                address=address,
                listener=listener,
                meaning=meaning,
            )

    def report(self) -> None:
        """Log the counts that are due."""
        self._write(self._repeats.due())

    def finish(self) -> None:
        """Log all counts, at the end."""
        self._write(self._repeats.rest())

    @staticmethod
    def _write(counts: list[Count[_Kind]]) -> None:
        for count in counts:
            listener, meaning = count.key or ("-", "of other kinds")
            _log.info(
                "TLS handshakes at listener {listener} failed: {meaning}: {more} more in {seconds} s",
                listener=listener,
                meaning=meaning,
                more=count.more,
                seconds=round(count.seconds),
            )


@attrs.frozen
class HandshakeLog:
    """The part of `FailedHandshakes` that is one listener's."""

    listener: str
    log: FailedHandshakes

    def note(self, address: str, reason: str) -> None:
        """See `FailedHandshakes.note`."""
        self.log.note(self.listener, address, reason)
