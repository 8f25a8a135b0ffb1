"""What a change is unless its class says otherwise."""

from __future__ import annotations

from twisted.trial.unittest import TestCase

from perimeter.state.changes import Change


class ChangeTests(TestCase):
    def test_a_change_takes_away_and_survives_a_power_failure(self) -> None:
        change = Change()
        self.assertIs(change.adds, False)
        self.assertIs(change.passing, False)
