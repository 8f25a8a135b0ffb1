"""The simulation of many machines: it is deterministic, loses nothing with the rules of the follower, and something without."""

from __future__ import annotations

from unittest import TestCase

from bench.cluster import capacity, scenarios
from bench.cluster.__main__ import Plan, tables
from bench.cluster.clock import VirtualClock
from perimeter.state.partial import MOST_KEPT


class ClockTests(TestCase):
    def test_calls_are_made_in_their_order_at_their_time(self) -> None:
        clock, seen = VirtualClock(100.0), []
        for delay in (2.0, 1.0, 1.0, 4.0):
            clock.callLater(delay, lambda number: seen.append((number, clock.seconds())), len(seen) + delay)
        clock.callLater(1.5, seen.append, "never").cancel()
        clock.run(3.0)
        self.assertEqual(seen, [(1.0, 101.0), (1.0, 101.0), (2.0, 102.0)])
        self.assertEqual(clock.seconds(), 103.0)
        clock.run(1.0)
        self.assertEqual(seen[3:], [(4.0, 104.0)])


class SimulationTests(TestCase):
    def test_the_same_seed_gives_the_same_tables(self) -> None:
        plan = Plan([(5, 20, 40)], [], [(5, 100, True), (5, 100, False)], [100], 500)
        first, again, other = (list(tables(plan, seed, lambda text: None)) for seed in (1, 1, 2))
        self.assertEqual(first, again)
        self.assertNotEqual(first, other)

    def test_a_revocation_is_in_force_on_all_machines_soon(self) -> None:
        found = scenarios.spread(15, 10, 20, 60)
        self.assertGreater(found.revocations, 30)
        self.assertLess(found.longest, 0.1)
        self.assertGreater(found.p50, scenarios.DISK)

    def test_attack_194_a_failover_loses_no_revocation_that_was_answered(self) -> None:
        """What only the failed primary had is added to the log again by the machine that has revoked it."""
        found = scenarios.fail_over(15, 10, 5.0, 10.0, again=True)
        self.assertGreater(found.answered, 300)
        self.assertGreater(found.unanswered, 20)
        self.assertEqual(found.lost, 0)
        without = scenarios.fail_over(15, 10, 5.0, 10.0, again=False)
        self.assertGreater(without.lost, 0, "the scenario loses nothing in any case, so it shows nothing")

    def test_a_machine_refuses_once_it_has_heard_nothing_for_the_limit(self) -> None:
        found = scenarios.fail_over(15, 2, 70.0, 2.0, again=True)
        self.assertLess(found.stale_seconds, 60.5)
        self.assertGreater(found.refused, 0)
        short = scenarios.fail_over(15, 2, 30.0, 2.0, again=True)
        self.assertEqual(short.refused, 0)


class CapacityTests(TestCase):
    def test_a_machine_with_redis_keeps_as_many_tokens_as_its_memory_allows(self) -> None:
        self.assertEqual(capacity.most_kept(), MOST_KEPT)

    def test_tokens_that_are_used_more_often_are_found_more_often(self) -> None:
        few, many = capacity.hits(15, 100, 20_000), capacity.hits(15, 1_000_000, 20_000)
        self.assertEqual((few.uniform, few.zipf), (1.0, 1.0))
        self.assertGreater(many.zipf, many.uniform)
        self.assertLess(many.uniform, 0.05)
