"""Requests in flight in shared memory."""

from __future__ import annotations

import os
import sys
from subprocess import PIPE, Popen

from twisted.trial.unittest import SynchronousTestCase

from perimeter.limits.flights import Flights, NoCell
from perimeter.limits.keys import Key, key_of
from perimeter.limits.tables import FLIGHT_SETS as SETS
from perimeter.limits.tables import FLIGHT_WAYS as WAYS
from perimeter.limits.tables import FLIGHTS_SIZE as SIZE

ANN, BEN = key_of("ann", b"s" * 32), key_of("ben", b"s" * 32)


def table() -> memoryview:
    return memoryview(bytearray(SIZE)).cast("Q")


class OneProcessTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.words = table()
        self.flights = Flights(self.words)

    def test_up_to_the_limit_and_again_after_an_end(self) -> None:
        self.assertEqual([self.flights.begin(ANN, 3) for _ in range(5)], [True, True, True, False, False])
        self.assertEqual(self.flights.count(ANN), 3)
        self.flights.end(ANN)
        self.assertEqual(self.flights.count(ANN), 2)
        self.assertEqual([self.flights.begin(ANN, 3) for _ in range(2)], [True, False])

    def test_clients_do_not_count_for_each_other(self) -> None:
        self.flights.begin(ANN, 1)
        self.assertTrue(self.flights.begin(BEN, 1))
        self.assertEqual((self.flights.count(ANN), self.flights.count(BEN)), (1, 1))
        self.flights.end(ANN)
        self.assertEqual((self.flights.count(ANN), self.flights.count(BEN)), (0, 1))

    def test_clients_with_the_same_set(self) -> None:
        keys = [Key(9 + SETS * number, number + 1) for number in range(WAYS + 1)]
        for number, key in enumerate(keys[:WAYS]):
            for _ in range(number + 1):
                self.assertTrue(self.flights.begin(key, 100))
        self.assertRaises(NoCell, self.flights.begin, keys[WAYS], 100)
        self.assertEqual([self.flights.count(key) for key in keys], [*range(1, WAYS + 1), 0])
        self.flights.end(keys[0])
        self.assertTrue(self.flights.begin(keys[WAYS], 100))
        self.assertEqual(self.flights.count(keys[0]), 0)
        self.assertRaises(NoCell, self.flights.begin, keys[0], 100)

    def test_a_client_that_comes_again_has_the_same_cell(self) -> None:
        self.flights.begin(ANN, 1)
        self.flights.end(ANN)
        self.flights.begin(ANN, 1)
        self.assertEqual(self.words.tolist().count(ANN.mark), 1)

    def test_an_end_after_the_table_was_cleared(self) -> None:
        self.flights.begin(ANN, 5)
        self.words[:] = table()
        self.flights.end(ANN)
        self.assertEqual(set(self.words.tolist()), {0})
        self.flights.begin(ANN, 5)
        self.flights.end(ANN)
        self.flights.end(ANN)
        self.assertEqual(self.flights.count(ANN), 0)

    def test_a_refused_request_of_a_new_client_leaves_no_count(self) -> None:
        other = Flights(table(), lambda: (self.words,))
        self.flights.begin(ANN, 1)
        self.assertFalse(other.begin(ANN, 1))
        self.flights.end(ANN)
        self.assertTrue(other.begin(ANN, 1))


class SeveralProcessesTests(SynchronousTestCase):
    def test_the_sum_of_all_counts(self) -> None:
        tables = [table() for _ in range(3)]
        processes = [Flights(one, lambda at=at: [*tables[:at], *tables[at + 1 :]]) for at, one in enumerate(tables)]
        self.assertEqual([one.begin(ANN, 4) for one in (*processes, *processes)], [True, True, True, True, False, False])
        self.assertEqual([one.count(ANN) for one in processes], [4, 4, 4])
        processes[1].end(ANN)
        self.assertTrue(processes[2].begin(ANN, 4))
        self.assertEqual(processes[0].count(ANN), 4)

    def test_the_table_of_a_process_that_has_ended_is_not_counted(self) -> None:
        gone = table()
        there = [gone]
        Flights(gone).begin(ANN, 1)
        flights = Flights(table(), lambda: there)
        self.assertFalse(flights.begin(ANN, 1))
        there.clear()
        self.assertTrue(flights.begin(ANN, 1))


COMPETING = """
import mmap, sys
from perimeter.limits.flights import Flights
from perimeter.limits.tables import FLIGHTS_SIZE as SIZE
from perimeter.limits.keys import Key
file, number, rounds = map(int, sys.argv[1:])
words = memoryview(mmap.mmap(file, 2 * SIZE + 4096)).cast("Q")
size = SIZE // 8
tables, inside = (words[:size], words[size : 2 * size]), words[2 * size :]
flights = Flights(tables[number], lambda: (tables[1 - number],))
key = Key(3, 5)
print("ready", flush=True)
sys.stdin.readline()
both = admitted = tries = 0
while tries < rounds or not admitted:  # a busy machine may suspend the other one while it is inside, for longer than all rounds
    tries += 1
    if flights.begin(key, 1):
        inside[number] = 1
        both += inside[1 - number]
        admitted += 1
        inside[number] = 0
        flights.end(key)
print(both, admitted, flush=True)
"""


class CompetingProcessesTests(SynchronousTestCase):
    def test_attack_136_two_workers_never_admit_the_last_request_both(self) -> None:
        file = os.memfd_create("flights")
        self.addCleanup(os.close, file)
        os.ftruncate(file, 2 * SIZE + 4096)
        processes = [
            Popen(
                [sys.executable, "-c", COMPETING, str(file), str(number), "20000"],
                stdin=PIPE,
                stdout=PIPE,
                text=True,
                pass_fds=[file],
            )
            for number in (0, 1)
        ]
        for process in processes:
            self.addCleanup(process.kill)
            assert process.stdout is not None
            self.assertEqual(process.stdout.readline(), "ready\n")
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        for process in processes:
            both, admitted = map(int, process.communicate(timeout=30)[0].split())
            self.assertEqual(both, 0)
            self.assertGreater(admitted, 0)
