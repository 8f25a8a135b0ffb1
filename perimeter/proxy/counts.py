"""What is counted about upstreams, as plain numbers. `perimeter.metrics.upstreams` shows them. The counts outlive a reload."""

from __future__ import annotations

from collections import Counter


class UpstreamCounts:
    """Counts by the name of the upstream, and where it applies by server and by a word for what happened."""

    def __init__(self) -> None:
        #: upstream, server, ``good`` or ``bad``
        self.answers: Counter[tuple[str, str, str]] = Counter()
        #: upstream, server, state that it came into
        self.changes: Counter[tuple[str, str, str]] = Counter()
        #: upstream, server, ``passed`` or ``failed``
        self.checks: Counter[tuple[str, str, str]] = Counter()
        #: upstream, ``sent``, or ``refused`` by the budget
        self.retries: Counter[tuple[str, str]] = Counter()
        #: upstream, ``waited``, ``full`` or ``timeout``
        self.queue: Counter[tuple[str, str]] = Counter()
        #: upstream, host name, ``answered`` or ``failed``
        self.lookups: Counter[tuple[str, str, str]] = Counter()

    def forget(self, upstream: str, server: str) -> None:
        """Remove the counts of ``server``, which does not exist any more: look-ups may return any number of addresses."""
        for counts in (self.answers, self.changes, self.checks):
            for key in [key for key in counts if key[:2] == (upstream, server)]:
                del counts[key]
