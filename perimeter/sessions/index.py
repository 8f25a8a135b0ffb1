"""Sessions in memory, by everything that they are looked up by."""

from __future__ import annotations

from perimeter.model import SessionUse
from perimeter.sessions.session import EndedSession, EndedUser, Seen, Session
from perimeter.sessions.tables import FORGET_AFTER
from perimeter.state.changes import Change

Owner = tuple[str, str]
"""Realm and user name."""


class SessionIndex:
    """Empty at first; `apply` changes it."""

    def __init__(self) -> None:
        self.by_digest: dict[bytes, Session] = {}
        self.by_id: dict[str, Session] = {}
        #: by id: when each session was used last
        self.uses: dict[str, SessionUse] = {}
        #: by owner, the oldest first
        self.owned: dict[Owner, tuple[Session, ...]] = {}
        self.ended: dict[Owner, EndedUser] = {}

    def apply(self, change: Change) -> None:
        """Put one change in force."""
        if isinstance(change, Session):
            self._add(change)
        elif isinstance(change, Seen):
            for id, at, gap in change.uses:
                self._seen(id, at, gap)
        elif isinstance(change, EndedSession):
            session = self.by_id.get(change.id)
            if session is not None:
                self.remove(session)
        elif isinstance(change, EndedUser):
            key = (change.realm, change.username)
            self.ended[key] = change.merged(self.ended.get(key))
            for session in self.owned.get(key, ()):
                if change.covers(session):
                    self.remove(session)

    def _add(self, session: Session) -> None:
        key = (session.owner.realm, session.owner.username)
        user = self.ended.get(key)
        if session.id not in self.by_id and (user is None or not user.covers(session)):
            self.by_id[session.id] = session
            self.by_digest[session.digest] = session
            self.uses[session.id] = SessionUse(session.created)
            self.owned[key] = (*self.owned.get(key, ()), session)

    def _seen(self, id: str, at: float, gap: float) -> None:
        use = self.uses.get(id)
        if use is not None:
            use.at = max(use.at, at)
            use.kept = max(use.kept, at)
            use.gap = max(use.gap, gap)

    def remove(self, session: Session) -> None:
        """Drop ``session``, which is one of these."""
        del self.by_id[session.id]
        del self.by_digest[session.digest]
        del self.uses[session.id]
        key = (session.owner.realm, session.owner.username)
        owned = tuple(one for one in self.owned[key] if one is not session)
        if owned:
            self.owned[key] = owned
        else:
            del self.owned[key]

    def ends(self, session: Session) -> float:
        """When ``session``, which is one of these, ends if it is not used any more (epoch seconds)."""
        if not session.idle:
            return session.expires
        return min(session.expires, self.uses[session.id].at + session.idle)

    def forget(self, now: float) -> None:
        """Drop what had ended by ``now`` (epoch seconds); what has ended by idleness, after `FORGET_AFTER`."""
        before = now - FORGET_AFTER
        for session in [one for one in self.by_id.values() if one.expires <= now or self.ends(one) <= before]:
            self.remove(session)
        for key in [key for key, user in self.ended.items() if user.until <= now]:
            del self.ended[key]
