"""Clients take turns: which clients wait, which are refused, and how a cancelled job fails."""

from __future__ import annotations

from contextvars import copy_context

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial import unittest

from perimeter.errors import Overloaded, Unavailable
from perimeter.fair_queue import CLIENT, LONGEST_RETRY, FairSemaphore, StillWaiting, Wait, retry_after, timed_out


class WaitTests(unittest.TestCase):
    def test_the_time_of_all_waits_counts(self) -> None:
        clock = Clock()
        changes: list[float] = []
        wait = Wait(clock.seconds, lambda: changes.append(wait.seconds))
        self.assertEqual((wait.now, wait.seconds), (False, 0.0))
        wait.begin()
        clock.advance(2)
        self.assertEqual((wait.now, wait.seconds), (True, 2.0))
        clock.advance(1)
        wait.end()
        clock.advance(5)
        self.assertEqual((wait.now, wait.seconds), (False, 3.0))
        wait.begin()
        clock.advance(1)
        wait.end()
        self.assertEqual((wait.seconds, changes), (4.0, [0.0, 3.0, 3.0, 4.0]))


class RetryAfterTests(unittest.TestCase):
    def test_steps_are_spread(self) -> None:
        for seconds, step in ((0, 1), (1, 1), (1.1, 2), (2, 2), (3, 4), (8, 8), (9, 16), (17, 30), (30, 30), (1e9, 30)):
            found = {retry_after(seconds) for _ in range(3000)}
            self.assertEqual((min(found), max(found)), (step, 2 * step), seconds)
        self.assertEqual(LONGEST_RETRY, 60)


class TurnsTests(unittest.TestCase):
    """Attack 47: a client with many jobs delays another client by at most one job."""

    def setUp(self) -> None:
        self.turns = FairSemaphore(1, 3, "a turn")

    def acquire(self, client: str) -> Deferred[None]:
        def acquire() -> Deferred[None]:
            CLIENT.set(client)
            return self.turns.acquire()

        return copy_context().run(acquire)

    def test_attack_47_clients_take_turns(self) -> None:
        order: list[str] = []
        for client in ("a1", "a2", "a3", "b1"):
            self.acquire(client[0]).addCallback(lambda _, client=client: order.append(client))  # type: ignore[misc]
        for _ in range(4):
            self.turns.release()
        self.assertEqual(order, ["a1", "a2", "b1", "a3"])

    def test_attack_47_a_full_queue_refuses_the_client_that_filled_it(self) -> None:
        waiting = [self.acquire("a") for _ in range(4)]
        self.failureResultOf(self.acquire("a"), Overloaded)
        other = self.acquire("b")
        error = self.failureResultOf(waiting.pop(), Overloaded).value
        self.assertGreater(error.retry_after, 0)
        self.turns.release()
        self.turns.release()
        self.successResultOf(other)

    def test_lines_of_one_length_make_no_room(self) -> None:
        for client in "abcd":
            self.acquire(client)
        self.failureResultOf(self.acquire("e"), Overloaded)

    def test_a_waiter_that_is_cancelled_makes_room(self) -> None:
        self.acquire("a")
        waiter, next_one = self.acquire("a"), self.acquire("a")
        waiter.cancel()
        self.failureResultOf(waiter, StillWaiting)
        self.turns.release()
        self.successResultOf(next_one)
        self.turns.release()
        self.successResultOf(self.acquire("a"))

    @given(st.lists(st.one_of(st.sampled_from("abc"), st.integers(0, 9)), max_size=40))
    def test_no_more_than_one_has_its_turn_and_no_turn_is_lost(self, steps: list[str | int]) -> None:
        """A letter acquires for that client; a number cancels one of the waiting jobs."""
        self.setUp()
        served: list[str] = []
        waiting: list[Deferred[None]] = []
        for step in steps:
            if isinstance(step, str):
                turn = self.acquire(step)
                turn.addCallbacks(lambda _, step=step: served.append(step), lambda _: None)  # type: ignore[misc]
                waiting.append(turn)
            elif waiting:
                waiting[step % len(waiting)].cancel()
            self.assertLessEqual(len(served), 1)
            self.assertLessEqual(self.turns.waiting, 3)
        for count in range(len(served), len(served) + self.turns.waiting):
            self.turns.release()
            self.assertEqual(len(served), count + 1)
        if served:
            self.turns.release()
        self.successResultOf(self.acquire("z"))


class TimedOutTests(unittest.TestCase):
    def test_a_job_that_only_waited_is_no_sign_of_a_backend_that_is_down(self) -> None:
        turns, clock = FairSemaphore(0, 1, "a turn"), Clock()
        waiting = turns.acquire().addTimeout(5, clock, timed_out("the directory"))
        at_work: Deferred[None] = Deferred()
        at_work.addTimeout(5, clock, timed_out("the directory"))
        clock.advance(5)
        self.assertEqual(self.failureResultOf(waiting, Overloaded).value.detail, "the directory was busy for 5 s")
        self.assertNotIsInstance(self.failureResultOf(at_work, Unavailable).value, Overloaded)

    def test_cancelling_is_no_timeout(self) -> None:
        waiting = FairSemaphore(0, 1, "a turn").acquire().addTimeout(5, Clock(), timed_out("the directory"))
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
