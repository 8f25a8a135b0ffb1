"""The health of a server: what puts it out of use or behind the others, for how long, and how it comes back."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial import unittest

from perimeter.proxy.health import MOST_EJECTIONS, REST, HealthRules, ServerHealth, ServerState, Standing, may_eject


class HealthCase(unittest.TestCase):
    rules = HealthRules(fall=3, rise=2, slow_start=10.0, eject_after=2, eject_time=30.0)

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.health = ServerHealth(self.rules, self.clock.seconds)

    def check(self, state: ServerState, standing: Standing) -> None:
        self.assertEqual((self.health.state(), self.health.standing()), (state, standing))

    def is_up(self) -> None:
        self.check(ServerState.UP, Standing.IN_USE)
        self.assertEqual(self.health.share(), 1.0)


class ConnectionTests(HealthCase):
    def test_a_new_server_is_up(self) -> None:
        self.is_up()
        self.assertTrue(self.health.steady)

    def test_it_rests_after_a_failed_connection(self) -> None:
        self.health.unreachable("refused")
        self.check(ServerState.RESTING, Standing.LAST)
        self.assertEqual(self.health.fault, "refused")
        self.clock.advance(REST - 0.1)
        self.check(ServerState.RESTING, Standing.LAST)
        self.clock.advance(0.1)
        self.check(ServerState.RESTING, Standing.IN_USE)

    def test_after_the_rest_one_request_tries_it(self) -> None:
        self.health.unreachable("refused")
        self.clock.advance(REST)
        self.health.tried()
        self.check(ServerState.RESTING, Standing.LAST)
        self.clock.advance(REST - 0.1)
        self.check(ServerState.RESTING, Standing.LAST)
        self.clock.advance(0.1)
        self.check(ServerState.RESTING, Standing.IN_USE)

    def test_trying_changes_nothing_for_a_server_that_could_be_reached(self) -> None:
        self.health.tried()
        self.is_up()

    def test_it_starts_slowly_when_it_is_reached_again(self) -> None:
        self.health.unreachable("refused")
        self.clock.advance(2)
        self.health.reached()
        self.check(ServerState.STARTING, Standing.IN_USE)
        self.assertEqual(self.health.share(), 0.1)
        self.clock.advance(5)
        self.assertAlmostEqual(self.health.share(), 0.5)
        self.clock.advance(5)
        self.is_up()
        self.assertFalse(self.health.steady)
        self.health.settle()
        self.assertTrue(self.health.steady)

    def test_reaching_a_server_that_does_not_rest_changes_nothing(self) -> None:
        self.health.reached()
        self.is_up()

    def test_without_slow_start_it_is_up_at_once(self) -> None:
        self.health = ServerHealth(HealthRules(), self.clock.seconds)
        self.health.unreachable("refused")
        self.health.reached()
        self.is_up()
        self.assertTrue(self.health.steady)


class CheckTests(HealthCase):
    def test_three_failed_checks_in_a_row(self) -> None:
        for _ in range(2):
            self.health.checked("it answered 500")
            self.is_up()
        self.health.checked("")
        for _ in range(2):
            self.health.checked("it answered 500")
        self.is_up()
        self.health.checked("no answer")
        self.check(ServerState.DOWN, Standing.OUT)
        self.assertEqual(self.health.fault, "no answer")

    def test_two_passed_checks_in_a_row(self) -> None:
        for _ in range(3):
            self.health.checked("it answered 500")
        for fault in ("", "it answered 500", ""):
            self.health.checked(fault)
            self.check(ServerState.DOWN, Standing.OUT)
        self.health.checked("")
        self.check(ServerState.STARTING, Standing.IN_USE)
        self.clock.advance(10)
        self.is_up()

    def test_checks_that_are_not_heard_of_any_more(self) -> None:
        self.health.unchecked()
        self.is_up()
        for _ in range(3):
            self.health.checked("it answered 500")
        self.health.unchecked()
        self.check(ServerState.STARTING, Standing.IN_USE)
        self.health.checked("it answered 500")
        self.check(ServerState.STARTING, Standing.IN_USE)

    def test_what_is_worst_shows(self) -> None:
        self.health.unreachable("refused")
        self.health.eject("bad")
        self.check(ServerState.EJECTED, Standing.LAST)
        for _ in range(3):
            self.health.checked("it answered 500")
        self.check(ServerState.DOWN, Standing.OUT)


class EjectionTests(HealthCase):
    def test_bad_answers_in_a_row(self) -> None:
        self.assertEqual([self.health.answered(good) for good in (False, True, False)], [False, False, False])
        self.assertTrue(self.health.answered(False))
        self.assertTrue(self.health.answered(False), "until it is ejected")

    def test_without_the_option_nothing_is_ejected(self) -> None:
        self.health = ServerHealth(HealthRules(), self.clock.seconds)
        self.assertFalse(any(self.health.answered(False) for _ in range(100)))

    def test_an_ejection_ends_with_a_slow_start(self) -> None:
        self.health.eject("it answered 503")
        self.check(ServerState.EJECTED, Standing.LAST)
        self.assertEqual(self.health.fault, "it answered 503")
        self.clock.advance(29.9)
        self.check(ServerState.EJECTED, Standing.LAST)
        self.clock.advance(0.1)
        self.check(ServerState.STARTING, Standing.IN_USE)
        self.assertEqual(self.health.share(), 0.1)
        self.clock.advance(5)
        self.assertAlmostEqual(self.health.share(), 0.5)
        self.clock.advance(5)
        self.is_up()

    def test_what_it_answers_while_it_is_ejected_does_not_eject_it(self) -> None:
        self.health.eject("it answered 503")
        self.assertFalse(any(self.health.answered(False) for _ in range(3)))
        self.clock.advance(30)
        self.assertTrue(self.health.answered(False))

    def test_bad_answers_count_anew_after_an_ejection(self) -> None:
        self.health.answered(False)
        self.assertTrue(self.health.answered(False))
        self.health.eject("it answered 503")
        self.clock.advance(30)
        self.assertFalse(self.health.answered(False))
        self.assertTrue(self.health.answered(False))

    def test_nothing_is_left_at_the_end(self) -> None:
        self.health = ServerHealth(HealthRules(eject_after=1, eject_time=30.0), self.clock.seconds)
        self.health.eject("it answered 503")
        self.clock.advance(29.9)
        self.health.settle()
        self.assertFalse(self.health.steady)
        self.clock.advance(0.1)
        self.assertEqual(self.health.standing(), Standing.IN_USE)
        self.health.settle()
        self.assertTrue(self.health.steady)

    def test_the_defaults(self) -> None:
        self.assertEqual(HealthRules(), HealthRules(fall=3, rise=2, slow_start=0.0, eject_after=None, eject_time=30.0))

    def length(self) -> float:
        """Seconds that an ejection takes."""
        self.health.eject("bad")
        seconds = 0
        while self.health.state() is ServerState.EJECTED:
            self.clock.advance(1)
            seconds += 1
        return seconds

    def test_ejections_in_a_row_take_longer(self) -> None:
        lengths = [self.length() for _ in range(MOST_EJECTIONS + 2)]
        self.assertEqual(lengths, [*(30 * (1 + at) for at in range(MOST_EJECTIONS)), 300, 300])

    def test_a_long_time_without_ejection_is_a_new_beginning(self) -> None:
        self.assertEqual([self.length(), self.length()], [30, 60])
        self.clock.advance(300)
        self.assertEqual(self.length(), 90)
        self.clock.advance(301)
        self.assertEqual(self.length(), 30)

    def test_the_floor(self) -> None:
        for servers, in_use, floor, expected in (
            (1, 1, 0.0, False),
            (2, 2, 0.0, True),
            (2, 1, 0.0, False),
            (2, 2, 0.5, True),
            (2, 2, 0.51, False),
            (3, 3, 0.5, True),
            (3, 2, 0.5, False),
            (10, 6, 0.5, True),
            (10, 5, 0.5, False),
            (3, 3, 1.0, False),
        ):
            self.assertIs(may_eject(servers, in_use, floor), expected, (servers, in_use, floor))
