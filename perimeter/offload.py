"""The one door for slow work: password hashing, reading of files, anything that would hold up the reactor thread.

A small pool of threads with a bounded queue in front of it. When the queue is full the work is refused at once
(`perimeter.errors.Overloaded`: 503 with Retry-After) instead of making everybody wait longer. Timeouts are the caller's: whoever
cancels the Deferred is told at once, a job still waiting is taken out of the queue, and the result of one already
running is dropped when it comes (a thread cannot be interrupted, so until then the job still counts as running).
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, ParamSpec, Protocol, TypeVar

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from perimeter.errors import Overloaded, Unavailable

P = ParamSpec("P")
T = TypeVar("T")

RETRY_AFTER = 1
"""Seconds after which a client that found the queue full is asked to come back."""

GRACE = 5.0
"""Seconds that `Offload.stop` waits for what runs; a job that hangs longer is left behind in its daemon thread."""


class IThreads(Protocol):
    """The part of `twisted.python.threadpool.ThreadPool` that is used; tests bring their own."""

    def start(self) -> None:
        """Take work."""

    def stop(self) -> None:
        """End the threads, all of them idle."""

    def callInThreadWithCallback(
        self,
        onResult: Callable[[bool, Any], object] | None,
        func: Callable[..., object],
        *args: object,
    ) -> object:
        """Call ``func`` in a thread, and ``onResult(success, result or Failure)`` there after it."""


class _Job:
    """One call, and the Deferred that somebody waits on (until it is cancelled)."""

    __slots__ = ("call", "deferred")

    def __init__(self, call: Callable[[], Any], canceller: Callable[[_Job], None]) -> None:
        self.call = call
        self.deferred: Deferred[Any] = Deferred(lambda _: canceller(self))


def _threads(count: int) -> ThreadPool:
    pool = ThreadPool(0, count, "offload")
    # A job that hangs (a dead network file system) must not keep the process from ending.
    pool.threadFactory = partial(threading.Thread, daemon=True)  # type: ignore[assignment]
    return pool


class Offload:
    """Runs functions on ``threads`` threads of its own, with at most ``queue`` of them waiting.

    All its methods are for the reactor thread. ``reactor`` is IReactorFromThreads and IReactorTime, which no one type of
    Twisted's names.
    """

    def __init__(self, reactor: Any, threads: int = 4, queue: int = 64, pool: IThreads | None = None) -> None:
        self._reactor = reactor
        self._threads = threads
        self._queue = queue
        self._pool: IThreads = _threads(threads) if pool is None else pool
        self._waiting: deque[_Job] = deque()
        self._running: set[_Job] = set()
        self._started = False
        self._idle: Deferred[None] | None = None

    @property
    def waiting(self) -> int:
        """How many jobs wait for a thread."""
        return len(self._waiting)

    def start(self) -> None:
        """Take work from now on."""
        self._pool.start()
        self._started = True

    def stop(self) -> Deferred[None]:
        """Take no more work, fail what waits with `Unavailable`, and fire when what runs has ended (or `GRACE` is over)."""
        if not self._started:
            return succeed(None)
        self._started = False
        while self._waiting:
            self._waiting.popleft().deferred.errback(Unavailable("the gateway is shutting down"))
        if not self._running:
            self._pool.stop()
            return succeed(None)
        idle: Deferred[None] = Deferred()
        self._idle = idle
        late = self._reactor.callLater(GRACE, self._give_up)
        return idle.addCallback(lambda _: late.cancel() if late.active() else None)

    def _give_up(self) -> None:
        if self._idle is not None:
            idle, self._idle = self._idle, None
            idle.callback(None)

    def run(self, fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """Call ``fn`` in a thread: its result or its exception.

        Fails with `Overloaded` at once where ``queue`` jobs wait already, with `Unavailable` where the pool is not
        running, and with ``CancelledError`` when cancelled.
        """
        return self._submit(partial(fn, *args, **kwargs), self._queue)

    def proceed(self, fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """Like `run`, for the next step of work that was admitted by `run`: it waits however full the queue is.

        The caller has one step waiting at a time, so what waits is bounded by what was admitted. A download is not to be cut
        in the middle because many people log in at the same moment.
        """
        return self._submit(partial(fn, *args, **kwargs), None)

    def _submit(self, call: Callable[[], T], queue: int | None) -> Deferred[T]:
        job = _Job(call, self._cancelled)
        if not self._started:
            job.deferred.errback(Unavailable("the gateway is shutting down"))
        elif len(self._running) < self._threads:
            self._begin(job)
        elif queue is None or len(self._waiting) < queue:
            self._waiting.append(job)
        else:
            job.deferred.errback(Overloaded("the queue for slow work is full", retry_after=RETRY_AFTER))
        return job.deferred

    def _begin(self, job: _Job) -> None:
        self._running.add(job)
        self._pool.callInThreadWithCallback(partial(self._reactor.callFromThread, self._ended, job), job.call)

    def _ended(self, job: _Job, success: bool, result: Any) -> None:
        """The job's thread is free again."""
        self._running.discard(job)
        if self._started:
            while self._waiting and len(self._running) < self._threads:
                self._begin(self._waiting.popleft())
        elif self._idle is not None and not self._running:
            idle, self._idle = self._idle, None
            self._pool.stop()
            idle.callback(None)
        if job.deferred.called:
            return  # cancelled: nobody wants it any more
        if success:
            job.deferred.callback(result)
        else:
            assert isinstance(result, Failure)
            job.deferred.errback(result)

    def _cancelled(self, job: _Job) -> None:
        if job not in self._running:
            self._waiting.remove(job)
        job.deferred.errback(CancelledError())
