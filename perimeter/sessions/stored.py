"""Sessions as one kind of state: looked up in memory, changed through `perimeter.state.writer.ChangeWriter`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from math import inf
from typing import Any, Final

from twisted.internet.defer import Deferred, DeferredList
from twisted.python.failure import Failure

from perimeter.errors import Overloaded
from perimeter.model import Grant, GrantKind, Principal, SessionUse
from perimeter.sessions.awaited import AwaitedChanges
from perimeter.sessions.index import SessionIndex, same_owner
from perimeter.sessions.session import EndedSession, EndedUser, EndedVouched, Renewed, Seen, Session, grant_of
from perimeter.sessions.tables import CODECS, SessionTable
from perimeter.state.changes import Change
from perimeter.state.kinds import IndexedView, Kind
from perimeter.state.writer import ChangeWriter, check_fresh, unaffected

MOST_SESSIONS: Final = 200_000
"""Sessions that there may be, of all users together."""

SEEN_INTERVAL: Final = 60.0
"""Seconds between two writes of when a session was used last."""

_SEEN_AT_ONCE: Final = 1000
"""Sessions in one change."""

_UNDER_WAY: Final = 86400.0
"""Seconds after which a session is surely not on its way to the store any more."""

_SIGNING_IN: Final = 3600.0
"""Seconds after which a sign-in at a provider, with its second factor, has surely become a session or none."""

_LOOKED_UP: Final = 120.0
"""Within this many seconds, a session in use is looked up again."""

Use = tuple[str, float, float]
"""Id of a session, when it was used last, and its longest time without a use, as in `Seen`."""


class StoredSessions(IndexedView[SessionIndex]):
    """The sessions that exist (`perimeter.state.kinds.View`)."""

    def __init__(self, writer: ChangeWriter) -> None:
        super().__init__(writer, SessionIndex)
        #: sessions on their way to the store
        self._coming = 0
        #: ids of sessions that were looked up by a request, and whose last use may have to be written
        self._used: set[str] = set()
        #: by id of a session that was looked up recently: the last use that other workers know; None without other workers
        self._told: dict[str, float] | None = None
        #: changes whenever something was taken away, so that a remembered verdict on a session is checked again
        self.epoch = 0
        #: renewals and ends of sessions, by any process
        self.changes = AwaitedChanges()

    # -- View

    def replace(self, index: SessionIndex) -> None:
        """Use ``index`` from now on. A session keeps what is known of its last use.

        What was remembered of a session whose owner has changed does not count any more.
        """
        for id, use in self._index.uses.items():
            loaded = index.uses.get(id)
            if loaded is not None:
                use.at, use.kept, use.gap = max(use.at, loaded.at), loaded.kept, max(use.gap, loaded.gap)
                index.uses[id] = use if same_owner(self._index.by_id[id], index.by_id[id]) else use.copy()
        super().replace(index)
        self.changes.all_happened()

    def apply(self, change: Change) -> None:
        """Put one change in force."""
        super().apply(change)
        if isinstance(change, Renewed):
            self.epoch += 1
        if isinstance(change, Renewed | EndedSession):
            self.changes.happened(change.id)

    def removed(self) -> None:
        """Something was taken away."""
        self.epoch += 1

    # -- looking things up

    def check_fresh(self) -> None:
        """Raise `StateUnavailable` while it is not known which sessions other machines have ended."""
        check_fresh(self._writer)

    def __len__(self) -> int:
        """How many sessions are kept, with those that have ended a short time ago."""
        return len(self._index.by_id)

    def find(self, digest: bytes) -> Session | None:
        """The session with this SHA-256, perhaps over."""
        return self._index.by_digest.get(digest)

    def with_id(self, id: str) -> Session | None:
        """The session with this id, perhaps over."""
        return self._index.by_id.get(id)

    def root(self, session: Session) -> Session | None:
        """The session of the sign-in: ``session``, or the one that it came from; None if that has ended."""
        return self._index.by_id.get(session.parent or session.id)

    def due_after(self, session: Session, now: float) -> float:
        """When the provider is to be asked about the user of ``session``, if that is after ``now``; otherwise infinity."""
        root = self.root(session)
        renewal = None if root is None else root.renewal
        return inf if renewal is None or renewal.due <= now else renewal.due

    def use(self, id: str) -> SessionUse | None:
        """When the session with this id was used last: another object after its owner has changed. None if it has ended."""
        return self._index.uses.get(id)

    def ends(self, session: Session) -> float:
        """When ``session`` ends if it is not used any more (epoch seconds): 0 if it was ended."""
        if session.id not in self._index.by_id:
            return 0.0
        return self._index.ends(session)

    def seen_at(self, id: str) -> float:
        """When the session was used last on any host (epoch seconds). Raises KeyError if the session does not exist."""
        return self._index.used(id)

    def all(self) -> list[Session]:
        """All sessions that are not over, the oldest first."""
        now, ends = self._writer.seconds(), self._index.ends
        return sorted((one for one in self._index.by_id.values() if ends(one) > now), key=lambda session: session.created)

    def latest(self) -> Iterator[Session]:
        """The open sessions, the latest first. The index must not change meanwhile."""
        now, ends = self._writer.seconds(), self._index.ends
        return (one for one in reversed(self._index.by_id.values()) if ends(one) > now)

    def owned(self, realm: str, username: str) -> list[Session]:
        """The sessions of a user that are not over, the oldest first."""
        now, index = self._writer.seconds(), self._index
        return sorted(
            (one for one in index.owned.get((realm, username), ()) if index.ends(one) > now), key=lambda session: session.created
        )

    def vouched_by(self, provider: str, *, subject: str = "", sid: str = "") -> list[Session]:
        """The sessions that come from sign-ins at ``provider`` as ``subject``, or from its session ``sid``; with both, from that
        session of that user. The order means nothing."""
        found = self._index.vouched.get((provider, "sid", sid) if sid else (provider, "sub", subject), ())
        return [one for one in found if not subject or (one.vouched is not None and one.vouched.subject == subject)]

    def children(self, session: Session) -> list[Session]:
        """The sessions on other hosts that came from ``session``, the oldest first."""
        return list(self._index.children.get(session.id, ()))

    def ended_since(self, owner: Principal, since: float) -> bool:
        """Whether all sessions of a user were ended at ``since`` (epoch seconds) or later."""
        user = self._index.ended.get((owner.realm, owner.username))
        return user is not None and user.before >= since

    def realms(self) -> frozenset[str]:
        """The realms of the users of sessions, which may be ones that are no longer configured."""
        return frozenset(realm for realm, _ in self._index.owned)

    def grant(self, session: Session) -> Grant:
        """The grant of a request by ``session``, which is one of these. Its use may have to be written soon."""
        self._used.add(session.id)
        if self._told is not None:
            self._told.setdefault(session.id, 0.0)
        return grant_of(session, self._index.uses[session.id])

    def good(self, principal: Principal) -> bool:
        """Whether the session that ``principal`` came with still counts. Always true for a principal without one."""
        grant = principal.grant
        return grant is None or grant.kind is not GrantKind.SESSION or grant.id in self._index.by_id

    # -- changing them

    def add(self, session: Session) -> Deferred[None]:
        """Keep a new session, which is valid once this has fired.

        Fails with `Overloaded` if there are too many, and with `Unavailable` if it cannot be written.
        """
        if len(self) + self._coming >= MOST_SESSIONS:
            full: Deferred[None] = Deferred()
            full.errback(Overloaded("there are too many sessions"))
            return full
        self._coming += 1

        def written(result: Any) -> Any:
            self._coming -= 1
            return result

        return unaffected(self._writer.add(session).addBoth(written))

    def renew(self, change: Renewed) -> Deferred[None]:
        """Put a renewal in force; fires when every process has it. Fails with `Unavailable` if it cannot be written."""
        return unaffected(self._writer.add(change))

    def end(self, session: Session) -> Deferred[None]:
        """End a session, and those that came from it, at once; fires when that is written.

        Fails with `Unavailable` if it cannot be written yet.
        """
        return self._writer.remove(EndedSession(session.id))

    def end_sign_in(self, session: Session) -> Deferred[None]:
        """End the sign-in that ``session`` comes from, on all hosts; as `end`."""
        return self.end(self.root(session) or session)

    def end_user(self, realm: str, username: str) -> Deferred[list[Session]]:
        """End every session of a user, also those on their way to the store; as `end`. Fires with those that the user had."""
        had, now = self.owned(realm, username), self._writer.seconds()
        return self._writer.remove(EndedUser(realm, username, now, now + _UNDER_WAY)).addCallback(lambda _: had)

    def end_vouched(self, provider: str, subject: str, sid: str) -> Deferred[list[Session]]:
        """End what `EndedVouched` says, also what is on its way to the store; as `end`. Fires with those that there were."""
        had, now = self.vouched_by(provider, subject=subject, sid=sid), self._writer.seconds()
        ended = EndedVouched(provider, subject, sid, now, now + _SIGNING_IN)
        return self._writer.remove(ended).addCallback(lambda _: had)

    def keep_uses(self) -> Deferred[None]:
        """Write when sessions were used last: of those that were used, and not written for `SEEN_INTERVAL`. Never fails.

        All of them at once; what cannot be written is tried again by the next call.
        """
        due, before = list[Use](), self._writer.seconds() - SEEN_INTERVAL
        for id in list(self._used):
            use = self._index.uses.get(id)
            if use is None or use.at <= use.kept:
                self._used.discard(id)
            elif use.kept <= before:
                self._used.discard(id)
                due.append((id, use.at, use.gap))
        return self._keep(due)

    def share_uses(self) -> None:
        """Remember from now on which uses to send to other workers."""
        if self._told is None:
            self._told = {}

    def new_uses(self, resolution: float, most: int) -> list[Use]:
        """Up to ``most`` uses that are at least ``resolution`` seconds later than the uses that other workers know."""
        found = list[Use]()
        told, before = self._told or {}, self._writer.seconds() - _LOOKED_UP
        for id, at in list(told.items()):
            use = self._index.uses.get(id)
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
        uses = ((id, self._index.uses.get(id)) for id in self._told or ())
        unkept = ((id, use.at, use.gap) for id, use in uses if use is not None and use.at > use.kept)
        return list(islice(unkept, most))

    def heard_uses(self, uses: Iterable[Use]) -> None:
        """Other workers have seen these uses."""
        seen = Seen(tuple(uses))
        self.apply(seen)
        told = self._told or {}
        for id, at, _ in seen.uses:
            if id in told:
                told[id] = max(told[id], at)

    def keep_all_uses(self) -> Deferred[None]:
        """Like `keep_uses`, of all sessions, because the process stops."""
        return self._keep([(id, use.at, use.gap) for id, use in self._index.uses.items() if use.at > use.kept])

    def _keep(self, uses: Sequence[Use]) -> Deferred[None]:
        def write(some: Sequence[Use]) -> Deferred[None]:
            return self._writer.add(Seen(tuple(some))).addErrback(failed, some)

        def failed(_: Failure, some: Sequence[Use]) -> None:
            self._used.update(id for id, *_ in some)  # the next sign-in or sign-out gets the error of the store

        writes = [write(uses[at : at + _SEEN_AT_ONCE]) for at in range(0, len(uses), _SEEN_AT_ONCE)]
        return DeferredList(writes).addCallback(lambda _: None)


SESSIONS: Final[Kind[StoredSessions]] = Kind("sessions", CODECS, SessionTable(), StoredSessions)
"""Sessions of browsers."""
