"""When sessions were used last: noted by requests, written once a minute, and sent to the other workers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Final

from twisted.internet.defer import Deferred, DeferredList
from twisted.python.failure import Failure

from perimeter.model import Grant, SessionUse
from perimeter.recent import Recent
from perimeter.sessions.index import SessionIndex
from perimeter.sessions.session import Seen, Session, grant_of
from perimeter.state.partial import PartialView
from perimeter.state.writer import ChangeWriter

NAME: Final = "sessions"
"""The name of this kind of state."""

SEEN_INTERVAL: Final = 60.0
"""Seconds between two writes of when a session was used last."""

_SEEN_AT_ONCE: Final = 1000
"""Sessions in one change."""

_LOOKED_UP: Final = 120.0
"""Within this many seconds, a session in use is looked up again."""

_MOST_HEARD: Final = 100_000
"""Sessions that are not in memory, and whose uses by requests to other workers are remembered."""

Use = tuple[str, float, float]
"""Id of a session, when it was used last, and its longest time without a use, as in `Seen`."""


class UsedSessions(PartialView[SessionIndex]):
    """The part of `perimeter.sessions.stored.StoredSessions` that has to do with uses."""

    def __init__(self, writer: ChangeWriter) -> None:
        super().__init__(writer, SessionIndex, NAME)
        #: by id: sessions that were looked up by a request, and whose last use may have to be written
        self._used: dict[str, SessionUse] = {}
        #: by id of a session that is not in memory: its last use by a request to another worker
        self._heard: Recent[str, Use] = Recent(_MOST_HEARD)
        #: by id of a session that was looked up recently: the last use that other workers know; None without other workers
        self._told: dict[str, float] | None = None

    def grant(self, session: Session) -> Grant:
        """The grant of a request by ``session``, which is one of these. Its use may have to be written soon."""
        use = self._used[session.id] = self._index.uses[session.id]
        if self._told is not None:
            self._told.setdefault(session.id, 0.0)
        return grant_of(session, use)

    def heard_of(self, ids: Iterable[str]) -> Sequence[Seen]:
        """The uses by requests to other workers of sessions that come into memory."""
        heard = tuple(self._heard.pop(id) for id in ids if id in self._heard)
        return [Seen(heard)] if heard else []

    def keep_uses(self) -> Deferred[None]:
        """Write when sessions were used last: of those that were used, and not written for `SEEN_INTERVAL`. Never fails.

        All of them at once; what cannot be written is tried again by the next call.
        """
        due, before = list[Use](), self._writer.seconds() - SEEN_INTERVAL
        for id in list(self._used):
            use = self._use(id)
            if use is None or use.at <= use.kept:
                del self._used[id]
            elif use.kept <= before:
                del self._used[id]
                due.append((id, use.at, use.gap))
        return self._keep(due)

    def _use(self, id: str) -> SessionUse | None:
        """The use of a session that is in memory, or was dropped and is still in use."""
        return self._index.uses.get(id) or self._index.dropped.use(id)

    def share_uses(self) -> None:
        """Remember from now on which uses to send to other workers."""
        if self._told is None:
            self._told = {}

    def new_uses(self, resolution: float, most: int) -> list[Use]:
        """Up to ``most`` uses that are at least ``resolution`` seconds later than the uses that other workers know."""
        found = list[Use]()
        told, before = self._told or {}, self._writer.seconds() - _LOOKED_UP
        for id, at in list(told.items()):
            use = self._use(id)
            if use is None or max(use.at, at) <= before:
                del told[id]
            elif use.at >= at + resolution:
                told[id] = use.at
                found.append((id, use.at, use.gap))
                if len(found) == most:
                    break
        return found

    def unkept_uses(self, most: int) -> list[Use]:
        """Up to ``most`` uses by requests to this worker that are not in the store yet."""
        uses = ((id, self._use(id)) for id in self._told or ())
        unkept = ((id, use.at, use.gap) for id, use in uses if use is not None and use.at > use.kept)
        return list(islice(unkept, most))

    def heard_uses(self, uses: Iterable[Use]) -> None:
        """Other workers have seen these uses."""
        seen = Seen(tuple(uses))
        self.apply(seen)
        told = self._told or {}
        for id, at, gap in seen.uses:
            if id in told:
                told[id] = max(told[id], at)
            if not self.complete and self._use(id) is None:
                self._heard.keep(id, (id, at, gap))

    def keep_all_uses(self) -> Deferred[None]:
        """Like `keep_uses`, of all sessions, because the process stops."""
        every = {**self._used, **self._index.uses}
        return self._keep([(id, use.at, use.gap) for id, use in every.items() if use.at > use.kept])

    def _keep(self, uses: Sequence[Use]) -> Deferred[None]:
        def write(some: Sequence[Use]) -> Deferred[None]:
            return self._writer.add(Seen(tuple(some))).addErrback(failed, some)

        def failed(_: Failure, some: Sequence[Use]) -> None:
            for id, _at, _gap in some:  # the next sign-in or sign-out gets the error of the store
                use = self._use(id)
                if use is not None:
                    self._used[id] = use

        writes = [write(uses[at : at + _SEEN_AT_ONCE]) for at in range(0, len(uses), _SEEN_AT_ONCE)]
        return DeferredList(writes).addCallback(lambda _: None)
