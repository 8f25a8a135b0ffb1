"""A few numbers that the worker processes and the manager share, in memory that each of them maps.

A row for each slot (the place of one worker). A word has one writer and is written whole, so no lock is needed. The numbers are
only hints: a process that misses one gets the change from the log of the state, or from its connection to the manager. Each slot
also has an eventfd, by which the others wake its worker. It carries no data.

Behind the rows are the tables of limits (`perimeter.limits`), of which only the parts that are used take memory.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from contextlib import suppress
from enum import IntEnum
from typing import Final

from perimeter.limits.tables import BUCKETS_SIZE, FLIGHTS_SIZE

SLOTS: Final = 128
"""Rows of a page. An upgrade needs two for each worker for a short time, so a gateway has half as many workers at most."""

_WORD: Final = 8
_WORDS: Final = 8
"""Words of a row: a row is one line of the processor's cache, so that no writer slows another one down."""
_HELD: Final = 2
"""The word of a row with the number of connections."""
_COMMITTED: Final = 4
_APPLIED: Final = 5
_HEARD: Final = 7
LAST: Final = 2**64 - 1
"""The highest value of a word."""
_ROWS: Final = SLOTS * _WORDS * _WORD
_SECRET: Final = 32
_BUCKETS: Final = 16 * 1024
"""Where the token buckets begin. What can be cleared alone begins at a page of the system's memory."""
_FLIGHTS: Final = 2 * 1024 * 1024
"""Where the tables of requests in flight begin, one for each slot."""
_SIZE: Final = _FLIGHTS + SLOTS * FLIGHTS_SIZE


class SlotState(IntEnum):
    """The state of the worker of a slot."""

    EMPTY = 0
    """There is no worker."""
    STARTING = 1
    SERVING = 2
    DRAINING = 3
    """It accepts no more connections, and ends when the present ones have ended."""


_SERVING: Final = int(SlotState.SERVING)


class Slot:
    """The row of one slot. All values are integers from 0 to 2**64 - 1.

    The manager resets the row (`SharedPage.clear`) before a worker starts and after its end; the rest is written by the worker.
    """

    __slots__ = ("_at", "_words", "number")

    def __init__(self, words: memoryview, number: int) -> None:
        self.number = number
        self._words = words
        self._at = number * _WORDS

    def _get(self, word: int) -> int:
        found: int = self._words[self._at + word]
        return found

    @property
    def state(self) -> SlotState:
        """The state of the worker."""
        return SlotState(self._get(0))

    @state.setter
    def state(self, value: SlotState) -> None:
        self._words[self._at] = int(value)

    @property
    def pid(self) -> int:
        """The worker's process."""
        return self._get(1)

    @pid.setter
    def pid(self, value: int) -> None:
        self._words[self._at + 1] = value

    @property
    def held(self) -> int:
        """How many client connections the worker has."""
        return self._get(_HELD)

    @held.setter
    def held(self, value: int) -> None:
        self._words[self._at + _HELD] = value

    @property
    def heartbeat(self) -> int:
        """When the worker's reactor last turned, in milliseconds of the monotonic clock."""
        return self._get(3)

    @heartbeat.setter
    def heartbeat(self, value: int) -> None:
        self._words[self._at + 3] = value

    @property
    def committed(self) -> int:
        """The number of the last change of the state that this worker has written."""
        return self._get(_COMMITTED)

    @committed.setter
    def committed(self, value: int) -> None:
        self._words[self._at + _COMMITTED] = value

    @property
    def applied(self) -> int:
        """The number of the last change of the state that is in force in this worker."""
        return self._get(_APPLIED)

    @applied.setter
    def applied(self, value: int) -> None:
        self._words[self._at + _APPLIED] = value

    @property
    def generation(self) -> int:
        """The number of the configuration that is in force in this worker: 1 at the start, 1 more at each reload."""
        return self._get(6)

    @generation.setter
    def generation(self, value: int) -> None:
        self._words[self._at + 6] = value

    @property
    def heard(self) -> int:
        """When the engine of the state was heard, as this worker knows it (`perimeter.state.freshness.Note`)."""
        return self._get(_HEARD)

    @heard.setter
    def heard(self, value: int) -> None:
        self._words[self._at + _HEARD] = value


