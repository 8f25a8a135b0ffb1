"""The pool for slow work: its bound, its cancellation and its end."""

from __future__ import annotations

import os
import threading
from contextvars import copy_context

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.trial import unittest

from perimeter.errors import Overloaded, Unavailable
from perimeter.fair_queue import CLIENT, WAIT, StillWaiting, Wait
from perimeter.offload import GRACE, NICENESS, Offload
from tests.unit.doubles.auth import ManualThreads, ThreadClock, offload_with


class OffloadTests(unittest.TestCase):
    def setUp(self) -> None:
        self.clock = ThreadClock()
        self.threads = ManualThreads()
        self.offload = offload_with(self.threads, self.clock, count=1, queue=2)

    def test_results_and_exceptions_come_back(self) -> None:
        good = self.offload.run(int, "12", base=16)
        bad = self.offload.run(int, "x")
        self.threads.step()
        self.assertEqual(self.successResultOf(good), 18)
        self.threads.step()
        self.failureResultOf(bad, ValueError)

    def test_no_more_run_at_once_than_there_are_threads(self) -> None:
        for _ in range(3):
            self.offload.run(lambda: None)
        self.assertEqual((len(self.threads.jobs), self.offload.waiting), (1, 2))
        self.threads.step()
        self.assertEqual((len(self.threads.jobs), self.offload.waiting), (1, 1))

    def test_a_full_queue_refuses_at_once(self) -> None:
        waiting = [self.offload.run(lambda: 1) for _ in range(3)]
        error = self.failureResultOf(self.offload.run(lambda: 2), Overloaded).value
        self.assertGreater(error.retry_after, 0)
        for deferred in waiting:
            self.assertNoResult(deferred)
            self.threads.step()
            self.assertEqual(self.successResultOf(deferred), 1)
        self.assertNoResult(self.offload.run(lambda: 3))

    def test_the_next_step_of_admitted_work_is_never_refused(self) -> None:
        for _ in range(3):
            self.offload.run(lambda: 1)
        step = self.offload.proceed(lambda: 4)
        for _ in range(4):
            self.assertNoResult(step)
            self.threads.step()
        self.assertEqual(self.successResultOf(step), 4)

    def test_a_waiting_job_that_is_cancelled_never_runs_and_makes_room(self) -> None:
        ran: list[str] = []
        self.offload.run(ran.append, "first")
        second = self.offload.run(ran.append, "second")
        self.offload.run(ran.append, "third")
        second.cancel()
        self.failureResultOf(second, CancelledError)
        self.offload.run(ran.append, "fourth")
        for _ in range(3):
            self.threads.step()
        self.assertEqual(ran, ["first", "third", "fourth"])

    def test_the_result_of_a_cancelled_job_is_dropped(self) -> None:
        deferred = self.offload.run(lambda: 1)
        deferred.cancel()
        self.failureResultOf(deferred, CancelledError)
        following = self.offload.run(lambda: 2)
        self.assertEqual(len(self.threads.jobs), 1, "the thread is not free before its job has ended")
        self.threads.step()
        self.threads.step()
        self.assertEqual(self.successResultOf(following), 2)

    def test_stop_fails_what_waits_and_waits_for_what_runs(self) -> None:
        running, waiting = self.offload.run(lambda: 1), self.offload.run(lambda: 2)
        stopped = self.offload.stop()
        self.failureResultOf(waiting, Unavailable)
        self.failureResultOf(self.offload.run(lambda: 3), Unavailable)
        self.assertNoResult(stopped)
        self.threads.step()
        self.assertEqual(self.successResultOf(running), 1)
        self.successResultOf(stopped)
        self.assertEqual(self.threads.events, ["start", "stop"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stop_waits_for_a_hanging_job_no_longer_than_its_grace(self) -> None:
        self.offload.run(lambda: 1)
        stopped = self.offload.stop()
        self.clock.advance(GRACE)
        self.successResultOf(stopped)
        self.threads.step()

    def test_nothing_runs_before_start(self) -> None:
        self.failureResultOf(Offload(self.clock, pool=self.threads).run(lambda: 1), Unavailable)


class RealThreadsTests(unittest.TestCase):
    async def test_work_is_done_in_another_thread_and_answered_in_this_one(self) -> None:
        offload = Offload(reactor, threads=2)
        offload.start()
        try:
            worker = await offload.run(threading.current_thread)
            self.assertIsNot(worker, threading.current_thread())
            self.assertTrue(worker.daemon)
        finally:
            await offload.stop()

    async def test_attack_47_a_polite_pool_leaves_the_processor_to_the_reactor(self) -> None:
        offload = Offload(reactor, threads=1, polite=True)
        offload.start()
        try:
            niceness = await offload.run(os.getpriority, os.PRIO_PROCESS, 0)
            self.assertEqual(niceness, min(19, os.getpriority(os.PRIO_PROCESS, 0) + NICENESS))
        finally:
            await offload.stop()


class LinesTests(unittest.TestCase):
    """47: one client's jobs delay another client's by one turn, however many they are."""

    def setUp(self) -> None:
        self.threads = ManualThreads()
        self.offload = offload_with(self.threads, ThreadClock(), count=1, queue=4)
        self.ran: list[str] = []

    def submit(self, client: str, name: str) -> Deferred[None]:
        def run() -> Deferred[None]:
            CLIENT.set(client)
            return self.offload.run(self.ran.append, name)

        return copy_context().run(run)

    def test_attack_47_clients_take_turns(self) -> None:
        for client, name in (("a", "a1"), ("a", "a2"), ("a", "a3"), ("a", "a4"), ("b", "b1")):
            self.submit(client, name)
        while self.threads.jobs:
            self.threads.step()
        self.assertEqual(self.ran, ["a1", "a2", "b1", "a3", "a4"])

    def test_attack_47_a_full_queue_refuses_the_client_that_filled_it(self) -> None:
        jobs = [self.submit("a", f"a{number}") for number in range(5)]
        self.failureResultOf(self.submit("a", "a5"), Overloaded)
        other = self.submit("b", "b0")
        error = self.failureResultOf(jobs.pop(), Overloaded).value
        self.assertGreater(error.retry_after, 0)
        self.assertEqual(self.offload.waiting, 4)
        while self.threads.jobs:
            self.threads.step()
        self.assertEqual(self.ran, ["a0", "a1", "b0", "a2", "a3"])
        self.successResultOf(other)

    def test_clients_with_lines_of_one_length_make_no_room_for_another(self) -> None:
        self.submit("", "running")
        jobs = [self.submit(client, client) for client in "abcd"]
        self.failureResultOf(self.submit("e", "e"), Overloaded)
        for job in jobs:
            self.assertNoResult(job)

    def test_the_next_step_of_admitted_work_makes_room_for_no_new_work(self) -> None:
        self.submit("", "running")
        steps = [self.offload.proceed(self.ran.append, f"step{number}") for number in range(4)]
        self.failureResultOf(self.submit("b", "b0"), Overloaded)
        for step in steps:
            self.assertNoResult(step)

    def test_the_time_in_the_queue_is_measured(self) -> None:
        """However a job leaves the queue: by its turn, cancelled, refused for another client, or at the end."""
        clock = ThreadClock()
        for end in ("turn", "cancelled", "refused", "stopped"):
            threads = ManualThreads()
            offload = offload_with(threads, clock, count=1, queue=2)
            offload.run(int)
            waits = [Wait(clock.seconds, lambda: None) for _ in range(2)]
            jobs = []
            for wait in waits:
                WAIT.set(wait)
                jobs.append(offload.run(int).addErrback(lambda _: None))
            WAIT.set(None)
            self.assertEqual([wait.now for wait in waits], [True, True])
            clock.advance(3)
            if end == "turn":
                threads.step()
            elif end == "cancelled":
                jobs[0].cancel()
            elif end == "refused":
                CLIENT.set("other")
                offload.run(int)
                CLIENT.set("")
                waits.reverse()  # the newest job makes room
            else:
                offload.stop()
            clock.advance(4)
            self.assertEqual((waits[0].now, waits[0].seconds), (False, 3), end)
            self.assertEqual(waits[1].now, end != "stopped", end)

    def test_who_is_refused_is_told_when_to_come_back(self) -> None:
        """Jobs of 4 s, two threads, ten waiting: in 20 to 40 s, rounded up to a step of 30 s."""
        clock, threads = ThreadClock(), ManualThreads()
        offload = offload_with(threads, clock, count=2, queue=10)
        self.assertIn(offload.retry_after, (1, 2))
        for _ in range(2):
            offload.run(int)
        clock.advance(4)
        for _ in range(2):
            threads.step()
        for _ in range(12):
            offload.run(int)
        refusal = self.failureResultOf(offload.run(int), Overloaded).value
        self.assertTrue(30 <= refusal.retry_after <= 60, refusal.retry_after)
        self.assertEqual(offload._average, 4)
        clock.advance(12)
        threads.step()
        self.assertEqual(offload._average, 5, "one eighth of the latest")

    def test_a_cancelled_job_says_whether_it_had_begun(self) -> None:
        running, waiting = self.submit("a", "a0"), self.submit("a", "a1")
        for job, begun in ((waiting, False), (running, True)):
            job.cancel()
            error = self.failureResultOf(job, CancelledError).value
            self.assertEqual(isinstance(error, StillWaiting), not begun)
        self.assertEqual(self.offload.waiting, 0)

    @given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=30))
    def test_every_job_has_one_end(self, steps: list[tuple[str, bool]]) -> None:
        """Jobs are submitted and cancelled in any order: each job runs or fails, and none is left waiting."""
        self.setUp()
        ends: list[object] = []
        jobs = []
        for client, cancel in steps:
            job = self.submit(client, client)
            job.addBoth(ends.append)
            jobs.append(job)
            if cancel:
                jobs[len(jobs) // 2].cancel()
        while self.threads.jobs:
            self.threads.step()
        self.assertEqual((len(ends), self.offload.waiting), (len(steps), 0))
