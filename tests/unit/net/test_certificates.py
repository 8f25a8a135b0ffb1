"""When the dates of a certificate are worth a message."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from twisted.trial import unittest

from perimeter.net.certificates import date_findings
from tests.integration.netkit import identity

START = datetime(2026, 1, 1, tzinfo=UTC)


class DateTests(unittest.TestCase):
    def test_soon_is_two_weeks_or_the_last_quarter_of_a_short_life(self) -> None:
        for days, soon in ((825.0, 14.0), (90.0, 14.0), (56.0, 14.0), (45.0, 11.25), (6.0, 1.5)):
            made = identity("gw.example", start=START, days=days)
            at = START + timedelta(days=days - soon)
            self.assertEqual(date_findings(made.chain, at - timedelta(seconds=1)), [], days)
            (finding,) = date_findings(made.chain, at)
            self.assertEqual((finding.unusable, finding.left), (False, timedelta(days=soon)))
