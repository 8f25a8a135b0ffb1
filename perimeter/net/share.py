"""How several worker processes share the connections to one listening socket, and the limits of their number.

All workers wait on the same socket, so no connection is lost with a worker. The kernel wakes the same one first again and again,
so a worker that has more than its share of the connections *steps back*: it does not wait on the sockets until it has less, or
the others have more. The share is the mean of all serving workers, plus some slack. With this slack, the worker with the fewest
connections has at least 7/8 of the mean, less 4, even if all others have their full share. At least one worker has no more than
the mean, so at least one worker accepts.

But a worker can hang, be stopped or be killed after the kernel has woken it for a connection and before it accepts it. So
each worker looks from time to time whether connections wait. One that has stepped back looks more often, and accepts above its
share if connections wait and the numbers of all other workers are unchanged at `PATIENCE` looks.
"""

from __future__ import annotations

import select
from collections.abc import Callable
from math import ceil, inf
from typing import Any, Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from perimeter.descriptors import clients_share
from perimeter.net.connection_limits import ConnectionLimits
from perimeter.net.listeners import ListeningPort
from perimeter.workers.place import Place

MAX_ACCEPTS: Final = 8
"""The most connections that a worker accepts in one turn of the event loop, so that the others get some."""

LOOK: Final = 0.005
"""Seconds between two looks of a worker that has stepped back, while connections wait."""

LONGEST_LOOK: Final = 0.02
"""The most seconds between two looks while no connection waits: the time doubles from `LOOK` up to this."""

CALM_LOOK: Final = 0.1
"""Seconds between two looks of a worker that has not stepped back."""

PATIENCE: Final = 4
"""Looks at which connections wait and the others have not accepted any, before a worker accepts above its share."""

MAKE_ROOM: Final = "make-room"
"""The message to the other workers that the limit of all workers is reached: this worker has refused a connection, and has no
silent connection to close."""

ASK_AGAIN: Final = 0.1
"""The least seconds between two such messages of a worker."""

ALONE: Final = 1_000_000
"""The room of the only worker."""


def room(own: int, others: list[int]) -> int:
    """How many connections a worker with ``own`` may accept up to its share. ``others`` has the numbers of the others."""
    if not others:
        return ALONE
    mean = (own + sum(others)) / (len(others) + 1)
    return int(mean + max(1.0, (mean / 8 + 4) / len(others))) - own


def limit_for_one(limit: int, workers: int) -> int:
    """The part of a limit of the whole gateway that one of ``workers`` enforces: its share, and a little more."""
    return min(limit, ceil(limit * 9 / 8 / workers) + 4) if workers > 1 else limit


