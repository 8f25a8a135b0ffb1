"""Sessions as one kind of state: looked up in memory, changed through `perimeter.state.writer.ChangeWriter`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from math import inf
from typing import Any, Final

from twisted.internet.defer import Deferred

from perimeter.errors import Overloaded, StateUnavailable
from perimeter.model import GrantKind, Principal, SessionUse
from perimeter.sessions.awaited import AwaitedChanges
from perimeter.sessions.index import SessionIndex, same_owner
from perimeter.sessions.records import RECORDS
from perimeter.sessions.session import EndedSession, EndedUser, EndedVouched, Renewed, Session
from perimeter.sessions.tables import CODECS, SessionTable
from perimeter.sessions.used import NAME, UsedSessions
from perimeter.state.changes import Change
from perimeter.state.kinds import Kind
from perimeter.state.page import Page
from perimeter.state.writer import ChangeWriter, LookupKey, check_fresh, unaffected

MOST_SESSIONS: Final = 10_000_000
"""Sessions that there may be, of all users together: some 10 GB of the disk."""

_UNDER_WAY: Final = 86400.0
"""Seconds after which a session is surely not on its way to the store any more."""

_SIGNING_IN: Final = 3600.0
"""Seconds after which a sign-in at a provider, with its second factor, has surely become a session or none."""


class StoredSessions(UsedSessions):
    """The sessions that exist (`perimeter.state.kinds.View`).

    They may be partly in memory (`perimeter.state.partial`): `learn` or `gather` comes before what looks them up.
    """

    def __init__(self, writer: ChangeWriter) -> None:
        super().__init__(writer)
        #: sessions on their way to the store
        self._coming = 0
        #: changes whenever something was taken away, so that a remembered verdict on a session is checked again
        self.epoch = 0
        #: renewals and ends of sessions, by any process
        self.changes = AwaitedChanges()

    # -- View

    def replace(self, index: SessionIndex) -> None:
        """Use ``index`` from now on. A session keeps what is known of its last use.

        What was remembered of a session whose owner has changed does not count any more.
        """
        index.dropped = self._index.dropped
        for id, use in self._index.uses.items():
            loaded = index.uses.get(id)
            if loaded is not None:
                use.at, use.kept, use.gap = max(use.at, loaded.at), loaded.kept, max(use.gap, loaded.gap)
                index.uses[id] = use if same_owner(self._index.by_id[id], index.by_id[id]) else use.copy()
            elif not index.complete:
                index.dropped.keep(self._index.by_id[id], use)
        super().replace(index)
        self.changes.all_happened()

    def apply(self, change: Change) -> None:
        """Put one change in force."""
        super().apply(change)
        if isinstance(change, Renewed):
            self._altered(change.id)
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
        """How many sessions there are, with those that have ended a short time ago; roughly, if not all are in memory."""
        return len(self._index.by_id) if self.complete else max(self._index.counted, len(self._index.by_id))

    def find(self, digest: bytes) -> Session | None:
        """The session with this SHA-256, perhaps over."""
        return self._touched(self._index.by_digest.get(digest))

    def with_id(self, id: str) -> Session | None:
        """The session with this id, perhaps over."""
        return self._touched(self._index.by_id.get(id))

    def _touched(self, session: Session | None) -> Session | None:
        if session is not None:
            self._index.touch(session.parent or session.id)
        return session

    async def _ask(self, key: LookupKey) -> Sequence[Change]:
        """The sessions with ``key``, each with its whole family: what a single one came from, and what came from it."""
        changes = await super()._ask(key)
        if key[0] in ("digest", "id", "parent"):
            found = next((one for one in changes if isinstance(one, Session)), None)
            if found is not None:
                root = found.parent or found.id
                first = await super()._ask(("id", root)) if found.parent else ()
                children = () if key[0] == "parent" else await super()._ask(("parent", root))
                changes = [*first, *changes, *children]
        return [*changes, *self.heard_of(one.id for one in changes if isinstance(one, Session))]

    def lost(self, session: Session) -> bool:
        """Whether ``session`` was dropped from memory after it was looked up: nothing says that it has ended."""
        index = self._index
        return not index.complete and session.id not in index.by_id and not index.is_over(session)

    def check_kept(self, session: Session) -> None:
        """Raise `StateUnavailable` if ``session`` is `lost`."""
        if self.lost(session):
            raise StateUnavailable("too many sessions are in use at the same time")

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
        """All sessions in memory that are not over, the oldest first."""
        return sorted(self._open(self._index.by_id.values()), key=lambda session: session.created)

    def _open(self, sessions: Iterable[Session]) -> Iterator[Session]:
        now, ends = self._writer.seconds(), self._index.ends
        return (one for one in sessions if ends(one) > now)

    async def page(self, page: Page) -> Sequence[Session]:
        """The sessions of a page that came from no other one. Raises `Unavailable`."""
        if not self.complete:
            found = (one for one in await self._found(page.key) if isinstance(one, Session) and not one.parent)
            return [one for one in found if one.id in self._index.by_id]
        # There may be many: of the latest, only as many are looked at as it takes.
        every = self._open(reversed(self._index.by_id.values())) if page.latest else self.all()
        wanted = (
            one
            for one in every
            if not one.parent and page.user in ("", one.owner.username) and page.realm in ("", one.owner.realm)
        )
        return list(islice(wanted, page.first, page.first + page.most))

    def realms(self) -> frozenset[str]:
        """The realms of the users of sessions in memory, which may be ones that are no longer configured."""
        return frozenset(realm for realm, _ in self._index.owned)

    async def has_realm(self, realm: str) -> bool:
        """Whether anyone of ``realm``, which may be no longer configured, has a session. Raises `Unavailable`."""
        return bool(await self.page(Page(self._writer.seconds(), 1, realm=realm)))

    def owned(self, realm: str, username: str) -> list[Session]:
        """The sessions of a user that are not over, the oldest first."""
        return sorted(self._open(self._index.owned.get((realm, username), ())), key=lambda session: session.created)

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

    def good(self, principal: Principal) -> bool:
        """Whether the session that ``principal`` came with still counts. Always true for a principal without one."""
        grant = principal.grant
        if grant is None or grant.kind is not GrantKind.SESSION or grant.id in self._index.by_id:
            return True
        dropped = None if self.complete else self._index.dropped.session(grant.id)
        return dropped is not None and not self._index.is_over(dropped)

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
            self._index.counted += 1
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
        return self._writer.remove(EndedSession(session.parent or session.id))

    def end_user(self, realm: str, username: str) -> Deferred[list[Session]]:
        """End every session of a user, also those on their way to the store; as `end`. Fires with those that the user had."""
        return Deferred.fromCoroutine(self._end_user(realm, username))

    async def _end_user(self, realm: str, username: str) -> list[Session]:
        await self.gather_if_possible(("owner", realm, username))
        had, now = self.owned(realm, username), self._writer.seconds()
        await self._writer.remove(EndedUser(realm, username, now, now + _UNDER_WAY))
        return had

    def end_vouched(self, provider: str, subject: str, sid: str) -> Deferred[list[Session]]:
        """End what `EndedVouched` says, also what is on its way to the store; as `end`. Fires with those that there were."""
        return Deferred.fromCoroutine(self._end_vouched(provider, subject, sid))

    async def _end_vouched(self, provider: str, subject: str, sid: str) -> list[Session]:
        await self.gather_if_possible(("sid", provider, sid) if sid else ("sub", provider, subject))
        had, now = self.vouched_by(provider, subject=subject, sid=sid), self._writer.seconds()
        await self._writer.remove(EndedVouched(provider, subject, sid, now, now + _SIGNING_IN))
        return had


SESSIONS: Final[Kind[StoredSessions]] = Kind(NAME, CODECS, SessionTable(), StoredSessions, RECORDS)
"""Sessions of browsers."""
