"""Times of the week, as ``time:`` of a rule writes them: ``Mon-Fri 08:00-18:00 Europe/Zurich``.

Pure, except for reading the file of the zone.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, tzinfo
from typing import Final

import attrs

from perimeter.config.language.datatypes import BadValue, closest

_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_HOURS: Final = re.compile(r"([0-9]{1,2}):([0-9]{2})-([0-9]{1,2}):([0-9]{2})", re.ASCII)
_ZONE: Final = re.compile(r"UTC|[A-Za-z][A-Za-z0-9_+-]*(?:/[A-Za-z0-9_+-]+)+")
_DAY_MINUTES: Final = 24 * 60
_EXPECTED: Final = "expected a time such as time:Mon-Fri 08:00-18:00 Europe/Zurich: days, hours, or both, and a time zone"


@attrs.frozen
class Period:
    """Hours of some days of each week, in the time of ``zone``.

    ``days`` are 0 (Monday) to 6. ``start`` and ``end`` are minutes of the day, from 0 to 1440; ``end`` is excluded. If it is not
    after ``start``, the period ends on the next day, and ``days`` are those on which it begins.
    """

    days: frozenset[int]
    start: int
    end: int
    zone: tzinfo

    def contains(self, now: float) -> bool:
        """Whether the moment ``now`` (epoch seconds) is in the period. Local times count, as clocks show them."""
        moment = datetime.fromtimestamp(now, self.zone)
        minute, day = moment.hour * 60 + moment.minute, moment.weekday()
        if self.start < self.end:
            return day in self.days and self.start <= minute < self.end
        if minute >= self.start:
            return day in self.days
        return minute < self.end and (day - 1) % 7 in self.days


def parse_period(text: str) -> tuple[Period, str]:
    """The period that ``text`` describes, and the text with single blanks. Without hours it is the whole day, without a zone UTC.

    Raises `BadValue`.
    """
    words = text.split()
    days, start, end, zone = frozenset(range(7)), 0, _DAY_MINUTES, "UTC"
    rest = list(words)
    if rest and rest[0][:1].isalpha() and not _ZONE.fullmatch(rest[0]):
        days = _days(rest.pop(0))
    if rest and rest[0][:1].isdigit():
        start, end = _hours(rest.pop(0))
    if len(rest) == len(words):
        raise BadValue(_EXPECTED)
    if rest:
        zone = rest.pop(0)
    if rest:
        raise BadValue(_EXPECTED)
    return Period(days, start, end, _zone(zone)), " ".join(words)


def _days(text: str) -> frozenset[int]:
    """A day, or a range of days that may pass the end of the week."""
    first, dash, last = text.partition("-")
    for name in (first, last) if dash else (first,):
        if name not in _DAYS:
            near = closest(name[:3], [day.lower() for day in _DAYS]).capitalize()
            raise BadValue(f"expected a day ({', '.join(_DAYS)}) or a range of days such as Mon-Fri", near if not dash else "")
    begin, end = _DAYS.index(first), _DAYS.index(last or first)
    return frozenset((begin + more) % 7 for more in range((end - begin) % 7 + 1))


def _hours(text: str) -> tuple[int, int]:
    match = _HOURS.fullmatch(text)
    if match is None:
        raise BadValue("expected hours such as 08:00-18:00")
    hours, minutes, end_hours, end_minutes = map(int, match.groups())
    start, end = hours * 60 + minutes, end_hours * 60 + end_minutes
    if minutes > 59 or end_minutes > 59 or start >= _DAY_MINUTES or end > _DAY_MINUTES:
        raise BadValue("expected hours from 00:00 to 24:00")
    if start == end:
        raise BadValue("expected hours that begin and end at different times; leave them out for the whole day")
    return start, end


def _zone(name: str) -> tzinfo:
    if name == "UTC":
        return UTC
    if not _ZONE.fullmatch(name):
        raise BadValue("expected a time zone such as Europe/Zurich or UTC")
    from zoneinfo import ZoneInfo  # takes 10 ms, and few sites have such a rule

    try:
        return ZoneInfo(name)
    except (OSError, ValueError):  # ZoneInfoNotFoundError is a KeyError
        raise BadValue(f"the file of the time zone {name} cannot be read") from None
    except KeyError:
        raise BadValue(f"this machine knows no time zone {name}: see tzdata of the system") from None
