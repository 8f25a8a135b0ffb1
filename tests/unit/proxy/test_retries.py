"""The budget of retries: what is earned, what is saved up, and what a retry costs."""

from __future__ import annotations

from twisted.trial import unittest

from perimeter.proxy.retries import RESERVE, RetryBudget


class BudgetTests(unittest.TestCase):
    def taken(self, budget: RetryBudget) -> int:
        """How many retries there are until none is granted any more."""
        count = 0
        while budget.take():
            count += 1
        return count

    def test_the_reserve(self) -> None:
        self.assertEqual(self.taken(RetryBudget(0.0)), RESERVE)

    def test_requests_earn_their_part(self) -> None:
        budget = RetryBudget(0.25)
        self.taken(budget)
        for requests, retries in ((3, 0), (1, 1), (4, 1), (8, 2), (20, 5)):
            for _ in range(requests):
                budget.request()
            self.assertEqual(self.taken(budget), retries, requests)

    def test_no_more_than_the_reserve_is_saved_up(self) -> None:
        budget = RetryBudget(1.0)
        for _ in range(1000):
            budget.request()
        self.assertEqual(self.taken(budget), RESERVE)

    def test_nothing_is_earned_with_a_share_of_nothing(self) -> None:
        budget = RetryBudget(0.0)
        self.taken(budget)
        for _ in range(1000):
            budget.request()
        self.assertFalse(budget.take())
