"""Verifications under way, shared by everybody who asks the same at the same time (a browser opens six connections)."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Hashable
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from perimeter.errors import Refusal

T = TypeVar("T")


class _Flight:
    """A verification under way, and everybody who waits for it."""

    __slots__ = ("waiters", "work")

    def __init__(self) -> None:
        self.waiters: set[Deferred[Any]] = set()
        self.work: Deferred[Any] | None = None

    def join(self) -> Deferred[Any]:
        """Wait too. Who cancels leaves alone; with the last one the work is cancelled."""
        waiter: Deferred[Any] = Deferred(self._leave)
        self.waiters.add(waiter)
        return waiter

    def _leave(self, waiter: Deferred[Any]) -> None:
        self.waiters.discard(waiter)
        if not self.waiters and self.work is not None:
            self.work.cancel()

    def land(self, result: Any) -> None:
        """Tell everybody."""
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
    """All verifications under way, by a key that says who asks for what."""

    def __init__(self) -> None:
        self._flights: dict[Hashable, _Flight] = {}

    def forget(self) -> None:
        """Those under way still answer those who asked; nobody new joins them."""
        self._flights.clear()

    def under_way(self, key: Hashable) -> bool:
        """Whether somebody waits for the verification ``key``."""
        flight = self._flights.get(key)
        return flight is not None and bool(flight.waiters)

    def join(self, key: Hashable, work: Callable[[], Coroutine[Deferred[Any], Any, T]]) -> Deferred[T]:
        """The result of the verification ``key``, which ``work`` begins where there is none under way."""
        flight = self._flights.get(key)
        if flight is not None and flight.waiters:
            return flight.join()
        flight = self._flights[key] = _Flight()
        waiter = flight.join()
        flight.work = Deferred.fromCoroutine(work())

        def landed(result: Any) -> None:
            if self._flights.get(key) is flight:
                del self._flights[key]
            flight.land(result)

        flight.work.addBoth(landed)
        return waiter
