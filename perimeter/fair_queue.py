"""Bounded queues that are fair to clients: each client has its own line, and the lines take turns.

A client with many jobs delays a client with few jobs by at most one job. Every scarce resource that clients without credentials
can use has such a queue: threads for password hashes (`perimeter.offload`), connections to a directory, requests to a token
service.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict, deque
from collections.abc import Callable
from contextvars import ContextVar
from typing import Generic, Protocol, TypeVar

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.python.failure import Failure

from perimeter.errors import Overloaded, Unavailable

LONGEST_RETRY = 60
"""The largest `retry_after`, in seconds."""

CLIENT: ContextVar[str] = ContextVar("perimeter_client", default="")
"""The client that the current coroutine works for. Its jobs wait in one line. "" means the gateway itself."""


class Wait:
    """How long a piece of work has waited in queues, in seconds of ``clock``. ``changed`` is called at each begin and end.

    A timeout that concerns the work alone does not count this time.
    """

    __slots__ = ("_ended", "_since", "changed", "clock")

    def __init__(self, clock: Callable[[], float], changed: Callable[[], None]) -> None:
        self.clock = clock
        self.changed = changed
        self._ended = 0.0
        #: when it began to wait, if it waits now
        self._since: float | None = None

    @property
    def now(self) -> bool:
        """Whether it waits now."""
        return self._since is not None

    @property
    def seconds(self) -> float:
        """How long it has waited so far."""
        return self._ended + (0.0 if self._since is None else self.clock() - self._since)

    def begin(self) -> None:
        """It waits from now on."""
        self._since = self.clock()
        self.changed()

    def end(self) -> None:
        """It does not wait any more."""
        self._ended, self._since = self.seconds, None
        self.changed()


WAIT: ContextVar[Wait | None] = ContextVar("perimeter_wait", default=None)
"""The `Wait` of the current coroutine, if its time in queues is measured."""


def retry_after(seconds: float) -> int:
    """A Retry-After for clients that are refused while the work before them takes ``seconds``: in steps, and spread.

    All of the clients that are refused at the same time would otherwise come back at the same time.
    """
    step = 1
    while step < seconds and step < LONGEST_RETRY // 2:
        step = min(2 * step, LONGEST_RETRY // 2)
    return step + secrets.randbelow(step + 1)


class StillWaiting(CancelledError):
    """A job was cancelled while it waited in the queue: it never began, so this is no failure of the backend.

    ``retry_after`` is for the client.
    """

    def __init__(self, retry_after: int) -> None:
        super().__init__()
        self.retry_after = retry_after


def timed_out(what: str) -> Callable[[object, float], Failure]:
    """Return an ``onTimeoutCancel`` for `Deferred.addTimeout`: `Overloaded` if the job never began, otherwise `Unavailable`."""

    def failure(result: object, timeout: float) -> Failure:
        if isinstance(result, Failure) and isinstance(result.value, StillWaiting):
            return Failure(Overloaded(f"{what} was busy for {timeout:g} s", retry_after=result.value.retry_after))
        return Failure(Unavailable(f"{what} took longer than {timeout:g} s"))

    return failure


class Job(Protocol):
    """A job in a line. A job that is not ``bounded`` is never removed to make room."""

    client: str
    bounded: bool


J = TypeVar("J", bound=Job)


class Lines(Generic[J]):
    """The waiting jobs: one line for each client. The lines take turns."""

    def __init__(self) -> None:
        self._lines: OrderedDict[str, deque[J]] = OrderedDict()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, job: J) -> None:
        """Add ``job`` at the end of its client's line."""
        self._lines.setdefault(job.client, deque()).append(job)
        self._count += 1

    def next(self, may: Callable[[str], bool] | None = None) -> J:
        """Remove and return the job whose turn it is, of the clients for which ``may`` is true.

        Raises StopIteration if there is none.
        """
        client = next(iter(self._lines) if may is None else filter(may, self._lines))
        line = self._lines[client]
        job = line.popleft()
        self._count -= 1
        if line:
            self._lines.move_to_end(client)
        else:
            del self._lines[client]
        return job

    def remove(self, job: J) -> None:
        """Remove ``job``. Raises KeyError or ValueError if it does not wait."""
        line = self._lines[job.client]
        line.remove(job)
        self._count -= 1
        if not line:
            del self._lines[job.client]

    def make_room(self, client: str) -> J | None:
        """Remove and return the newest bounded job of the longest line, so that ``client`` can wait too.

        Returns None if the client's own line would then be the longest, or if the longest line has no bounded job.
        """
        longest = max(self._lines.values(), key=len, default=deque[J]())
        if len(longest) <= len(self._lines.get(client, ())) + 1:
            return None
        job = next((job for job in reversed(longest) if job.bounded), None)
        if job is not None:
            self.remove(job)
        return job


class _Waiter:
    """A coroutine that waits for a slot."""

    __slots__ = ("bounded", "client", "deferred")

    def __init__(self) -> None:
        self.client = CLIENT.get()
        self.bounded = True
        self.deferred: Deferred[None]


class FairSemaphore:
    """``at_once`` slots, and a queue of at most ``waiting`` coroutines. ``what`` names the resource in messages."""

    def __init__(self, at_once: int, waiting: int, what: str) -> None:
        self._free = at_once
        self._most = waiting
        self._what = what
        self._lines: Lines[_Waiter] = Lines()

    @property
    def waiting(self) -> int:
        """The number of coroutines that wait."""
        return len(self._lines)

    def acquire(self) -> Deferred[None]:
        """Wait for a slot, in the line of the current `CLIENT`. The caller frees the slot with `release`.

        Fails with `Overloaded` if the queue is full: at once, or later if another client needs the room. Fails with
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
            refused.deferred.errback(Overloaded(f"too many requests wait for {self._what}", retry_after=retry_after(1)))
        return waiter.deferred

    def _leave(self, waiter: _Waiter) -> None:
        self._lines.remove(waiter)
        waiter.deferred.errback(StillWaiting(retry_after(1)))

    def release(self) -> None:
        """Free a slot. The next waiting coroutine gets it."""
        if self._lines:
            self._lines.next().deferred.callback(None)
        else:
            self._free += 1
