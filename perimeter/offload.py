"""Runs slow work in threads: password hashing, reading of files, anything that would hold up the reactor thread.

A pool has a small number of threads and a bounded queue in which clients take turns (`perimeter.fair_queue`): a client with many
jobs does not delay a client with one. When the queue is full, the client with the most waiting jobs is refused
(`perimeter.errors.Overloaded`: 503 with Retry-After) instead of making all clients wait longer.

The caller sets the timeout: it cancels the Deferred. A job that is still waiting leaves the queue (`StillWaiting`). A thread
cannot be interrupted, so a running job counts as running until it ends, and its result is dropped.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, ParamSpec, Protocol, TypeVar

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from perimeter.errors import Overloaded, Unavailable
from perimeter.fair_queue import CLIENT, WAIT, Lines, StillWaiting, retry_after

P = ParamSpec("P")
T = TypeVar("T")

GRACE = 5.0
"""Seconds that `Offload.stop` waits for running jobs; a job that hangs longer is left behind in its daemon thread."""

NICENESS = 5
"""How much lower the priority of a polite pool's threads is than that of the reactor thread (``nice``)."""


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
    """One call and the Deferred of its result. ``bounded`` jobs may be refused when the queue is full."""

    __slots__ = ("began", "bounded", "call", "client", "deferred", "wait")

    def __init__(self, call: Callable[[], Any], bounded: bool, canceller: Callable[[_Job], None]) -> None:
        self.call = call
        self.bounded = bounded
        self.client = CLIENT.get()
        self.wait = WAIT.get()
        self.began = 0.0
        self.deferred: Deferred[Any] = Deferred(lambda _: canceller(self))


def _threads(count: int, polite: bool) -> ThreadPool:
    pool = ThreadPool(0, count, "offload")

    def thread(*, target: Callable[[], object], **options: Any) -> threading.Thread:
        def run() -> None:
            if polite and sys.platform == "linux":
                with suppress(OSError):  # concerns the calling thread alone, elsewhere the process
                    os.nice(NICENESS)
            target()

        # A job that hangs (a dead network file system) must not keep the process from ending.
        return threading.Thread(target=run, daemon=True, **options)

    pool.threadFactory = thread  # type: ignore[assignment]
    return pool


class Offload:
    """Runs functions on ``threads`` threads of its own, with at most ``queue`` of them waiting.

    All its methods are for the reactor thread. ``reactor`` is IReactorFromThreads and IReactorTime, which no one type of
    Twisted's names. The threads of a ``polite`` pool have a lower priority than the reactor thread: such a pool is for work that
    computes for a long time.
    """

    def __init__(
        self, reactor: Any, threads: int = 4, queue: int = 64, pool: IThreads | None = None, *, polite: bool = False
    ) -> None:
        self._reactor = reactor
        self._threads = threads
        self._queue = queue
        self._pool: IThreads = _threads(threads, polite) if pool is None else pool
        self._waiting = Lines[_Job]()
        self._running: set[_Job] = set()
        self._started = False
        self._idle: Deferred[None] | None = None
        #: seconds that a job takes: a moving average
        self._average = 0.0

    @property
    def retry_after(self) -> int:
        """A Retry-After (seconds) for a client that is refused now."""
        return retry_after(self._average * len(self._waiting) / self._threads)

    @property
    def waiting(self) -> int:
        """How many jobs wait for a thread."""
        return len(self._waiting)

    def start(self) -> None:
        """Take work from now on."""
        self._pool.start()
        self._started = True

    def stop(self) -> Deferred[None]:
        """Take no more work, fail waiting jobs with `Unavailable`, and fire when running ones have ended (`GRACE` at most)."""
        if not self._started:
            return succeed(None)
        self._started = False
        while self._waiting:
            self._next().deferred.errback(Unavailable("the gateway is shutting down"))
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

        It waits in the line of the current `perimeter.fair_queue.CLIENT`.

        Fails with `Overloaded` where ``queue`` jobs wait already: at once, or later if another client needs the room. Fails with
        `Unavailable` where the pool is not running, and with ``CancelledError`` when cancelled (`StillWaiting` before it began).
        """
        return self._submit(partial(fn, *args, **kwargs), True)

    def proceed(self, fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """Like `run`, for the next step of work that was admitted by `run`: it waits however full the queue is.

        The caller has one step waiting at a time, so the number of waiting steps is bounded by what was admitted. A download must
        not break off in the middle because many people log in at the same moment.
        """
        return self._submit(partial(fn, *args, **kwargs), False)

    def _submit(self, call: Callable[[], T], bounded: bool) -> Deferred[T]:
        job = _Job(call, bounded, self._cancelled)
        if not self._started:
            job.deferred.errback(Unavailable("the gateway is shutting down"))
        elif len(self._running) < self._threads:
            self._begin(job)
        elif not bounded or len(self._waiting) < self._queue:
            self._queue_up(job)
        else:
            self._wait_instead_of_another(job)
        return job.deferred

    def _wait_instead_of_another(self, job: _Job) -> None:
        refused = self._waiting.make_room(job.client)
        if refused is not None:
            if refused.wait is not None:
                refused.wait.end()
            self._queue_up(job)
        (refused or job).deferred.errback(Overloaded("the queue for slow work is full", retry_after=self.retry_after))

    def _queue_up(self, job: _Job) -> None:
        self._waiting.add(job)
        if job.wait is not None:
            job.wait.begin()

    def _next(self) -> _Job:
        job = self._waiting.next()
        if job.wait is not None:
            job.wait.end()
        return job

    def _begin(self, job: _Job) -> None:
        self._running.add(job)
        job.began = self._reactor.seconds()
        self._pool.callInThreadWithCallback(partial(self._reactor.callFromThread, self._ended, job), job.call)

    def _ended(self, job: _Job, success: bool, result: Any) -> None:
        """The job's thread is free again."""
        self._running.discard(job)
        took = self._reactor.seconds() - job.began
        self._average = took if not self._average else self._average + (took - self._average) / 8
        if self._started:
            while self._waiting and len(self._running) < self._threads:
                self._begin(self._next())
        elif self._idle is not None and not self._running:
            idle, self._idle = self._idle, None
            self._pool.stop()
            idle.callback(None)
        if job.deferred.called:
            return  # cancelled: the result is not wanted any more
        if success:
            job.deferred.callback(result)
        else:
            assert isinstance(result, Failure)
            job.deferred.errback(result)

    def _cancelled(self, job: _Job) -> None:
        if job in self._running:
            job.deferred.errback(CancelledError())
        else:
            self._waiting.remove(job)
            if job.wait is not None:
                job.wait.end()
            job.deferred.errback(StillWaiting(self.retry_after))
