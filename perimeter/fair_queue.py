"""Clients take turns: bounded queues with a line for each client, so that one with many jobs delays one with a few by a turn.

Everything that clients without credentials can order, and that is scarce, waits in such a queue: threads for password hashes
(`perimeter.offload`), connections to a directory, questions to a token service.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from contextvars import ContextVar
from typing import Generic, Protocol, TypeVar

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.python.failure import Failure

from perimeter.errors import Overloaded, Unavailable

RETRY_AFTER = 1
"""Seconds after which a client that was refused because of a full queue is asked to come back."""

CLIENT: ContextVar[str] = ContextVar("perimeter_client", default="")
"""The client on whose behalf the current coroutine works; its jobs wait in one line. "" is the gateway itself."""


class StillWaiting(CancelledError):
    """A job was cancelled before its turn had come: the delay is the queue's and says nothing of the work itself."""


def timed_out(what: str) -> Callable[[object, float], Failure]:
    """What `Deferred.addTimeout` takes as ``onTimeoutCancel``: `Overloaded` for a job that only waited, else `Unavailable`."""

    def failure(result: object, timeout: float) -> Failure:
        if isinstance(result, Failure) and result.check(StillWaiting):
            return Failure(Overloaded(f"{what} was busy for {timeout:g} s", retry_after=RETRY_AFTER))
        return Failure(Unavailable(f"{what} took longer than {timeout:g} s"))

    return failure


class IWaits(Protocol):
    """A job in a line. One that is not ``bounded`` is never taken out to make room."""

    client: str
    bounded: bool


W = TypeVar("W", bound=IWaits)


class Lines(Generic[W]):
    """The waiting jobs: a line for each client, and the lines take turns."""

    def __init__(self) -> None:
        self._lines: OrderedDict[str, deque[W]] = OrderedDict()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, job: W) -> None:
        """Add ``job`` at the end of its client's line."""
        self._lines.setdefault(job.client, deque()).append(job)
        self._count += 1

    def next(self) -> W:
        """Take out the job whose turn it is. Raises StopIteration where there is none."""
        client, line = next(iter(self._lines.items()))
        job = line.popleft()
        self._count -= 1
        if line:
            self._lines.move_to_end(client)
        else:
            del self._lines[client]
        return job

    def remove(self, job: W) -> None:
        """Take out ``job``. Raises KeyError or ValueError where it does not wait."""
        line = self._lines[job.client]
        line.remove(job)
        self._count -= 1
        if not line:
            del self._lines[job.client]

    def make_room(self, client: str) -> W | None:
        """Take out the newest bounded job of the longest line, so that ``client`` can wait too.

        None where the client's own line would then be the longest, or where that line has no bounded job.
        """
        longest = max(self._lines.values(), key=len, default=deque[W]())
        if len(longest) <= len(self._lines.get(client, ())) + 1:
            return None
        job = next((job for job in reversed(longest) if job.bounded), None)
        if job is not None:
            self.remove(job)
        return job


class _Waiter:
    """A coroutine that waits for its turn."""

    __slots__ = ("bounded", "client", "deferred")

    def __init__(self) -> None:
        self.client = CLIENT.get()
        self.bounded = True
        self.deferred: Deferred[None]


class FairSemaphore:
    """At most ``at_once`` have their turn at a time, and at most ``waiting`` wait for it; ``what`` says for what, in messages."""

    def __init__(self, at_once: int, waiting: int, what: str) -> None:
        self._free = at_once
        self._most = waiting
        self._what = what
        self._lines: Lines[_Waiter] = Lines()

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._lines)

    def acquire(self) -> Deferred[None]:
        """Wait for a turn, in the line of the current `CLIENT`; `release` ends it.

        Fails with `Overloaded` where the queue is full: at once, or later if another client needs the room. Fails with
        `StillWaiting` when cancelled.
        """
        if self._free:
            self._free -= 1
            return succeed(None)
        waiter = _Waiter()
        waiter.deferred = Deferred(lambda _: self._leave(waiter))
        refused: _Waiter | None = None
        if len(self._lines) >= self._most:
            refused = self._lines.make_room(waiter.client) or waiter
        if refused is not waiter:
            self._lines.add(waiter)
        if refused is not None:
            refused.deferred.errback(Overloaded(f"too many wait for {self._what}", retry_after=RETRY_AFTER))
        return waiter.deferred

    def _leave(self, waiter: _Waiter) -> None:
        self._lines.remove(waiter)
        waiter.deferred.errback(StillWaiting())

    def release(self) -> None:
        """End a turn."""
        if self._lines:
            self._lines.next().deferred.callback(None)
        else:
            self._free += 1