class SharedPage:
    """The rows of all slots, in the memory of ``descriptor``, and the eventfd of each slot, ``wakers``.

    The descriptors are inherited by workers; they belong to the page, and `close` closes them.
    """

    def __init__(self, descriptor: int, wakers: list[int]) -> None:
        self.descriptor = descriptor
        self.wakers = wakers
        if os.fstat(descriptor).st_size < _SIZE:  # an earlier program made it, and has executed this one
            os.ftruncate(descriptor, _SIZE)
        self._map = mmap.mmap(descriptor, _SIZE)
        self._words = memoryview(self._map)[:_ROWS].cast("B").cast("Q")
        self._states = self._words[::_WORDS]
        self._held = self._words[_HELD::_WORDS]
        #: 32 random bytes that only the processes of this gateway have, for digests in their messages
        self.secret = self._map[_ROWS : _ROWS + _SECRET]
        #: the words of all token buckets, and of the requests in flight of each slot
        self.buckets = self._part(_BUCKETS, BUCKETS_SIZE)
        self.flights = tuple(self._part(_FLIGHTS + number * FLIGHTS_SIZE, FLIGHTS_SIZE) for number in range(SLOTS))
        self.slots = tuple(Slot(self._words, number) for number in range(SLOTS))

    @classmethod
    def create(cls) -> SharedPage:
        """A new page, all zero but for the secret."""
        descriptor = os.memfd_create("perimeter-workers", os.MFD_CLOEXEC)
        os.ftruncate(descriptor, _SIZE)
        os.pwrite(descriptor, os.urandom(_SECRET), _ROWS)
        return cls(descriptor, [os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC) for _ in range(SLOTS)])

    def clear(self, number: int, state: SlotState) -> None:
        """Reset the row of a slot. Only for the manager, when the slot has no worker."""
        start = number * _WORDS
        for word in range(_WORDS):
            self._words[start + word] = 0
        try:
            self._map.madvise(mmap.MADV_REMOVE, _FLIGHTS + number * FLIGHTS_SIZE, FLIGHTS_SIZE)
        except OSError:  # not every kernel gives a part of the memory back
            self.flights[number][:] = memoryview(bytes(FLIGHTS_SIZE)).cast("Q")
        self.slots[number].state = state

    def flights_of_others(self, number: int) -> list[memoryview]:
        """The words of the requests in flight of all workers, except the one in slot ``number``."""
        states = self._states.tolist()
        states[number] = 0
        return [self.flights[at] for at, state in enumerate(states) if state]

    def _part(self, start: int, size: int) -> memoryview:
        return memoryview(self._map)[start : start + size].cast("Q")

    def serving(self) -> Iterator[Slot]:
        """The slots whose worker serves clients."""
        return (slot for slot in self.slots if slot.state is SlotState.SERVING)

    def held_by_others(self, number: int) -> tuple[list[int], int]:
        """How many connections each serving worker has, except the one in slot ``number``, and the sum for all other workers.

        The second number includes those that start or drain. Takes 4 µs.
        """
        held = self._held
        states = self._states.tolist()
        states[number] = 0
        at, serving = -1, []
        for _ in range(states.count(_SERVING)):
            at = states.index(_SERVING, at + 1)
            serving.append(held[at])
        if len(serving) + states.count(0) == SLOTS:
            return serving, sum(serving)
        return serving, sum(held) - held[number]

    @property
    def committed(self) -> int:
        """The number of the last change of the state that any worker has written."""
        return max(self._words[_COMMITTED::_WORDS])

    @property
    def heard(self) -> list[int]:
        """`Slot.heard` of each slot."""
        return self._words[_HEARD::_WORDS].tolist()

    def writers(self, after: int) -> list[int]:
        """The numbers of the slots whose worker has written changes of the state after number ``after``."""
        return [number for number, committed in enumerate(self._words[_COMMITTED::_WORDS]) if committed > after]

    def behind(self, cursor: int, but: int) -> list[int]:
        """The numbers of the slots in which the change ``cursor`` of the state is not in force, though they may admit requests.

        A worker that drains is one of them: its present connections may still send requests. Slot ``but`` is left out.
        """
        states, applied = self._words[::_WORDS], self._words[_APPLIED::_WORDS]
        return [
            number
            for number, state in enumerate(states)
            if state >= SlotState.SERVING and applied[number] < cursor and number != but
        ]

    def wake(self, number: int) -> None:
        """Wake the worker of a slot: there is something new on the page."""
        with suppress(BlockingIOError):  # it has been woken 2**64 - 2 times, and has not looked yet
            os.eventfd_write(self.wakers[number], 1)

    def woken(self, number: int) -> bool:
        """Whether the worker of a slot has been woken since the last call. Only for that worker."""
        try:
            os.eventfd_read(self.wakers[number])
        except BlockingIOError:
            return False
        return True

    def close(self) -> None:
        """Unmap the page and close its descriptors. Its slots must not be used afterwards."""
        for part in (self.buckets, *self.flights):
            part.release()
        self._states.release()
        self._held.release()
        self._words.release()
        self._map.close()
        for descriptor in (self.descriptor, *self.wakers):
            os.close(descriptor)
