"""The manager's part in the figures of all workers: it asks for their shares, keeps their counts, and adds them up.

The manager keeps all counts of a scrape. So if a worker is killed a moment later, or does not answer, the counts of the next
scrape are not lower.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from twisted.internet.defer import Deferred, DeferredList
from twisted.logger import Logger
from twisted.python.failure import Failure

from perimeter.workers.channel import Channel, ChannelClosed, Handler, Refused
from perimeter.workers.sums import Tally

_log = Logger()


class Sharing(Protocol):
    """A worker process, as the manager knows it. The object stands for this one process."""

    def __hash__(self) -> int: ...

    @property
    def number(self) -> int:
        """Its slot."""

    @property
    def channel(self) -> Channel:
        """The connection to it."""


class Shares:
    """``workers`` returns those that have clients, ``described`` the members of a `WorkerNow` for all workers.

    ``seconds`` is the time (epoch seconds). The gateway has been up since this object was made, unless ``since`` is set.
    """

    def __init__(
        self,
        workers: Callable[[], Iterable[Sharing]],
        described: Callable[[], Sequence[Mapping[str, Any]]],
        seconds: Callable[[], float],
    ) -> None:
        self._workers = workers
        self._described = described
        self._seconds = seconds
        self.since = seconds()
        self.tally = Tally()

    def handlers(self, worker: Sharing) -> dict[str, Handler]:
        """The handlers for the channel to ``worker``."""

        def kept(told: Mapping[str, Any]) -> None:
            self.tally.keep(worker, told["counts"])

        def shares(asked: Mapping[str, Any]) -> Deferred[Mapping[str, Any]]:
            kept(asked)
            return self._gather(worker, asked["question"], asked["timeout"])

        return {"counted": kept, "shares": shares}

    def ended(self, worker: Sharing) -> None:
        """The channel to ``worker`` is closed, so everything that it sent has been read."""
        self.tally.end(worker)

    def _gather(self, asking: Sharing, question: str, timeout: float) -> Deferred[Mapping[str, Any]]:
        asked = DeferredList([self._share(worker, question, timeout) for worker in self._workers() if worker is not asking])

        def gathered(results: Sequence[tuple[bool, Mapping[str, Any]]]) -> Mapping[str, Any]:
            shares = [share for _, share in results]
            return {
                "counts": self.tally.sum(),
                "shares": shares,
                "workers": self._described(),
                "uptime": self._seconds() - self.since,
            }

        return asked.addCallback(gathered)

    def _share(self, worker: Sharing, question: str, timeout: float) -> Deferred[Mapping[str, Any]]:
        """The share of a worker, whose value is None if it does not answer. Never fails."""

        def arrived(share: Mapping[str, Any]) -> Mapping[str, Any]:
            self.tally.keep(worker, share.get("counts", {}))
            return {"slot": worker.number, "value": {name: value for name, value in share.items() if name != "counts"}}

        def missing(failure: Failure) -> Mapping[str, Any]:
            if failure.check(TimeoutError, Refused, ChannelClosed) is None:
                _log.failure("the share of worker {slot} could not be used", failure=failure, slot=worker.number)
            return {"slot": worker.number, "value": None}

        return worker.channel.ask(question, timeout).addCallback(arrived).addErrback(missing)
