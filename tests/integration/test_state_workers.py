"""The state of several worker processes with one state.db and one page of memory."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from twisted.trial import unittest

from bench.revocations.worker import StateWorkers
from perimeter.run.build.state_kinds import STATE_KINDS
from perimeter.state.sqlite import SqliteStore
from perimeter.tokens.revocation import Removed

WORKERS = 3
TRIES = 500


class StateWorkersTests(unittest.SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir(mode=0o700)
        self.workers = StateWorkers(self.directory, WORKERS)
        self.addCleanup(self.workers.close)
        self.page = self.workers.page

    def good(self, **question: object) -> list[bool]:
        """What each worker that runs says about a token."""
        return [self.workers.ask(number, do="good", **question) for number in self.workers.processes]

    def eventually(self, wanted: list[bool], seconds: float, **question: object) -> float:
        """Seconds until the workers say what is wanted."""
        began = time.monotonic()
        while self.good(**question) != wanted:
            self.assertLess(time.monotonic() - began, seconds)
        return time.monotonic() - began

    def test_attack_88_a_revocation_that_is_answered_is_refused_by_every_worker(self) -> None:
        slots = self.page.slots[:WORKERS]
        for number in range(TRIES):
            first = number % WORKERS
            kind = ({"id": self.workers.ask(first, do="add", user="alice")}, {"jti": f"jti-{number}"}, {"user": f"u{number}"})
            asked = kind[number % 3] if "user" not in kind[number % 3] else {"jti": "any", "user": f"u{number}"}
            self.assertEqual(self.good(**asked), [True] * WORKERS, "what was added is known everywhere, too")
            committed, _, _ = self.workers.ask(first, do="revoke", **kind[number % 3])
            self.assertTrue(all(slot.applied >= committed for slot in slots), [slot.applied for slot in slots])
            self.assertEqual(self.good(**asked), [False] * WORKERS)

    def test_attack_88_revocations_by_all_workers_at_once(self) -> None:
        for number in range(100):
            for worker in range(WORKERS):
                self.workers.send(worker, do="revoke", jti=f"jti-{number}-{worker}")
            for worker in range(WORKERS):
                self.workers.answer(worker)
            for worker in range(WORKERS):
                self.assertEqual(self.good(jti=f"jti-{number}-{worker}"), [False] * WORKERS)

    def test_attack_88_a_worker_that_is_killed_between_the_commit_and_its_word_to_the_others(self) -> None:
        token = self.workers.ask(0, do="add", user="alice")
        self.workers.ask(1, do="die_after_commit")
        self.workers.send(1, do="revoke", id=token)
        with self.assertRaises(EOFError):
            self.workers.answer(1)
        killed = self.workers.processes.pop(1)
        self.assertEqual(killed.wait(), -signal.SIGKILL)
        self.page.slots[1].state = type(self.page.slots[1].state).EMPTY
        for pipe in (killed.stdin, killed.stdout):
            assert pipe is not None
            pipe.close()
        self.eventually([False, False], 1.5, id=token)
        self.workers.start(1)
        self.assertEqual(self.good(id=token), [False] * WORKERS)

    def test_a_command_beside_the_gateway(self) -> None:
        token = self.workers.ask(0, do="add", user="alice")
        beside = SqliteStore(self.directory, STATE_KINDS)
        self.addCleanup(beside.close)
        beside.write([Removed(token)])
        self.eventually([False] * WORKERS, 1.5, id=token)

    def test_a_worker_that_is_stopped_delays_an_answer_by_250_ms(self) -> None:
        token = self.workers.ask(0, do="add", user="alice")
        os.kill(self.workers.processes[2].pid, signal.SIGSTOP)
        _, seconds, _ = self.workers.ask(0, do="revoke", id=token)
        self.assertTrue(0.25 <= seconds < 1, seconds)
        self.assertEqual([self.workers.ask(number, do="good", id=token) for number in (0, 1)], [False, False])
        os.kill(self.workers.processes[2].pid, signal.SIGCONT)
        self.eventually([False] * WORKERS, 1, id=token)

    def test_a_worker_whose_disk_hangs_is_late_until_it_is_not(self) -> None:
        self.workers.ask(2, do="hang", seconds=2.0)
        self.workers.ask(0, do="add", user="alice")
        began = time.monotonic()
        while self.workers.ask(2, do="late") != [True, False]:
            self.assertLess(time.monotonic() - began, 5)
            time.sleep(0.05)
        self.assertTrue(1.9 < time.monotonic() - began < 3)
        self.assertEqual(self.workers.ask(0, do="late"), [])
