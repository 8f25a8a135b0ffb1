"""Sessions in memory, by everything that they are looked up by."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar
from weakref import WeakKeyDictionary, WeakValueDictionary

from perimeter.model import SessionUse
from perimeter.sessions.session import EndedSession, EndedUser, EndedVouched, Renewed, Seen, Session, Vouched
from perimeter.sessions.tables import FORGET_AFTER
from perimeter.state.changes import Change, Extent
from perimeter.state.partial import PartialIndex

Owner = tuple[str, str]
"""Realm and user name."""


VoucherKey = tuple[str, str, str]
"""The name of a provider, ``sub`` or ``sid``, and the provider's id of the user or of its own session."""

K = TypeVar("K")


def voucher_keys(vouched: Vouched | None) -> tuple[VoucherKey, ...]:
    """What a session that ``vouched`` stands for is found by."""
    if vouched is None:
        return ()
    user = (vouched.provider, "sub", vouched.subject)
    return (user, (vouched.provider, "sid", vouched.sid)) if vouched.sid else (user,)


def _put(sessions: dict[K, tuple[Session, ...]], key: K, session: Session) -> None:
    sessions[key] = (*sessions.get(key, ()), session)


def _drop(sessions: dict[K, tuple[Session, ...]], key: K, session: Session) -> None:
    left = tuple(one for one in sessions[key] if one is not session)
    if left:
        sessions[key] = left
    else:
        del sessions[key]


def same_owner(one: Session, other: Session) -> bool:
    """Whether both sessions give the same rights and the same identity to services."""
    first, second = one.owner, other.owner
    return first == second and first.attributes == second.attributes and first.scopes == second.scopes


def _exchanged(sessions: tuple[Session, ...], before: Session, after: Session) -> tuple[Session, ...]:
    return tuple(after if one is before else one for one in sessions)


class Dropped:
    """Sessions that were dropped from memory while requests, or what is remembered of them, still hold their use."""

    def __init__(self) -> None:
        self._uses: WeakValueDictionary[str, SessionUse] = WeakValueDictionary()
        self._sessions: WeakKeyDictionary[SessionUse, Session] = WeakKeyDictionary()

    def keep(self, session: Session, use: SessionUse) -> None:
        """``session`` is not in memory any more."""
        self._uses[session.id] = use
        self._sessions[use] = session

    def use(self, id: str) -> SessionUse | None:
        """The use of the session with this id, if anything still holds it."""
        return self._uses.get(id)

    def session(self, id: str) -> Session | None:
        """The session with this id, as it was when it was dropped."""
        use = self._uses.get(id)
        return None if use is None else self._sessions[use]

    def take(self, session: Session) -> SessionUse | None:
        """The use of ``session``, which is in memory again: another object if its owner has changed meanwhile."""
        use = self._uses.pop(session.id, None)
        if use is None:
            return None
        return use if same_owner(self._sessions.pop(use), session) else use.copy()

    def clear(self) -> None:
        """Forget all."""
        self._uses.clear()
        self._sessions.clear()


