"""What `perimeter status` shows of requests, certificates and the last reload."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from twisted.trial.unittest import TestCase

from perimeter.metrics.counts import Metrics, RequestRow
from perimeter.metrics.figures import Totals, totals
from perimeter.run.overview import certificates, last_reload, limits_so_far, requests_so_far
from perimeter.web.endpoints.operator.gateway import Reload
from tests.integration.netkit import identity


class OverviewTests(TestCase):
    def test_requests_by_class(self) -> None:
        metrics = Metrics()
        for status, count in ((200, 3), (204, 1), (404, 2), (499, 5), (503, 7)):
            row = metrics.requests.rows["https", "all", status, None] = RequestRow()
            row.buckets[0], row.sent, row.received = count, 10, 1
        self.assertEqual(
            requests_so_far(totals(metrics)),
            {"requests": {"none": 5, "1xx": 0, "2xx": 4, "3xx": 0, "4xx": 2, "5xx": 7}, "received": 5, "sent": 50},
        )

    def test_requests_over_limits(self) -> None:
        metrics = Metrics()
        self.assertEqual(limits_so_far(totals(metrics)), {"limited": []})
        metrics.count_limited("app", "rate 5/s per user")
        metrics.count_limited("app", "rate 5/s per user")
        metrics.count_limited("api", "in_flight 1 per user")
        rows = [
            {"route": "app", "limit": "rate 5/s per user", "refused": 2},
            {"route": "api", "limit": "in_flight 1 per user", "refused": 1},
        ]
        self.assertEqual(limits_so_far(totals(metrics)), {"limited": rows})
        self.assertEqual(limits_so_far(Totals.from_counts(totals(metrics).counts())), {"limited": rows})

    def test_days_left_of_certificates(self) -> None:
        start = datetime.now(UTC).replace(microsecond=0) - timedelta(10)
        one = identity("gw.example", start=start, days=20)
        end = one.chain[0].not_valid_after_utc
        for seconds, days in ((0, 0), (-1, -1), (86399, 0), (86400, 1), (-86401, -2)):
            (found,) = certificates({"https": (one,)}, end.timestamp() - seconds)
            self.assertEqual(found["days"], days, seconds)
        self.assertEqual((found["listener"], found["subject"]), ("https", "CN=gw.example"))
        self.assertEqual(found["until"], end.strftime("%Y-%m-%dT%H:%M:%SZ"))
        self.assertEqual(certificates({}, 0), [])

    def test_the_last_reload(self) -> None:
        self.assertIsNone(last_reload(Reload()))
        self.assertEqual(last_reload(Reload(1_800_000_000.9)), {"at": "2027-01-15T08:00:00Z", "refused": ""})
        self.assertEqual(last_reload(Reload(1.0, "a fault")), {"at": "1970-01-01T00:00:01Z", "refused": "a fault"})
