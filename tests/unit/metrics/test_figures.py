"""The figures of one moment, of one process and of several."""

from __future__ import annotations

import json

from twisted.trial.unittest import TestCase

from perimeter.metrics.counts import REQUEST_BOUNDS, Metrics
from perimeter.metrics.figures import STREAM_ROUTE, AuthenticatorNow, Now, ServerNow, Totals, own_figures, together, totals
from perimeter.metrics.sources import NotRunning
from perimeter.workers.sums import total
from tests.unit.doubles.audit_records import make_record


def now(connections: dict[str, int], servers: list[ServerNow], authenticators: list[AuthenticatorNow], state: int = 0) -> Now:
    return Now(connections, 2 + state, 5 + state, state > 0, servers, authenticators)


class TotalsTests(TestCase):
    def counted(self, *records: dict[str, object]) -> Metrics:
        metrics = Metrics()
        for one in records:
            metrics.requests.record(make_record(**one))
        return metrics

    def test_by_class_and_reason(self) -> None:
        found = totals(
            self.counted(
                {"status": 200, "sent": 3, "received": 1, "duration": 0.0},
                {"status": 499, "reason": "client_gone", "sent": 0},
                {"status": 404, "reason": "no_route", "listener": "http", "sent": 1, "duration": 60.0},
                {"status": 404, "reason": "no_route", "sent": 1, "duration": 60.0},
                {"status": 101, "sent": 5},
                {"status": 200, "route": STREAM_ROUTE, "sent": 0},
            )
        )
        self.assertEqual(found.requests, [1, 1, 2, 0, 2, 0])
        self.assertEqual((found.sent, found.received), (10, 1))
        self.assertEqual(found.refusals, {"client_gone": 1, "no_route": 2})
        self.assertEqual((found.buckets[0], found.buckets[-1], sum(found.buckets)), (1, 2, 4))

    def test_the_sum_of_two_processes(self) -> None:
        one = totals(self.counted({"sent": 3, "reason": "a"}, {"reason": "b"}))
        two = totals(self.counted({"sent": 4, "reason": "b", "status": 500}))
        whole = totals(self.counted({"sent": 3, "reason": "a"}, {"reason": "b"}, {"sent": 4, "reason": "b", "status": 500}))
        sent = [json.loads(json.dumps(each.counts())) for each in (one, two)]
        self.assertEqual(Totals.from_counts(total(sent)), whole)

    def test_of_nothing(self) -> None:
        self.assertEqual(Totals.from_counts({}), totals(Metrics()))
        self.assertEqual(len(Totals.from_counts({}).buckets), len(REQUEST_BOUNDS) + 1)


class NowTests(TestCase):
    def test_connections_are_added_and_states_are_the_worst(self) -> None:
        found = together(
            now({"http": 1, "https": 2},
                [ServerNow("app", "a", 1, 2, active=2), ServerNow("app", "b", 0, 0, "resting", "refused")],
                [AuthenticatorNow("users", "local", False, 0), AuthenticatorNow("ads", "corp", True, 4)]),
            [
                now({"https": 10, "gone": 1}, [ServerNow("app", "b", 3, 4, "starting"), ServerNow("app", "c", 1, 1)],
                    [AuthenticatorNow("users", "local", True, 9)]),
                now({"https": 100}, [ServerNow("app", "a", 5, 6, "down", "it answered 500", active=3)], [], state=1),
            ],
        )  # fmt: skip
        self.assertEqual(found.connections, {"http": 1, "https": 112})
        self.assertEqual(
            found.servers,
            [ServerNow("app", "a", 6, 8, "down", "it answered 500", active=5), ServerNow("app", "b", 3, 4, "resting", "refused")],
        )
        self.assertEqual(
            found.authenticators, [AuthenticatorNow("users", "local", True, 9), AuthenticatorNow("ads", "corp", True, 4)]
        )
        self.assertEqual((found.in_flight, found.sessions, found.audit_failing), (7, 6, True))

    def test_one_process_alone(self) -> None:
        own = now({"http": 1}, [ServerNow("app", "a", 1, 2)], [AuthenticatorNow("users", "local", False, 0)])
        self.assertEqual(together(own, []), own)

    def test_there_and_back(self) -> None:
        own = now({"http": 1}, [ServerNow("app", "a", 1, 2)], [AuthenticatorNow("users", "local", False, 0)])
        self.assertEqual(Now.from_members(json.loads(json.dumps(own.members()))), own)

    def test_a_gateway_that_stops_has_no_figures(self) -> None:
        self.assertRaises(NotRunning, own_figures, Metrics(), 0.0)
