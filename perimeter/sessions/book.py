"""The sessions of users: begun at a sign-in, listed and ended by their owner."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from twisted.python.failure import Failure

from perimeter.errors import NoSuchSession
from perimeter.model import GrantKind, Principal
from perimeter.sessions.opened import secret_of
from perimeter.sessions.sealing import Unsealable
from perimeter.sessions.session import HERE, Origin, Proof, Session, Vouched, digest_of, mint, renewed
from perimeter.sessions.stored import StoredSessions
from perimeter.state.partial import finished
from perimeter.state.writer import finish
from perimeter.tokens.check import Check
from perimeter.tokens.format import EpochClock

LONGEST_AGENT = 200
"""Characters of a User-Agent that are kept."""

MOST_CHILDREN = 100
"""Sessions on other hosts that one session can have."""


class SessionSettings(Protocol):
    """What this module needs of ``[login]``. Times are in seconds."""

    @property
    def idle(self) -> float:
        """Seconds without use after which a session ends; 0: it does not end by idleness."""

    @property
    def lifetime(self) -> float:
        """Seconds from the sign-in to the end of a session."""

    @property
    def stay(self) -> float:
        """The lifetime with "stay signed in", which has no end by idleness; 0 if that is not offered."""

    @property
    def fresh(self) -> float:
        """How long the proof of who the user is counts as fresh."""

    @property
    def max_sessions(self) -> int:
        """What one user may have."""


class SessionBook:
    """Begins, finds and ends sessions, by ``settings``. ``check`` makes the values of cookies."""

    def __init__(self, stored: StoredSessions, clock: EpochClock, settings: SessionSettings, check: Check | None = None) -> None:
        self._stored = stored
        self._clock = clock
        self._settings = settings
        self._check = check

    async def begin(
        self,
        owner: Principal,
        *,
        address: str,
        agent: str,
        methods: Sequence[str] = ("password",),
        earlier: tuple[Proof, ...] = (),
        stay: bool = False,
        old: bytes | None = None,
        origin: Origin = HERE,
    ) -> tuple[str, Session]:
        """A new session of ``owner``, who has just been verified by ``methods``: the value of its cookie, and the session.

        ``earlier`` are proofs of the same sign-in from before that.

        With ``stay`` it lives for `SessionSettings.stay`, if that is offered. ``old`` is the cookie that the browser has sent
        with the sign-in: that session ends, also if it is of another user (attack 25). If the user has too many sessions by now,
        the oldest ends. Raises `Overloaded` if there are too many of all users, and `Unavailable` if the session cannot be
        written; nothing has ended then.
        """
        settings, now = self._settings, self._clock.seconds()
        stays = stay and settings.stay > 0
        expires = min(now + (settings.stay if stays else settings.lifetime), owner.until)
        idle = 0.0 if stays else settings.idle
        proved = (*earlier, *((method, now) for method in methods))
        cookie, session = mint(owner, now, expires, idle, proved, address, agent[:LONGEST_AGENT], origin, check=self._check)
        await self.gather(owner)
        await self._learn(old)
        await self._stored.add(session)
        await self._end_old(old)
        others = [one for one in self.owned(owner) if one.id != session.id]
        for one in others[: max(0, len(others) + 1 - settings.max_sessions)]:
            self._stored.end(one).addErrback(_logged)
        return cookie, session

    async def begin_child(
        self, parent_id: str, *, address: str, agent: str, old: bytes | None, key: bytes
    ) -> tuple[str, Session]:
        """A session on another host, which came from the one with ``parent_id``: the value of its cookie, and the session.

        It has the owner, the proofs and the end of its parent, and ends with it. ``old`` as for `begin`. ``key`` is sealed under
        the cookie. A parent with more than `MOST_CHILDREN` loses the oldest. Raises `NoSuchSession` if the parent has ended, and
        as `begin`.
        """
        parent = self._open(parent_id)
        if parent is None:
            await finished(self._stored.learn(("id", parent_id)))
            parent = self._open(parent_id)
        if parent is None:
            raise NoSuchSession("the session on the host of the sign-in page has ended")
        cookie, session = mint(
            parent.owner,
            self._clock.seconds(),
            parent.expires,
            parent.idle,
            parent.proved,
            address,
            agent[:LONGEST_AGENT],
            Origin(parent.id, parent.vouched, key),
            check=self._check,
        )
        await self._learn(old)
        await finished(self._stored.gather(("parent", parent.id)))
        await self._stored.add(session)
        if self._stored.with_id(session.id) is None:
            self._stored.check_kept(session)
            raise NoSuchSession("the session on the host of the sign-in page has ended meanwhile")
        await self._end_old(old)
        others = [one for one in self._stored.children(parent) if one.id != session.id]
        for one in others[: max(0, len(others) + 1 - MOST_CHILDREN)]:
            self._stored.end(one).addErrback(_logged)
        return cookie, session

    def _open(self, id: str) -> Session | None:
        """The session with this id, unless it is over or came from another one."""
        session = self._stored.with_id(id)
        open = session is not None and not session.parent and self._stored.ends(session) > self._clock.seconds()
        return session if open else None

    async def _learn(self, cookie: bytes | None) -> None:
        if cookie is not None:
            await self.learn(cookie)

    async def _end_old(self, cookie: bytes | None) -> None:
        before = None if cookie is None else self._stored.find(digest_of(cookie))
        if before is not None:
            await self._stored.end(before).addErrback(_logged)

    async def strengthen(self, cookie: bytes, session: Session, method: str) -> tuple[str, Session]:
        """The session of ``cookie`` with one more proof, under a new id and a new cookie: the value of that, and the session.

        It ends when the old one would have ended, which ends now. Raises `Unavailable`, and then the old one goes on.
        """
        now = self._clock.seconds()
        proved = (*(one for one in session.proved if one[0] != method), (method, now))
        value, fresh = renewed(cookie, session, now, proved, self._check)
        await self._stored.add(fresh)
        await self._stored.end(session).addErrback(_logged)
        return value, fresh

    def seconds(self) -> float:
        """The time, in epoch seconds."""
        return self._clock.seconds()

    def check_fresh(self) -> None:
        """Raise `StateUnavailable` while it is not known which sessions other machines have ended: none can begin, either."""
        self._stored.check_fresh()

    async def learn(self, cookie: bytes) -> None:
        """Look up the session of a cookie's value, before `current`, if it may exist without being in memory.

        Raises `Unavailable`.
        """
        if not self._stored.complete and self.known(cookie) is None:
            await finished(self._stored.gather(("digest", digest_of(cookie).hex())))

    async def gather(self, principal: Principal) -> None:
        """Look up all sessions of a user, before `owned`. Raises `Unavailable`."""
        await finished(self._stored.gather(("owner", principal.realm, principal.username)))

    @property
    def complete(self) -> bool:
        """Whether all sessions are in memory, so that there is nothing to `learn` or to `gather`."""
        return self._stored.complete

    def current(self, cookie: bytes) -> Session | None:
        """The session of a cookie's value; None if there is none, or it is over. Raises as `check_fresh`."""
        self.check_fresh()
        return self.known(cookie)

    def known(self, cookie: bytes) -> Session | None:
        """Like `current`, also while another machine may have ended the session: good enough to end it."""
        session = self._stored.find(digest_of(cookie))
        return None if session is None or self._stored.ends(session) <= self._clock.seconds() else session

    def owned(self, principal: Principal) -> list[Session]:
        """The sessions of a user, the oldest first, without those on other hosts, which end with them.

        To be called after `gather`.
        """
        return [one for one in self._stored.owned(principal.realm, principal.username) if not one.parent]

    def seen_at(self, session: Session) -> float:
        """When a session that is not over was used last on any host (epoch seconds)."""
        return self._stored.seen_at(session.id)

    def session_of(self, principal: Principal) -> Session | None:
        """The session of the request that ``principal`` was established by; None if it came with something else."""
        grant = principal.grant
        return None if grant is None or grant.kind is not GrantKind.SESSION else self._stored.with_id(grant.id)

    def fresh(self, session: Session, methods: Collection[str] = ()) -> bool:
        """Whether the user has shown who they are a short time ago (``[login] fresh``): by one of ``methods``, or by any."""
        proofs = [at for method, at in session.proved if not methods or method in methods]
        return self._clock.seconds() - max(proofs, default=0.0) < self._settings.fresh

    async def end(self, principal: Principal, id: str) -> Session:
        """End a session of the user. Raises `NoSuchSession`, for one of another user too, and `Unavailable`."""
        session = self._owned(principal, id)
        if session is None:
            await finished(self._stored.learn(("owner", principal.realm, principal.username)))
            session = self._owned(principal, id)
        if session is None:
            raise NoSuchSession("the user has no session with this id")
        await self._stored.end(session)
        return session

    def _owned(self, principal: Principal, id: str) -> Session | None:
        return next((session for session in self.owned(principal) if session.id == id), None)

    async def end_others(self, principal: Principal, keep_id: str) -> int:
        """End all sessions of the user except ``keep_id``. Returns how many ended. Raises `Unavailable`."""
        await self.gather(principal)
        others = [session for session in self.owned(principal) if session.id != keep_id]
        await finish(*(self._stored.end(session) for session in others))
        return len(others)

    async def end_all(self, principal: Principal) -> int:
        """End all sessions of the user, also those that are being made. Returns how many ended. Raises `Unavailable`."""
        return len(await self._stored.end_user(principal.realm, principal.username))

    async def end_vouched(self, provider: str, subject: str, sid: str) -> list[Session]:
        """End what a provider has ended: its session ``sid``, or all of ``subject`` if ``sid`` is "". Returns what has ended.

        Sessions of ``subject`` whose provider's session is not known end in any case. Raises `Unavailable`.
        """
        # The end is in force before anything is looked up, which may fail: the provider does not ask again.
        ending = self._stored.end_vouched(provider, subject, sid)
        try:
            await finished(self._stored.learn(("sub", provider, subject) if subject else ("sid", provider, sid)))
        finally:
            ended = await ending
        of_user = self._stored.vouched_by(provider, subject=subject) if sid and subject else []
        unknown = [one for one in of_user if one.vouched is not None and not one.vouched.sid]
        await finish(*(self._stored.end(session) for session in unknown))
        return [*ended, *unknown]

    def vouched(self, session: Session) -> Vouched | None:
        """The sign-in at a provider that ``session`` comes from, perhaps on another host."""
        root = self._stored.root(session)
        return None if root is None else root.vouched

    def secret(self, session: Session, cookie: bytes) -> bytes:
        """What the provider gave for the gateway alone; ``cookie`` is the value of the session's. b"" if it does not open it."""
        try:
            return secret_of(self._stored, session, cookie)
        except Unsealable:
            return b""

    async def end_cookie(self, cookie: bytes) -> Session | None:
        """End the session of a cookie's value, over or not, on all hosts. Returns it, or None if there is none.

        Raises `Unavailable`.
        """
        digest = digest_of(cookie)
        session = self._stored.find(digest)
        if session is None:
            await finished(self._stored.learn(("digest", digest.hex())))
            session = self._stored.find(digest)
        if session is not None:
            await self._stored.end_sign_in(session)
        return session


def _logged(_: Failure) -> None:
    """The state has logged it, and tries again."""
