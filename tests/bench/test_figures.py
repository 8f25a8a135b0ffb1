"""The benchmark's arithmetic: parsing the output of wrk and the kernel, and the statistics."""

from __future__ import annotations

import math
import os

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import TestCase

from bench import processes, wrk
from bench.errors import BenchError
from bench.figures import Measurement

REPORT = """\
Running 2s test @ https://127.0.0.1:21000/v1/ecflow/small
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.68ms    2.01ms  35.70ms   91.17%
    Req/Sec    21.10k     3.41k   26.55k    70.00%
  Latency Distribution
     50%  850.00us
     75%    1.74ms
     90%    3.11ms
     99%    9.93ms
  42173 requests in 2.01s, 9.05MB read
Requests/sec:  20981.59
Transfer/sec:      4.50MB
"""


class WrkTests(TestCase):
    def test_a_report_is_read(self) -> None:
        outcome = wrk.parse(REPORT)
        self.assertEqual(outcome, wrk.Outcome(42173, 2.01, 0, 0, outcome.p50, outcome.p99))
        self.assertAlmostEqual(outcome.p50, 0.85)
        self.assertAlmostEqual(outcome.p99, 9.93)
        self.assertAlmostEqual(outcome.rate, 42173 / 2.01)

    def test_errors_and_refusals_are_counted(self) -> None:
        trouble = "  Socket errors: connect 1, read 20, write 300, timeout 4000\n  Non-2xx or 3xx responses: 17\n"
        outcome = wrk.parse(REPORT.replace("Requests/sec", trouble + "Requests/sec"))
        self.assertEqual((outcome.errors, outcome.other_statuses), (4321, 17))

    def test_a_run_of_minutes_is_read(self) -> None:
        self.assertEqual(wrk.parse("  10 requests in 1.50m, 1.00KB read\n").seconds, 90.0)

    def test_without_a_distribution_there_are_no_percentiles(self) -> None:
        self.assertTrue(math.isnan(wrk.parse("  10 requests in 1.00s, 1.00KB read\n").p99))

    def test_anything_else_is_no_report(self) -> None:
        for text in ("", "unable to connect to 127.0.0.1:1 Connection refused\n", "requests in 2.01s"):
            self.assertRaises(BenchError, wrk.parse, text)


class KernelTests(TestCase):
    def test_the_name_of_a_process_may_look_like_fields(self) -> None:
        stat = "42 (a) S 1 (b) 7) S 1 42 42 0 -1 4194560 100 0 0 0 11 22 33 44 20 0 1 0 5 1000 10"
        self.assertEqual(processes.parse_stat(stat), 11 + 22 + 33 + 44)

    def test_a_process_is_of_its_own_family(self) -> None:
        self.assertIn(os.getpid(), processes.family([os.getpid()]))

    def test_what_has_ended_has_no_family(self) -> None:
        self.assertEqual(processes.family([2**22 + 1]), [])


def measurement(growth: bool = False, **samples: tuple[float, ...]) -> Measurement:
    return Measurement("bearer", "µs of CPU", samples, "ours", growth=growth)


class MeasurementTests(TestCase):
    def test_a_figure_is_the_median_of_the_rounds(self) -> None:
        found = measurement(ours=(9.0, 1.0, 2.0))
        self.assertEqual((found.median("ours"), found.best("ours")), (2.0, 1.0))

    def test_who_took_no_part_has_no_figure(self) -> None:
        found = measurement(ours=(1.0,), theirs=())
        self.assertEqual(found.peers, ("ours",))
        for peer in ("theirs", "nobody"):
            self.assertEqual((found.median(peer), found.best(peer), found.ratio(peer)), (None, None, None))

    def test_rounds_are_compared_with_themselves(self) -> None:
        # another program used the machine in the second round: the medians alone would be 10 to 4
        found = measurement(ours=(10.0, 90.0, 10.0), theirs=(5.0, 45.0, 4.0))
        self.assertEqual(found.ratio("theirs"), 2.0)

    def test_growth_is_relative_to_the_smallest(self) -> None:
        self.assertEqual(measurement(True, ours=(10.0,), more=(12.0,)).ratio("more"), 1.2)

    def test_a_figure_of_nothing_is_compared_with_nothing(self) -> None:
        self.assertIsNone(measurement(ours=(1.0,), theirs=(0.0,)).ratio("theirs"))

    @given(st.lists(st.floats(0.1, 1e6), min_size=1, max_size=9), st.floats(0.1, 100))
    def test_a_ratio_does_not_depend_on_the_machine(self, values: list[float], factor: float) -> None:
        found = measurement(ours=tuple(values), theirs=tuple(value * factor for value in values))
        ratio = found.ratio("theirs")
        assert ratio is not None
        self.assertAlmostEqual(ratio * factor, 1.0)
