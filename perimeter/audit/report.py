"""Counts the lines of audit logs: a report about users, addresses, paths, refusals and times. Bounded memory. Pure."""

from __future__ import annotations

import heapq
from collections import Counter
from datetime import datetime
from typing import Final

import attrs

from perimeter.audit.reading import Line
from perimeter.model.reasons import EarlyEnd

MOST_KEYS: Final = 20_000
"""The most different values that a tally keeps. Clients choose names and paths, so there may be any number of them."""

LONGEST: Final = 200
"""Characters of a value that are kept: values that differ only after them are counted as one."""

SLOWEST: Final = 10
"""The number of slowest requests in the report."""


class Tally:
    """Counts values. If there are too many different values, it drops the rarest; then the other counts may be too low.

    ``dropped`` is the number of lines with dropped values.
    """

    def __init__(self, most: int = MOST_KEYS) -> None:
        self._most = most
        self._counts: Counter[str] = Counter()
        self.dropped = 0

    def add(self, value: str) -> None:
        """Count ``value`` once more."""
        self._counts[_short(value)] += 1
        if len(self._counts) > 2 * self._most:
            kept = Counter(dict(self._counts.most_common(self._most)))
            self.dropped += self._counts.total() - kept.total()
            self._counts = kept

    def top(self, count: int) -> list[tuple[str, int]]:
        """The most frequent values; of equal ones the first by name."""
        return sorted(self._counts.items(), key=lambda one: (-one[1], one[0]))[:count]


@attrs.frozen(order=True)
class Slow:
    """A slow request; ``seconds`` is the duration that the gateway measured."""

    seconds: float
    time: str
    user: str
    target: str


class Report:
    """The counts of the lines that were added."""

    def __init__(self) -> None:
        self.requests = 0
        self.sent = 0
        self.first: datetime | None = None
        self.last: datetime | None = None
        self.statuses: Counter[str] = Counter()
        self.users = Tally()
        self.attempted = Tally()
        self.addresses = Tally()
        self.paths = Tally()
        self.routes = Tally()
        self.reasons = Tally()
        self.events = Tally()
        self._slow: list[Slow] = []

    def add(self, line: Line) -> None:
        """Count a line.

        A tunnel has two lines, and the first one does not count. The text formats do not mark it, so both lines count there.
        """
        if line.reason == EarlyEnd.TUNNEL_OPENED:
            return
        self.requests += 1
        self.sent += line.sent
        self.first = line.time if self.first is None else min(self.first, line.time)
        self.last = line.time if self.last is None else max(self.last, line.time)
        self.statuses[line.status] += 1
        self.users.add(line.user.decode("utf-8", "backslashreplace"))
        self.addresses.add(line.address)
        self.paths.add(line.target.partition("?")[0])
        for tally, value in (
            (self.routes, line.route),
            (self.reasons, line.reason),
            (self.events, line.event),
            (self.attempted, line.attempted.decode("utf-8", "backslashreplace")),
        ):
            if value:
                tally.add(value)
        if line.duration is not None:
            self._time(line, line.duration)

    def _time(self, line: Line, seconds: float) -> None:
        if len(self._slow) < SLOWEST:
            heapq.heappush(self._slow, _slow(line, seconds))
        elif seconds > self._slow[0].seconds:
            heapq.heapreplace(self._slow, _slow(line, seconds))

    @property
    def slowest(self) -> list[Slow]:
        """The slowest requests, the slowest first. Only lines of the JSON format have a duration."""
        return sorted(self._slow, reverse=True)

    def classes(self) -> dict[str, int]:
        """Requests by class of status: ``2xx`` and so on; ``0`` for requests without an answer."""
        found: Counter[str] = Counter()
        for status, count in self.statuses.items():
            found[f"{status[0]}xx" if len(status) == 3 else status] += count
        return dict(sorted(found.items()))


def _slow(line: Line, seconds: float) -> Slow:
    user = line.user.decode("utf-8", "backslashreplace")
    return Slow(seconds, line.time.isoformat(), _short(user), _short(line.target))


def _short(value: str) -> str:
    return value if len(value) <= LONGEST else value[: LONGEST - 1] + "…"
