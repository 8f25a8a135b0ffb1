"""Spans on their way to a collector: batches, pauses, bounds, and what is counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial import unittest

from perimeter.errors import Unavailable
from perimeter.traces.exporter import BATCH, INTERVAL, LAST, PAUSE, TRIES, Exporter, Outcome
from perimeter.traces.span import Span, SpanKind

SPAN = Span("0" * 31 + "1", "1" * 16, "", "GET app", SpanKind.SERVER, 1.0, 2.0)


class ExporterCase(unittest.TestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.sent: list[bytes] = []
        self.in_threads = 0
        self.counts: Counter[str] = Counter()
        self.answer: Callable[[], Deferred[Any]] = lambda: succeed(SimpleNamespace(status=200))
        self.exporter = self.made(2000)

    def made(self, most: int) -> Exporter:
        def encode(spans: Sequence[Span], in_thread: bool) -> bytes:
            self.in_threads += in_thread
            return b"%d" % len(spans)

        def run(make: Callable[[Sequence[Span], bool], bytes], spans: Sequence[Span], in_thread: bool) -> Deferred[bytes]:
            return succeed(make(spans, in_thread))

        def send(body: bytes) -> Deferred[Any]:
            self.sent.append(body)
            return self.answer()

        def count(outcome: Outcome, number: int) -> None:
            self.counts[outcome] += number

        return Exporter(encode, run, send, most, self.clock, count)

    def status(self, *statuses: int) -> None:
        left = list(statuses)
        self.answer = lambda: succeed(SimpleNamespace(status=left.pop(0)))


class ExporterTests(ExporterCase):
    def test_spans_are_sent_together_after_a_second(self) -> None:
        self.exporter.add([SPAN, SPAN])
        self.clock.advance(INTERVAL - 0.01)
        self.exporter.add([SPAN])
        self.assertEqual(self.sent, [])
        self.clock.advance(0.01)
        self.assertEqual(self.sent, [b"3"])
        self.assertEqual(self.counts, {Outcome.SENT: 3})
        self.assertEqual(self.in_threads, 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.exporter.add([SPAN])
        self.clock.advance(INTERVAL)
        self.assertEqual(self.sent, [b"3", b"1"])

    def test_a_full_batch_goes_at_once_and_the_next_one_after_it(self) -> None:
        self.exporter.add([SPAN] * (BATCH + 1))
        self.assertEqual(self.sent, [b"%d" % BATCH])
        self.clock.advance(INTERVAL)
        self.assertEqual(self.sent, [b"%d" % BATCH, b"1"])
        self.exporter.add([SPAN] * (2 * BATCH))
        self.assertEqual(len(self.sent), 4)

    def test_attack_102_what_does_not_fit_is_dropped_and_counted(self) -> None:
        self.answer = Deferred
        exporter = self.made(BATCH + 2)
        exporter.add([SPAN] * BATCH)
        exporter.add([SPAN] * 2)
        for _ in range(1000):
            exporter.add([SPAN])
        self.assertEqual(self.counts, {Outcome.DROPPED: 1000})
        self.assertEqual(len(self.sent), 1)

    def test_what_is_sent_makes_room(self) -> None:
        exporter = self.made(BATCH)
        exporter.add([SPAN] * BATCH)
        exporter.add([SPAN])
        self.clock.advance(INTERVAL)
        self.assertEqual(self.counts, {Outcome.SENT: BATCH + 1})

    def test_a_collector_that_is_away_is_asked_again_with_longer_pauses(self) -> None:
        self.answer = lambda: fail(Unavailable("connection refused"))
        self.exporter.add([SPAN])
        self.clock.advance(INTERVAL)
        pause = PAUSE
        for tried in range(1, TRIES):
            self.assertEqual(len(self.sent), tried)
            self.clock.advance(pause - 0.01)
            self.assertEqual(len(self.sent), tried)
            self.clock.advance(0.01)
            pause *= 2
        self.assertEqual(len(self.sent), TRIES)
        self.assertEqual(self.counts, {Outcome.FAILED: 1})
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_which_answers_mean_later(self) -> None:
        for status in (429, 502, 503, 504):
            self.counts.clear()
            self.status(status, 200)
            self.exporter.add([SPAN])
            self.clock.advance(INTERVAL)
            self.assertEqual(self.counts, {})
            self.clock.advance(PAUSE)
            self.assertEqual(self.counts, {Outcome.SENT: 1}, status)
        for status in (300, 400, 401, 404, 413, 500):
            self.counts.clear()
            self.status(status)
            self.exporter.add([SPAN])
            self.clock.advance(INTERVAL)
            self.assertEqual(self.counts, {Outcome.REFUSED: 1}, status)
        self.counts.clear()
        self.status(299)
        self.exporter.add([SPAN])
        self.clock.advance(INTERVAL)
        self.assertEqual(self.counts, {Outcome.SENT: 1})

    def test_a_bug_loses_spans_and_the_next_ones_are_sent(self) -> None:
        self.answer = lambda: fail(ValueError("a bug"))
        self.exporter.add([SPAN] * 2)
        self.clock.advance(INTERVAL)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.assertEqual(self.counts, {Outcome.FAILED: 2})
        self.status(200)
        self.exporter.add([SPAN])
        self.clock.advance(INTERVAL)
        self.assertEqual(self.counts, {Outcome.FAILED: 2, Outcome.SENT: 1})


class StopTests(ExporterCase):
    def test_what_waits_is_sent_at_once_and_not_in_a_thread(self) -> None:
        self.exporter.add([SPAN])
        ended = self.exporter.stop()
        self.assertEqual(self.sent, [])
        self.clock.advance(0)
        self.assertEqual(self.sent, [b"1"])
        self.assertEqual(self.in_threads, 0)
        self.successResultOf(ended)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_nothing_waits(self) -> None:
        self.successResultOf(self.exporter.stop())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_attack_102_a_collector_that_hangs_does_not_delay_the_stop_for_long(self) -> None:
        self.answer = Deferred
        self.exporter.add([SPAN])
        ended, again = self.exporter.stop(), self.exporter.stop()
        self.clock.advance(0)
        self.clock.advance(LAST - 0.01)
        self.assertNoResult(ended)
        self.clock.advance(0.01)
        self.successResultOf(ended)
        self.successResultOf(again)
        self.assertEqual(self.counts, {Outcome.FAILED: 1})
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_attack_102_a_cancelled_exchange_may_end_in_another_exception(self) -> None:
        def never() -> Deferred[Any]:
            return Deferred(lambda it: it.errback(Unavailable("ResponseNeverReceived")))

        self.answer = never
        self.exporter.add([SPAN] * (BATCH + 1))
        ended = self.exporter.stop()
        self.clock.advance(LAST)
        self.successResultOf(ended)
        self.assertEqual((len(self.sent), self.counts), (1, {Outcome.FAILED: BATCH + 1}))

    def test_after_one_batch_that_fails_a_stop_tries_no_other(self) -> None:
        self.answer = Deferred
        self.exporter.add([SPAN] * (BATCH + 1))
        ended = self.exporter.stop()
        self.answer = lambda: succeed(SimpleNamespace(status=503))
        self.exporter._sending.cancel()
        self.successResultOf(ended)
        self.exporter.add([SPAN] * 2 * BATCH)
        self.assertEqual((len(self.sent), self.counts), (2, {Outcome.FAILED: 3 * BATCH + 1}))

    def test_a_stop_ends_the_pause_between_attempts(self) -> None:
        self.answer = lambda: fail(Unavailable("away"))
        self.exporter.add([SPAN])
        self.clock.advance(INTERVAL)
        ended = self.exporter.stop()
        self.clock.advance(0)
        self.successResultOf(ended)
        self.assertEqual((len(self.sent), self.counts), (2, {Outcome.FAILED: 1}))

    def test_spans_of_requests_that_end_later_are_sent_at_once(self) -> None:
        self.successResultOf(self.exporter.stop())
        self.exporter.add([SPAN])
        self.assertEqual((self.sent, self.counts), ([b"1"], {Outcome.SENT: 1}))
