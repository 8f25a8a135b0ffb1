"""Sends spans to a collector, with a bounded queue, one batch at a time, and time-outs. It does not block or slow requests.

Spans are dropped while the queue is full. A batch that the collector cannot take now is sent again, with longer pauses each time,
and dropped after `TRIES` attempts. Dropped spans are counted, by the reason.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from enum import StrEnum
from itertools import islice
from typing import Final, Protocol

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from perimeter.errors import Unavailable
from perimeter.traces.span import Span

_log = Logger()

INTERVAL: Final = 1.0
"""Seconds that spans are collected before a batch is sent."""

BATCH: Final = 512
"""Spans in a batch."""

TRIES: Final = 5
"""Attempts to send a batch, with a pause of `PAUSE` seconds after the first, and twice as long after each further one."""

PAUSE: Final = 1.0

LAST: Final = 2.0
"""Seconds at a stop for sending the remaining spans."""

#: "Retryable response codes": the collector may take the batch later
_LATER = frozenset((429, 502, 503, 504))


class Outcome(StrEnum):
    """The outcomes of spans."""

    SENT = "sent"
    #: the queue was full
    DROPPED = "dropped"
    #: the collector refused them
    REFUSED = "refused"
    #: the collector did not answer, or was too slow, at each attempt
    FAILED = "failed"


class Answer(Protocol):
    """The used part of `perimeter.web_client.client.RemoteAnswer`."""

    @property
    def status(self) -> int:
        """The status."""


class Exporter:
    """Sends spans.

    ``encode`` makes the body of a batch: ``run`` calls it in a thread, with True. ``send`` sends a body, or raises `Unavailable`.
    ``most`` spans wait at most. ``count`` counts spans by their outcome.
    """

    def __init__(
        self,
        encode: Callable[[Sequence[Span], bool], bytes],
        run: Callable[[Callable[[Sequence[Span], bool], bytes], Sequence[Span], bool], Awaitable[bytes]],
        send: Callable[[bytes], Awaitable[Answer]],
        most: int,
        clock: IReactorTime,
        count: Callable[[Outcome, int], None],
    ) -> None:
        self._encode = encode
        self._run = run
        self._send = send
        self._most = most
        self._clock = clock
        self._count = count
        self._waiting: deque[Span] = deque()
        #: a coroutine sends the waiting spans; these are called when it has ended
        self._busy = False
        self._ended: list[Deferred[None]] = []
        self._sleep: IDelayedCall | None = None
        self._stopping = False
        #: the time of a stop is over
        self._late = False

    def add(self, spans: Sequence[Span]) -> None:
        """Send ``spans`` soon, all or none. Never raises."""
        if len(self._waiting) + len(spans) > self._most:
            self._count(Outcome.DROPPED, len(spans))
            return
        self._waiting.extend(spans)
        if not self._busy:
            self._busy = True
            self._sending = Deferred.fromCoroutine(self._send_all())
            self._sending.addErrback(self._broken)

    def stop(self) -> Deferred[None]:
        """Send the remaining spans for at most `LAST` seconds, and drop the rest. Fires then, never with a failure.

        Spans of requests that end later are sent at once.
        """
        self._stopping = True
        if self._sleep is not None:
            self._sleep.reset(0)
        if not self._busy:
            return succeed(None)
        ended: Deferred[None] = Deferred()
        self._ended.append(ended)
        limit = self._clock.callLater(LAST, self._give_up)
        ended.addCallback(lambda _: limit.cancel() if limit.active() else None)
        return ended

    def _give_up(self) -> None:
        # the client may make another exception of the cancellation, so that the coroutine goes on
        self._late = True
        self._sending.cancel()

    def _broken(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            _log.failure("spans cannot be sent", failure)

    async def _send_all(self) -> None:
        """Send batches until no spans wait. A batch keeps its room in the queue until it is sent or given up."""
        try:
            while self._waiting:
                if len(self._waiting) < BATCH:
                    await self._pause(INTERVAL)
                batch = list(islice(self._waiting, BATCH))
                outcome = await self._deliver(batch)
                for _ in batch:
                    self._waiting.popleft()
                self._count(outcome, len(batch))
                if self._late or (self._stopping and outcome is Outcome.FAILED):
                    break
        finally:
            self._busy = False
            if self._waiting:
                self._count(Outcome.FAILED, len(self._waiting))
                self._waiting.clear()
            ended, self._ended = self._ended, []
            for one in ended:
                one.callback(None)

    async def _pause(self, seconds: float) -> None:
        """Wait, unless the exporter stops."""
        if self._stopping:
            return
        over: Deferred[None] = Deferred()
        self._sleep = self._clock.callLater(seconds, over.callback, None)
        try:
            await over
        finally:
            if self._sleep.active():
                self._sleep.cancel()
            self._sleep = None

    async def _deliver(self, batch: Sequence[Span]) -> Outcome:
        body = self._encode(batch, False) if self._stopping else await self._run(self._encode, batch, True)
        pause = PAUSE
        tried = 1
        while True:
            try:
                status = (await self._send(body)).status
            except Unavailable as unavailable:
                reason = unavailable.detail
            else:
                if status < 300:
                    return Outcome.SENT
                reason = f"the collector answered with status {status}"
                if status not in _LATER:
                    _log.warn("the collector of the traces refuses spans: {reason}", reason=reason)
                    return Outcome.REFUSED
            if self._stopping or tried == TRIES:
                _log.warn("spans are dropped: {reason}", reason=reason)
                return Outcome.FAILED
            _log.warn("spans cannot be sent now: {reason}", reason=reason)
            await self._pause(pause)
            pause *= 2
            tried += 1
