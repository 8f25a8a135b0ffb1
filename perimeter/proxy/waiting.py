"""Requests that wait until a server of their upstream has room: a bounded queue with a deadline, in which clients take turns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from perimeter.errors import UpstreamBusy
from perimeter.fair_queue import Lines, retry_after
from perimeter.net.deadlines import Deadlines


class Waiter(Protocol):
    """A request that waits: a job of `Lines`, with a deadline that `perimeter.net.deadlines` watches."""

    client: str
    bounded: bool
    deadline: float

    def admit(self) -> None:
        """A server has room: choose one."""

    def turn_away(self, refusal: UpstreamBusy) -> None:
        """Refuse the request."""

    def deadline_expired(self) -> None:
        """It has waited for too long."""


class RequestQueue:
    """At most ``most`` requests, each for at most ``timeout`` seconds. ``what`` names the upstream for the operator.

    ``count`` is called with ``waited``, ``full`` or ``timeout`` for each request that has left the queue, or did not get in.

    If a client fills the queue, its newest requests make room for clients with fewer requests.
    """

    def __init__(
        self,
        most: int,
        timeout: float,
        what: str,
        deadlines: Deadlines,
        clock: Callable[[], float],
        count: Callable[[str], None],
    ) -> None:
        self._most = most
        self._timeout = timeout
        self._what = what
        self._deadlines = deadlines
        self._clock = clock
        self._count = count
        self._lines: Lines[Waiter] = Lines()

    def __len__(self) -> int:
        return len(self._lines)

    def add(self, waiter: Waiter) -> None:
        """Let ``waiter`` wait, until its deadline if it has one.

        If the queue is full, it or a request of the client with the most requests is turned away.
        """
        turned: Waiter | None = None
        if len(self._lines) >= self._most:
            turned = self._lines.make_room(waiter.client) or waiter
        if turned is not waiter:
            waiter.deadline = min(waiter.deadline, self._clock() + self._timeout)
            self._lines.add(waiter)
            self._deadlines.watch(waiter)
        if turned is not None:
            self._count("full")
            self._deadlines.forget(turned)
            turned.turn_away(self._refusal(f"{self._most} requests wait already"))

    def next(self, may: Callable[[str], bool] | None = None) -> Waiter:
        """Remove and return the request whose turn it is, of the clients for which ``may`` is true.

        Raises StopIteration if there is none.
        """
        waiter = self._lines.next(may)
        self._count("waited")
        self._deadlines.forget(waiter)
        return waiter

    def remove(self, waiter: Waiter) -> None:
        """``waiter`` does not wait any more."""
        self._lines.remove(waiter)
        self._deadlines.forget(waiter)

    def expire(self, waiter: Waiter) -> None:
        """``waiter`` has waited for ``timeout`` seconds: turn it away."""
        self.remove(waiter)
        self._count("timeout")
        waiter.turn_away(self._refusal(f"no server had room within queue_timeout ({self._timeout:g} s)"))

    def _refusal(self, detail: str) -> UpstreamBusy:
        return UpstreamBusy(f"upstream {self._what}: {detail}", retry_after=retry_after(self._timeout))
