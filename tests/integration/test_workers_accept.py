"""Several processes accept from one listening socket: the spread of lasting connections, and stopped processes."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable

from twisted.trial.unittest import SynchronousTestCase

from perimeter.net.binding import listening_socket
from perimeter.workers.page import SharedPage, SlotState

WORKERS = 4
CONNECTIONS = 1000
WAIT = 30.0


def eventually(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + WAIT
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"not within {WAIT:g} s: {what}")
        time.sleep(0.005)


class SharedSocketTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.page = SharedPage.create()
        self.addCleanup(self.page.close)
        self.listening = listening_socket("127.0.0.1", 0)
        self.addCleanup(self.listening.close)
        self.address = self.listening.getsockname()
        self.workers: list[subprocess.Popen[bytes]] = []
        self.clients: list[socket.socket] = []
        self.addCleanup(self._end)

    def _end(self) -> None:
        for client in self.clients:
            client.close()
        for worker in self.workers:
            worker.kill()
            worker.wait()
            assert worker.stdin is not None
            worker.stdin.close()

    def start(self, count: int = WORKERS, limit: int = 100_000) -> None:
        numbers = range(len(self.workers), len(self.workers) + count)
        for number in numbers:
            self.page.clear(number, SlotState.STARTING)
            arguments = [str(self.page.descriptor), str(self.listening.fileno()), str(number), str(limit)]
            self.workers.append(
                subprocess.Popen(
                    [sys.executable, "-m", "tests.integration.accepting_worker", *arguments],
                    stdin=subprocess.PIPE,
                    pass_fds=[self.page.descriptor, self.listening.fileno()],
                )
            )
        eventually(lambda: all(self.page.slots[number].state is SlotState.SERVING for number in numbers), "all workers serve")

    def connect(self) -> int:
        """Open a lasting connection, and return the number of its worker."""
        client = socket.create_connection(self.address, timeout=WAIT)
        self.clients.append(client)
        return int(client.recv(1))

    def connect_at_once(self, count: int) -> Counter[int]:
        """Open lasting connections all at the same time, and return how many each worker has; -1 has refused the rest."""
        poll = select.poll()
        waiting = {}
        for _ in range(count):
            client = socket.socket()
            client.setblocking(False)
            client.connect_ex(self.address)
            poll.register(client, select.POLLIN)
            waiting[client.fileno()] = client
            self.clients.append(client)
        found: Counter[int] = Counter()
        end = time.monotonic() + WAIT
        while waiting and time.monotonic() < end:
            for descriptor, _ in poll.poll(100):
                poll.unregister(descriptor)
                answer = waiting.pop(descriptor).recv(1)
                found[int(answer or b"-1")] += 1
        self.assertEqual(len(waiting), 0)
        return found

    def assert_even(self, found: Counter[int], workers: int) -> None:
        mean = found.total() / workers
        self.assertEqual(len(found), workers, found)
        for have in found.values():
            self.assertTrue(0.85 * mean <= have <= 1.15 * mean, found)
        self.assertEqual({number: self.page.slots[number].held for number in found}, found)

    def test_connections_that_come_at_once_are_spread(self) -> None:
        self.start()
        self.assert_even(self.connect_at_once(CONNECTIONS), WORKERS)

    def test_connections_that_come_one_after_the_other_are_spread(self) -> None:
        self.start()
        self.assert_even(Counter(self.connect() for _ in range(CONNECTIONS)), WORKERS)

    def test_new_worker_gets_connections_and_dead_ones_do_not_count(self) -> None:
        self.start(2)
        self.connect_at_once(200)
        self.workers[1].kill()
        self.workers[1].wait()
        self.page.clear(1, SlotState.EMPTY)
        self.assertEqual(Counter(self.connect() for _ in range(50)), {0: 50})
        self.start(1)
        self.assertGreaterEqual(Counter(self.connect() for _ in range(50))[2], 45)

    def test_attack_85_stopped_workers_keep_no_connection_waiting(self) -> None:
        """A worker that hangs counts as one that has no connections: the others must not leave new ones to it."""
        self.start()
        for worker in self.workers[1:]:
            os.kill(worker.pid, signal.SIGSTOP)
        began = time.monotonic()
        one_by_one = Counter(self.connect() for _ in range(100))
        taken = time.monotonic() - began
        self.assertEqual(one_by_one, {0: 100})
        self.assertLess(taken, 5.0)
        self.assertEqual(self.connect_at_once(400), {0: 400})

    def test_attack_86_limit_of_connections_is_one_of_all_workers(self) -> None:
        self.start(WORKERS, limit=200)
        found = self.connect_at_once(600)
        admitted = found.total() - found[-1]
        self.assertTrue(190 <= admitted <= 210, found)
        self.assertEqual(sum(slot.held for slot in self.page.slots), admitted)

    def test_workers_that_ended_without_a_trace_on_the_page(self) -> None:
        self.start(2)
        self.connect_at_once(100)
        self.workers[1].kill()
        self.workers[1].wait()
        self.page.slots[1].held = 0
        self.assertEqual(Counter(self.connect() for _ in range(30)), {0: 30})
