"""The memory that workers share."""

from __future__ import annotations

import os
import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

from perimeter.workers.page import SLOTS, SharedPage, SlotState

WRITER = """
import sys
from perimeter.workers.page import SharedPage, SlotState
page = SharedPage(int(sys.argv[1]), [int(one) for one in sys.argv[2].split(",")])
slot = page.slots[3]
slot.state, slot.pid, slot.held, slot.heartbeat = SlotState.SERVING, 12, 2**40, 5
slot.committed, slot.applied, slot.generation, slot.heard = 2**64 - 1, 8, 2, 2**64 - 2
page.wake(7)
"""


class PageTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.page = SharedPage.create()
        self.addCleanup(self.page.close)

    def test_words_written_by_another_process_are_read_here(self) -> None:
        handed = (self.page.descriptor, *self.page.wakers)
        subprocess.run(
            [sys.executable, "-c", WRITER, str(handed[0]), ",".join(map(str, handed[1:]))],
            pass_fds=handed,
            check=True,
            timeout=30,
        )
        slot = self.page.slots[3]
        self.assertEqual(
            (slot.state, slot.pid, slot.held, slot.heartbeat, slot.committed, slot.applied, slot.generation, slot.heard),
            (SlotState.SERVING, 12, 2**40, 5, 2**64 - 1, 8, 2, 2**64 - 2),
        )
        self.assertEqual([one.number for one in self.page.serving()], [3])
        self.assertEqual(self.page.committed, 2**64 - 1)
        self.assertEqual(self.page.heard, [2**64 - 2 if at == 3 else 0 for at in range(SLOTS)])
        self.assertTrue(self.page.woken(7))
        self.assertFalse(self.page.woken(7))
        self.assertFalse(self.page.woken(3))

    def test_clear_resets_one_row_only(self) -> None:
        for slot in self.page.slots:
            slot.held = slot.applied = 9
        self.page.clear(5, SlotState.STARTING)
        self.assertEqual((self.page.slots[5].held, self.page.slots[5].state), (0, SlotState.STARTING))
        self.assertEqual([self.page.slots[at].held for at in (4, 6, SLOTS - 1)], [9, 9, 9])
        self.assertEqual([self.page.slots[at].applied for at in (4, 6)], [9, 9])

    def test_requests_in_flight_of_a_slot_are_cleared_with_it(self) -> None:
        for number in (4, 5, 6):
            self.page.flights[number][0] = self.page.flights[number][-1] = 7
            self.page.slots[number].state = SlotState.SERVING
        self.page.buckets[0] = self.page.buckets[-1] = 9
        self.page.clear(5, SlotState.EMPTY)
        found = [(self.page.flights[at][0], self.page.flights[at][-1]) for at in (4, 5, 6)]
        self.assertEqual(found, [(7, 7), (0, 0), (7, 7)])
        self.assertEqual((self.page.buckets[0], self.page.buckets[-1]), (9, 9))

    def test_a_kernel_that_gives_no_part_of_the_memory_back(self) -> None:
        class Stubborn:
            def madvise(self, *arguments: int) -> None:
                raise OSError

        whole, self.page._map = self.page._map, Stubborn()  # type: ignore[assignment]
        self.page.flights[5][0] = self.page.flights[5][-1] = self.page.flights[6][0] = self.page.flights[4][-1] = 7
        self.page.clear(5, SlotState.EMPTY)
        self.page._map = whole
        self.assertEqual(set(self.page.flights[5].tolist()), {0})
        self.assertEqual((self.page.flights[4][-1], self.page.flights[6][0]), (7, 7))

    def test_requests_in_flight_of_the_other_workers(self) -> None:
        for number, state in ((1, SlotState.SERVING), (2, SlotState.DRAINING), (4, SlotState.STARTING), (9, SlotState.SERVING)):
            self.page.slots[number].state = state
            self.page.flights[number][0] = 100 + number
        self.assertEqual([one[0] for one in self.page.flights_of_others(9)], [101, 102, 104])

    def test_the_parts_of_the_page_do_not_overlap(self) -> None:
        self.page.buckets[0] = self.page.buckets[-1] = 2**64 - 1
        for part in self.page.flights:
            part[0] = part[-1] = 2**64 - 1
        self.assertEqual([slot.generation for slot in self.page.slots], [0] * SLOTS)
        self.assertEqual(self.page.secret, os.pread(self.page.descriptor, 32, SLOTS * 64))
        other = SharedPage(os.dup(self.page.descriptor), [])
        self.addCleanup(other.close)
        self.assertEqual((other.buckets[-1], other.flights[0][0], other.flights[-1][-1]), (2**64 - 1,) * 3)
        self.assertEqual((other.buckets[1], other.flights[0][1]), (0, 0))

    def test_the_page_of_an_earlier_program_grows(self) -> None:
        """An upgrade keeps the memory, and the rows in it."""
        small = os.memfd_create("perimeter-workers")
        os.ftruncate(small, SLOTS * 64 + 32)
        os.pwrite(small, b"\2", 64 * 3)
        page = SharedPage(small, [])
        self.addCleanup(page.close)
        self.assertIs(page.slots[3].state, SlotState.SERVING)
        page.flights[-1][-1] = 3
        self.assertEqual(page.flights[-1][-1], 3)

    def test_several_wakes_are_one(self) -> None:
        self.page.wake(0)
        self.page.wake(0)
        self.assertTrue(self.page.woken(0))
        self.assertFalse(self.page.woken(0))

    def test_close_closes_every_descriptor(self) -> None:
        page = SharedPage.create()
        handed = (page.descriptor, *page.wakers)
        page.close()
        for descriptor in handed:
            self.assertRaises(OSError, os.fstat, descriptor)

    def test_connections_of_the_others(self) -> None:
        states = SlotState.SERVING, SlotState.STARTING, SlotState.SERVING, SlotState.DRAINING, SlotState.SERVING
        for slot, state in zip(self.page.slots, states, strict=False):
            slot.state = state
            slot.held = 10**slot.number
        self.page.slots[SLOTS - 1].state = SlotState.SERVING
        self.assertEqual(self.page.held_by_others(0), ([100, 10_000, 0], 11_110))
        self.assertEqual(self.page.held_by_others(1), ([1, 100, 10_000, 0], 11_101))
        self.assertEqual(self.page.held_by_others(SLOTS - 1), ([1, 100, 10_000], 11_111))
