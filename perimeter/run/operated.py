"""The running gateway as the operator's page sees it (`perimeter.web.endpoints.operator.gateway.Gateway`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, Protocol

from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from perimeter.errors import Unavailable
from perimeter.metrics.figures import Figures, own_figures
from perimeter.metrics.samples import Sampler
from perimeter.net.contexts import ServerIdentity
from perimeter.offload import Offload
from perimeter.run.all_figures import AllFigures
from perimeter.run.all_workers import all_problems
from perimeter.run.build.assembly import Assembly
from perimeter.run.build.runtime import Runtime
from perimeter.run.nodes import shared_status
from perimeter.run.operations import ListenerStatus
from perimeter.run.problems import Examination, Problem
from perimeter.web.endpoints.operator.audit import Searches
from perimeter.web.endpoints.operator.events import Audience
from perimeter.web.endpoints.operator.gateway import Reload
from perimeter.web.endpoints.operator.notes import Note, Notes
from perimeter.web.endpoints.operator.page import Desk
from perimeter.workers.channel import ChannelClosed, Refused
from perimeter.workers.place import Place

KNOWN_FOR: Final = 5.0
"""Seconds for which problems are kept, so that not every operator causes new checks of directories and services."""

NOTE_TIMEOUT: Final = 0.5
"""Seconds in which another worker has to send its note about an action of an operator."""


class OperatedWorker(Protocol):
    """What is needed of `perimeter.run.worker.Worker`."""

    last_reload: Reload

    @property
    def assembly(self) -> Assembly:
        """What is in force. Raises ValueError while the gateway stops."""

    def listeners(self) -> list[ListenerStatus]:
        """The listeners."""

    def uptime(self) -> float:
        """Seconds since the start."""

    def examination(self) -> Examination:
        """What is to be examined for problems."""


class OperatedGateway:
    """See `perimeter.web.endpoints.operator.gateway.Gateway`."""

    def __init__(self, worker: OperatedWorker, runtime: Runtime) -> None:
        self._worker = worker
        self._runtime = runtime
        self._all = None if runtime.place is None else AllFigures(runtime.place, runtime)
        self.samples = Sampler(runtime.metrics, runtime.reactor, None if self._all is None else self._all.sample)
        self.seconds = runtime.reactor.seconds
        self.listeners = worker.listeners
        self._known: Sequence[Problem] = ()
        self._known_until = 0.0
        self._known_reload = self._asked_reload = worker.last_reload
        self._waiting: list[Deferred[Sequence[Problem]]] = []

    @property
    def assembly(self) -> Assembly:
        """What is in force. Raises ValueError while the gateway stops."""
        return self._worker.assembly

    @property
    def offload(self) -> Offload:
        """The threads for the gateway's own work."""
        return self._runtime.offload

    @property
    def last_reload(self) -> Reload:
        """The last reload."""
        return self._worker.last_reload

    def identities(self) -> Mapping[str, tuple[ServerIdentity, ...]]:
        """The certificates that each listener with TLS serves."""
        return self._worker.examination().identities

    async def figures(self) -> Figures:
        """The figures of all worker processes, or of this one alone if the others cannot be asked.

        Raises `NotRunning` while the gateway stops.
        """
        if self._all is not None:
            with suppress(Unavailable):
                return await self._all.all()
        return own_figures(self._runtime.metrics, self._runtime.reactor.seconds(), self._worker.uptime())

    async def attempts(self) -> Mapping[tuple[str, ...], int]:
        """Questions to authenticators by name, type, realm and result, as `figures`."""
        if self._all is not None:
            with suppress(Unavailable):
                return await self._all.attempts()
        return self._runtime.metrics.auth.attempts

    async def shared(self) -> Mapping[str, Any]:
        """The nodes that share the state, and Redis (`perimeter.run.nodes.shared_status`)."""
        return await shared_status(self.assembly, self._runtime.reactor)

    def troubles(self) -> Deferred[Sequence[Problem]]:
        """What is wrong, the worst first.

        All who ask at the same time share one examination, which is good for `KNOWN_FOR`, or until a reload.
        """
        if self._runtime.reactor.seconds() < self._known_until and self._known_reload is self._worker.last_reload:
            return succeed(self._known)
        waiting: Deferred[Sequence[Problem]] = Deferred()
        self._waiting.append(waiting)
        if len(self._waiting) == 1:
            self._asked_reload = self._worker.last_reload
            Deferred.fromCoroutine(self._examine()).addBoth(self._examined)
        return waiting

    async def _examine(self) -> Sequence[Problem]:
        return await all_problems(self._worker.examination())

    def _examined(self, found: Any) -> None:
        waiting, self._waiting = self._waiting, []
        if not isinstance(found, Failure):
            self._known, self._known_until = found, self._runtime.reactor.seconds() + KNOWN_FOR
            self._known_reload = self._asked_reload
        for one in waiting:
            one.callback(found)


def make_desk(worker: OperatedWorker, runtime: Runtime) -> Desk:
    """The parts that all operators of this process share."""
    operated = OperatedGateway(worker, runtime)
    audience = Audience(operated.samples, operated.troubles)
    return Desk(operated, audience, Searches(runtime.reactor), notes_of(runtime.place))


def notes_of(place: Place | None) -> Notes:
    """The notes of this process, with those of the other workers."""
    if place is None:
        return Notes()

    async def elsewhere(session: str) -> Note | None:
        try:
            replies = await place.gather("note", NOTE_TIMEOUT, session=session)
        except (ChannelClosed, Refused, TimeoutError):
            return None
        return next(((bool(one.value[0]), str(one.value[1])) for one in replies if one.value is not None), None)

    notes = Notes(elsewhere)
    place.handlers["note"] = lambda asked: notes.pop(asked["session"])
    return notes