class SessionIndex(PartialIndex):
    """Empty at first; `apply` changes it.

    Sessions may be partly in memory, all else is. The session of a sign-in and those that came from it, its children, are in
    memory together or not at all: a family has the id of the first one.
    """

    def __init__(self) -> None:
        super().__init__()
        self.by_digest: dict[bytes, Session] = {}
        self.by_id: dict[str, Session] = {}
        #: by id: when each session was used last
        self.uses: dict[str, SessionUse] = {}
        #: by owner, the oldest first
        self.owned: dict[Owner, tuple[Session, ...]] = {}
        self.ended: dict[Owner, EndedUser] = {}
        #: by the id of their parent: the sessions that came from it
        self.children: dict[str, tuple[Session, ...]] = {}
        #: by provider, subject and sid
        self.ended_vouched: dict[tuple[str, str, str], EndedVouched] = {}
        #: by `voucher_keys`: the sessions that a provider vouched for
        self.vouched: dict[VoucherKey, tuple[Session, ...]] = {}
        self.dropped = Dropped()

    def apply(self, change: Change) -> None:
        """Put one change in force."""
        if isinstance(change, Session):
            self._add(change)
        elif isinstance(change, Seen):
            for id, at, gap in change.uses:
                self._seen(id, at, gap)
        elif isinstance(change, Renewed):
            self._renew(change)
        elif isinstance(change, EndedSession):
            self.note_end(change.id)
            session = self.by_id.get(change.id)
            if session is not None:
                self._end(session)
        elif isinstance(change, EndedVouched):
            ended = (change.provider, change.subject, change.sid)
            self.ended_vouched[ended] = change.merged(self.ended_vouched.get(ended))
            wanted = (change.provider, "sid", change.sid) if change.sid else (change.provider, "sub", change.subject)
            for session in self.vouched.get(wanted, ()):
                if change.covers(session) and session.id in self.by_id:
                    self._end(session)
        elif isinstance(change, EndedUser):
            key = (change.realm, change.username)
            self.ended[key] = change.merged(self.ended.get(key))
            for session in self.owned.get(key, ()):
                if change.covers(session):
                    self.remove(session)
        elif isinstance(change, Extent):
            self.measure(change)

    def _add(self, session: Session) -> None:
        orphan = session.parent and session.parent not in self.by_id  # its parent has ended meanwhile, or is not in memory
        if session.id not in self.by_id and not orphan and not self.is_over(session):
            self.by_id[session.id] = session
            self.by_digest[session.digest] = session
            self.uses[session.id] = self.dropped.take(session) or SessionUse(session.created)
            _put(self.owned, (session.owner.realm, session.owner.username), session)
            if session.parent:
                _put(self.children, session.parent, session)
            for voucher in voucher_keys(session.vouched):
                _put(self.vouched, voucher, session)
            for id in self.came(session.parent or session.id, len(self.by_id), self._families):
                self._drop_family(id)

    def _families(self) -> Iterator[str]:
        return (one.parent or one.id for one in self.by_id.values())

    def is_over(self, session: Session) -> bool:
        """Whether the end of ``session``, which may not be in memory, was seen."""
        user = self.ended.get((session.owner.realm, session.owner.username))
        if (user is not None and user.covers(session)) or self._ended_there(session):
            return True
        return not self.complete and (self.has_ended(session.id) or self.has_ended(session.parent))

    def _drop_family(self, id: str) -> None:
        for one in (*self.children.get(id, ()), self.by_id[id]):
            use = self.uses[one.id]
            self.remove(one)
            self.dropped.keep(one, use)

    def _ended_there(self, session: Session) -> bool:
        """Whether the provider has ended the sign-in that ``session`` comes from."""
        vouched = session.vouched
        if vouched is None or not self.ended_vouched:
            return False
        provider, subject, sid = vouched.provider, vouched.subject, vouched.sid
        found = (self.ended_vouched.get((provider, *ids)) for ids in ((subject, sid), ("", sid), (subject, "")))
        return any(one is not None and one.covers(session) for one in found)

    def _end(self, session: Session) -> None:
        for child in self.children.get(session.id, ()):
            self.remove(child)
        self.remove(session)

    def _renew(self, change: Renewed) -> None:
        session = self.by_id.get(change.id)
        if session is not None and change.applied(session) is not session:
            for one in (session, *self.children.get(session.id, ())):
                self._exchange(one, change.applied(one))

    def _exchange(self, before: Session, after: Session) -> None:
        """Put one session in place of the other; the same user and the same provider."""
        self.by_id[after.id] = after
        self.by_digest[after.digest] = after
        owner = (after.owner.realm, after.owner.username)
        self.owned[owner] = _exchanged(self.owned[owner], before, after)
        if after.parent:
            self.children[after.parent] = _exchanged(self.children[after.parent], before, after)
        for voucher in voucher_keys(after.vouched):
            self.vouched[voucher] = _exchanged(self.vouched[voucher], before, after)
        if not same_owner(before, after):
            self.uses[after.id] = self.uses[after.id].copy()  # a remembered verdict has the other one, and counts no more

    def _seen(self, id: str, at: float, gap: float) -> None:
        use = self.uses.get(id) or self.dropped.use(id)
        if use is not None:
            use.at = max(use.at, at)
            use.kept = max(use.kept, at)
            use.gap = max(use.gap, gap)

    def remove(self, session: Session) -> None:
        """Drop ``session``, which is one of these."""
        self.went(session.id)
        del self.by_id[session.id]
        del self.by_digest[session.digest]
        del self.uses[session.id]
        _drop(self.owned, (session.owner.realm, session.owner.username), session)
        if session.parent:
            _drop(self.children, session.parent, session)
        for voucher in voucher_keys(session.vouched):
            _drop(self.vouched, voucher, session)

    def ends(self, session: Session) -> float:
        """When ``session``, which is one of these, ends if it is not used any more (epoch seconds)."""
        return min(session.expires, self.used(session.id) + session.idle) if session.idle else session.expires

    def used(self, id: str) -> float:
        """When a session was used last (epoch seconds), or one that came from it. Raises KeyError if there is no such session."""
        at = self.uses[id].at
        return max(at, *(self.uses[child.id].at for child in self.children[id])) if id in self.children else at

    def forget(self, now: float) -> None:
        """Drop what had ended by ``now`` (epoch seconds); what has ended by idleness, after `FORGET_AFTER`.

        A parent stays while it has a child.
        """
        before = now - FORGET_AFTER
        for session in [one for one in self.by_id.values() if one.expires <= now or self.ends(one) <= before]:
            if session.id not in self.children:
                self.remove(session)
        self.forget_ends()
        for key in [key for key, user in self.ended.items() if user.until <= now]:
            del self.ended[key]
        for ended in [ended for ended, one in self.ended_vouched.items() if one.until <= now]:
            del self.ended_vouched[ended]