class SharedLimits(ConnectionLimits):
    """`ConnectionLimits` of a worker, its share, and the ports that it accepts on. It publishes how many connections it has.

    The total is a limit of all workers together; each worker uses at most half of its descriptors for connections. The limit for
    one address is divided (`limit_for_one`).
    """

    def __init__(self, place: Place, clock: IReactorTime, make_room: Callable[[str | None], int] = lambda address: 0) -> None:
        super().__init__(make_room=make_room)
        self._place = place
        self._asked = -inf
        #: 1 while a connection is judged: the others see its place as taken, also if a silent one makes room for it
        self._wanted = 0
        self._page = place.page
        self._slot = place.slot
        self._clock = clock
        #: the ports that accept, or would accept if the worker had not stepped back
        self._ports: set[SharedPort] = set()
        self._others: list[int] = []
        self._next: IDelayedCall | None = None
        self._pause = CALM_LOOK
        #: the numbers of the others at the last look after stepping back, and at how many looks they were unchanged
        self._seen: list[int] | None = None
        self._idle = 0
        self.stepped_back = False
        self.change(self.total, self.per_address)

    def change(self, total: int, per_address: int) -> None:
        """See `ConnectionLimits`. The limits are those of the whole gateway."""
        self._of_all = (total, per_address)
        self._most = clients_share(total)
        self.look()

    def look(self) -> int:
        """Read the numbers of the others, and adapt the limits. Returns how many connections there is room for (see `room`)."""
        self._others, held = self._page.held_by_others(self._slot.number)
        total, per_address = self._of_all
        self.total = min(self._most, total - held)
        self.per_address = limit_for_one(per_address, len(self._others) + 1)
        return self.room()

    def room(self) -> int:
        """How many connections there is room for, by the last look."""
        return room(self._open, self._others)

    def admit(self, address: str) -> bool:
        """See `ConnectionLimits`."""
        if self._others or self._open >= self.total:
            # Shown before this worker looks at the others: two that want the last place at one moment never both get it. A look
            # for each connection, because a busy machine may suspend a worker between its look and its count.
            self._wanted = 1
            self._slot.held = self._open + 1
            self.look()
        admitted = super().admit(address)
        self._wanted = 0
        self._slot.held = self._open
        if not admitted and self._open >= self.total:
            self._ask_for_room()
        return admitted

    def _ask_for_room(self) -> None:
        now = self._clock.seconds()
        if abs(now - self._asked) >= ASK_AGAIN:
            self._asked = now
            self._place.tell_others(MAKE_ROOM)

    def release(self, address: str) -> None:
        """See `ConnectionLimits`."""
        super().release(address)
        self._slot.held = self._open + self._wanted
        if self.stepped_back and self.look() > 0:
            self._join()

    # -- stepping back

    def add(self, port: SharedPort) -> None:
        """Accept on ``port`` from now on, if the worker has not stepped back."""
        if not self._ports:
            self._look_in(CALM_LOOK)
        self._ports.add(port)
        if not self.stepped_back:
            port.reactor.addListener(port)

    def remove(self, port: SharedPort) -> None:
        """Undo `add`."""
        self._ports.discard(port)
        port.reactor.removeListener(port)
        if not self._ports and self._next is not None:
            self._next.cancel()
            self._next = None
            self.stepped_back = False

    def step_back(self) -> None:
        """Accept nothing until there is room again."""
        if self.stepped_back or not self._ports:
            return
        self.stepped_back = True
        for port in self._ports:
            port.reactor.removeListener(port)
        self._seen, self._idle = None, 0
        self._look_in(LOOK)

    def _join(self) -> None:
        self.stepped_back = False
        for port in self._ports:
            port.reactor.addListener(port)
        self._look_in(CALM_LOOK)

    # -- looking whether connections wait

    def _look_in(self, pause: float) -> None:
        if self._next is not None and self._next.active():
            self._next.cancel()
        self._pause = pause
        self._next = self._clock.callLater(pause, self._look_again)

    def _look_again(self) -> None:
        if self.stepped_back and self.look() > 0:
            self._join()
            return
        waiting = [port for port in self._ports if port.is_waited_for()]
        if not self.stepped_back:
            self._look_in(CALM_LOOK)
            for port in waiting:
                port.doRead()
            return
        if self._others != self._seen:
            self._seen, self._idle = self._others, 0
        elif waiting:
            self._idle += 1
        self._look_in(LOOK if waiting else min(self._pause * 2, LONGEST_LOOK))
        if self._idle >= PATIENCE:
            for port in waiting:
                port.accept()


class SharedPort(ListeningPort):
    """A `ListeningPort` on a socket on which other workers accept, too. ``limits`` are `SharedLimits`."""

    reactor: Any
    limits: SharedLimits
    max_accepts = MAX_ACCEPTS

    def startReading(self) -> None:
        """See `ListeningPort`."""
        self.limits.add(self)

    def stopReading(self) -> None:
        """See `ListeningPort`."""
        self.limits.remove(self)

    def is_waited_for(self) -> bool:
        """Whether a connection waits to be accepted."""
        poll = select.poll()
        poll.register(self.socket, select.POLLIN)
        return bool(poll.poll(0))

    def doRead(self) -> None:
        """Accept waiting connections until the worker has its share."""
        limits = self.limits
        room = limits.look()
        if room > 0:
            self._accepts = min(self._accepts, room)
            self.accept()
            room = limits.room()
        if room <= 0:
            limits.step_back()

    def accept(self) -> None:
        """Accept some of the waiting connections, even above the share."""
        super().doRead()
