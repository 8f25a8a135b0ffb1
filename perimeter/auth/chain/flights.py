"""Verifications under way, shared by all requests that ask the same at the same time (a browser opens six connections)."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Hashable
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from perimeter.errors import Refusal

T = TypeVar("T")


class _Flight:
    """A verification under way, and the requests that wait for it. A ``finished`` one goes on when all of them have left."""

    __slots__ = ("finished", "waiters", "work")

    def __init__(self, finished: bool) -> None:
        self.finished = finished
        self.waiters: set[Deferred[Any]] = set()
        self.work: Deferred[Any] | None = None

    @property
    def open(self) -> bool:
        """Whether one more request can join: the work has not been cancelled."""
        return self.finished or bool(self.waiters)

    def join(self) -> Deferred[Any]:
        """Wait too. A waiter that is cancelled leaves alone."""
        waiter: Deferred[Any] = Deferred(self._leave)
        self.waiters.add(waiter)
        return waiter

    def _leave(self, waiter: Deferred[Any]) -> None:
        self.waiters.discard(waiter)
        if not self.open and self.work is not None:
            self.work.cancel()

    def land(self, result: Any) -> None:
        """Give the result to all waiters."""
        waiters, self.waiters = self.waiters, set()
        for waiter in waiters:
            if isinstance(result, Failure):
                # Each its own exception: one instance raised in several coroutines would gather all their tracebacks.
                error = result.value
                waiter.errback(_copy(error) if isinstance(error, Refusal) else result)
            else:
                waiter.callback(result)


def _copy(refusal: Refusal) -> Refusal:
    return type(refusal)(refusal.detail, retry_after=refusal.retry_after)


class Flights:
    """All verifications under way, by a key that says who asks for what.

    With ``finish`` a verification that has begun goes on to its end, even if no request waits for it any more. Without it the
    work is cancelled together with its last waiter.
    """

    def __init__(self, *, finish: bool = False) -> None:
        self._finish = finish
        self._flights: dict[Hashable, _Flight] = {}

    def forget(self) -> None:
        """Those under way still answer the requests that wait; no further request joins them."""
        self._flights.clear()

    def under_way(self, key: Hashable) -> bool:
        """Whether a request waits for the verification ``key``."""
        flight = self._flights.get(key)
        return flight is not None and bool(flight.waiters)

    def join(self, key: Hashable, work: Callable[[], Coroutine[Deferred[Any], Any, T]]) -> Deferred[T]:
        """The result of the verification ``key``, which ``work`` begins where there is none under way."""
        flight = self._flights.get(key)
        if flight is not None and flight.open:
            return flight.join()
        flight = self._flights[key] = _Flight(self._finish)
        waiter = flight.join()
        flight.work = Deferred.fromCoroutine(work())

        def landed(result: Any) -> None:
            if self._flights.get(key) is flight:
                del self._flights[key]
            flight.land(result)

        flight.work.addBoth(landed)
        return waiter
