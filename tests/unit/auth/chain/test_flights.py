"""Verifications under way."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import TestCase

from perimeter.auth.chain.flights import Flights


class FlightTests(TestCase):
    def test_a_verification_is_under_way_while_a_request_waits_for_it(self) -> None:
        for finish in (False, True):
            flights = Flights(finish=finish)
            answer: Deferred[str] = Deferred()

            async def work(answer: Deferred[str] = answer) -> Any:
                return await answer

            self.assertIs(flights.under_way("key"), False)
            first, second = flights.join("key", work), flights.join("key", work)
            self.assertIs(flights.under_way("key"), True)
            self.assertIs(flights.under_way("other"), False)
            first.cancel()
            self.failureResultOf(first, CancelledError)
            self.assertIs(flights.under_way("key"), True)
            second.cancel()
            self.failureResultOf(second, CancelledError)
            self.assertIs(flights.under_way("key"), False)

    def test_the_result_ends_it(self) -> None:
        flights = Flights()
        answer: Deferred[str] = Deferred()

        async def work() -> Any:
            return await answer

        waiting = [flights.join("key", work) for _ in range(2)]
        answer.callback("alice")
        self.assertEqual([self.successResultOf(one) for one in waiting], ["alice", "alice"])
        self.assertIs(flights.under_way("key"), False)
