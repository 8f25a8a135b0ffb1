"""Times of the week: boundaries, nights, and days on which clocks change."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from twisted.trial import unittest

from perimeter.config.language.datatypes import BadValue
from perimeter.config.site.period import parse_period


def at(text: str, zone: str = "UTC") -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC if zone == "UTC" else ZoneInfo(zone)).timestamp()


class PeriodTests(unittest.TestCase):
    def test_boundaries(self) -> None:
        # 2 March 2026 is a Monday
        for text, moment, expected in (
            ("Mon 08:00-18:00", "2026-03-02T08:00:00", True),
            ("Mon 08:00-18:00", "2026-03-02T07:59:59", False),
            ("Mon 08:00-18:00", "2026-03-02T17:59:59", True),
            ("Mon 08:00-18:00", "2026-03-02T18:00:00", False),
            ("Mon 08:00-18:00", "2026-03-03T08:00:00", False),
            ("08:00-18:00", "2026-03-07T08:00:00", True),
            ("Mon-Fri", "2026-03-06T23:59:59", True),
            ("Mon-Fri", "2026-03-07T00:00:00", False),
            ("Fri-Mon", "2026-03-02T12:00:00", True),
            ("Fri-Mon", "2026-03-03T12:00:00", False),
            ("Fri-Mon", "2026-03-05T12:00:00", False),
            ("Sun", "2026-03-08T00:00:00", True),
            ("Mon 20:00-24:00", "2026-03-02T23:59:59", True),
            ("Mon 20:00-24:00", "2026-03-03T00:00:00", False),
            # the night that begins on Friday
            ("Fri 22:00-06:00", "2026-03-06T22:00:00", True),
            ("Fri 22:00-06:00", "2026-03-06T21:59:59", False),
            ("Fri 22:00-06:00", "2026-03-07T05:59:59", True),
            ("Fri 22:00-06:00", "2026-03-07T06:00:00", False),
            ("Fri 22:00-06:00", "2026-03-06T05:00:00", False),
            ("Sun 22:00-06:00", "2026-03-02T05:00:00", True),
            ("22:00-00:00", "2026-03-02T23:59:59", True),
            ("22:00-00:00", "2026-03-02T00:00:00", False),
        ):
            self.assertEqual(parse_period(text)[0].contains(at(moment)), expected, (text, moment))

    def test_the_time_is_that_of_the_zone(self) -> None:
        period, _ = parse_period("Mon-Fri 08:00-18:00 Europe/Zurich")
        for moment, expected in (
            ("2026-01-05T06:59:59", False),
            ("2026-01-05T07:00:00", True),
            ("2026-01-05T17:00:00", False),
            # summer time
            ("2026-07-06T05:59:59", False),
            ("2026-07-06T06:00:00", True),
            # Monday in Zurich, still Sunday in UTC
            ("2026-07-05T22:30:00", False),
        ):
            self.assertEqual(period.contains(at(moment)), expected, moment)
        night, _ = parse_period("Mon 00:00-01:00 Europe/Zurich")
        self.assertTrue(night.contains(at("2026-07-05T22:30:00")))

    def test_hours_that_occur_twice_or_never(self) -> None:
        twice, _ = parse_period("Sun 02:00-03:00 Europe/Zurich")
        for moment, expected in (
            ("2026-10-25T00:30:00", True),  # 02:30 in summer time
            ("2026-10-25T01:30:00", True),  # 02:30 again
            ("2026-10-25T02:00:00", False),
            ("2026-03-29T00:59:59", False),  # 01:59:59, and then 03:00
            ("2026-03-29T01:00:00", False),
        ):
            self.assertEqual(twice.contains(at(moment)), expected, moment)

    def test_faults(self) -> None:
        for text, message in (
            ("", "expected a time such as"),
            ("UTC", "expected a time such as"),
            ("Mon 08:00-18:00 UTC UTC", "expected a time such as"),
            ("mon", "expected a day"),
            ("Mon-", "expected a day"),
            ("Montag", "expected a day"),
            ("8-18", "expected hours such as 08:00-18:00"),
            ("08:00", "expected hours such as 08:00-18:00"),
            ("08:60-18:00", "expected hours from 00:00 to 24:00"),
            ("08:00-24:01", "expected hours from 00:00 to 24:00"),
            ("24:00-08:00", "expected hours from 00:00 to 24:00"),
            ("08:00-08:00", "expected hours that begin and end at different times"),
            ("Mon 08:00-18:00 Zurich", "expected a time zone such as Europe/Zurich or UTC"),
            ("Mon 08:00-18:00 Europe/Zürich", "expected a time zone such as Europe/Zurich or UTC"),
            ("Mon ../../etc/passwd", "expected a time zone such as Europe/Zurich or UTC"),
            ("Mon Europe/Atlantis", "this machine knows no time zone Europe/Atlantis"),
            ("Mon America/Argentina", "time zone America/Argentina"),
        ):
            self.assertIn(message, self.assertRaises(BadValue, parse_period, text).message, text)
        self.assertEqual(self.assertRaises(BadValue, parse_period, "mon").suggestion, "Mon")

    def test_the_text_has_single_blanks(self) -> None:
        self.assertEqual(parse_period(" Mon   08:00-18:00  UTC")[1], "Mon 08:00-18:00 UTC")
