"""A session of a browser, and what ends it, as changes of the state.

The browser stores 256 random bits in a cookie, and the state stores their SHA-256. Random bits cannot be guessed, so they need no
slow hash as passwords do. A cookie without a stored session is refused, so a session can be ended at any time.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from hashlib import sha256
from typing import Final

import attrs

from perimeter.model import Grant, GrantKind, Principal, SessionUse
from perimeter.sessions.sealing import seal, unseal
from perimeter.state.changes import Change
from perimeter.tokens.check import Check

Proof = tuple[str, float]
"""How a user has shown who they are (``password``), and when (epoch seconds)."""


SECOND: Final = frozenset(("totp", "webauthn", "recovery"))
"""Methods that count as a second factor. A passkey that is the only method has verified its user besides."""

BY_PROVIDER: Final = "factor:"
"""What the method begins with that stands for the second factor that a provider has checked: ``factor:NAME``."""


def second_of(proved: Iterable[Proof]) -> float:
    """When a second factor was shown last (epoch seconds); 0 if none was."""
    return max((at for method, at in proved if method in SECOND or method.startswith(BY_PROVIDER)), default=0.0)


@attrs.frozen(slots=True)
class Vouched:
    """Which sign-in at a provider a session comes from: the provider's configured name, its issuer, and its ids of the user
    (``subject``) and of its own session (``sid``, or "").

    ``said`` is the user as the provider knows them, before augmenters, as `perimeter.tokens.owners.encode_owner` writes them.
    """

    provider: str
    issuer: str
    subject: str
    sid: str = ""
    said: str = ""


@attrs.frozen(slots=True)
class Renewal:
    """When the provider of a session is asked about its user again: ``due``, in epoch seconds.

    ``unsure``: an earlier question got no answer, so the provider may have replaced the secret that the gateway has. ``fence``
    grows with each question: what a process writes late, which asked before another one did, changes nothing.
    """

    due: float
    unsure: bool = False
    fence: int = 0


@attrs.frozen(slots=True)
class Session(Change):
    """What is kept of a session. Times are seconds since the epoch.

    ``id`` is what pages, the log and the audit log show: 16 hexadecimal digits. ``digest`` is the SHA-256 of the cookie's value.
    ``owner`` is the user as the authenticator knew them at the sign-in. ``expires`` is the end in any case. A session that was
    not used for ``idle`` seconds ends too (0: it does not). ``proved`` has each method of the sign-in: ``password``,
    ``provider:NAME``, ``webauthn``, ``totp`` or ``recovery``, and ``factor:NAME`` if the provider has checked two. ``address``
    and ``agent`` (the User-Agent) are those of the sign-in.

    ``parent`` is the id of the session on the host of the sign-in page that this one, on another host, came from: it ends with
    that. ``vouched`` is set after a sign-in at a provider. ``sealed`` is what the provider gave for the gateway alone, such as a
    refresh token: only the cookie opens it (`perimeter.sessions.sealing`). A session with a parent keeps the key of its parent's
    in its place. ``renewal`` says when the provider is asked about the user again.
    """

    id: str
    digest: bytes = attrs.field(repr=False)
    owner: Principal
    created: float
    expires: float
    idle: float
    proved: tuple[Proof, ...]
    address: str
    agent: str
    parent: str = ""
    vouched: Vouched | None = None
    sealed: bytes = attrs.field(default=b"", repr=False)
    renewal: Renewal | None = None

    @property
    def adds(self) -> bool:
        """True: a session counts once it is written."""
        return True

    @property
    def second(self) -> float:
        """When a second factor was shown last (epoch seconds); 0 if none was."""
        return second_of(self.proved)


@attrs.frozen(slots=True)
class Renewed(Change):
    """The provider was asked about the user of a session again.

    ``owner``, ``vouched`` and ``sealed`` are the new ones, and ``renewal`` says when the next question is due. The sessions that
    came from this one get the same owner.
    """

    id: str
    owner: Principal
    vouched: Vouched
    sealed: bytes = attrs.field(repr=False)
    renewal: Renewal

    @property
    def adds(self) -> bool:
        """True: it counts once it is written, so that no restart leads back to a secret that was used."""
        return True

    def applied(self, session: Session) -> Session:
        """``session``, the one with this id or one that came from it, as it is now; the same one if this is too late."""
        if session.renewal is not None and self.renewal.fence < session.renewal.fence:
            return session
        owner = attrs.evolve(self.owner, grant=None)
        if session.id != self.id:
            return attrs.evolve(session, owner=owner)
        return attrs.evolve(session, owner=owner, vouched=self.vouched, sealed=self.sealed, renewal=self.renewal)


@attrs.frozen(slots=True)
class Seen(Change):
    """When sessions were used last: their ids, epoch seconds, and the longest time without a use so far (seconds)."""

    uses: tuple[tuple[str, float, float], ...]

    @property
    def adds(self) -> bool:
        """True: it ends no session."""
        return True

    @property
    def passing(self) -> bool:
        """True: after a power failure a session may end by idleness a minute early."""
        return True

    def beside(self, session: Session, before: Change | None) -> Seen:
        """What is kept beside ``session``, which is one of these, after this use; ``before`` is what was kept until now."""
        uses = [*self.uses, *(before.uses if isinstance(before, Seen) else ())]
        own = [(at, gap) for id, at, gap in uses if id == session.id]
        return Seen(((session.id, max(at for at, _ in own), max(gap for _, gap in own)),))


@attrs.frozen(slots=True)
class EndedSession(Change):
    """The session with this id ends, and those that came from it (`Session.parent`)."""

    id: str


@attrs.frozen(slots=True)
class EndedUser(Change):
    """All sessions of a user end that were begun up to ``before`` (epoch seconds).

    After ``until`` no session that is older than that can still be on its way to the store.
    """

    realm: str
    username: str
    before: float
    until: float

    def covers(self, session: Session) -> bool:
        """Whether ``session``, of this user, was begun before the end."""
        return session.created <= self.before

    def merged(self, other: EndedUser | None) -> EndedUser:
        """One change with the effect of this and of an earlier end for the same user."""
        if other is None:
            return self
        return attrs.evolve(self, before=max(self.before, other.before), until=max(self.until, other.until))


@attrs.frozen(slots=True)
class EndedVouched(Change):
    """Sessions end that come from sign-ins at ``provider``: of its session ``sid``, or all of its user ``subject`` without one.

    With both, the provider's session must be of that user. Without ``sid``, sessions end that were begun up to ``before`` (epoch
    seconds); with it, also a session that is begun later, since that sign-in had begun before. After ``until`` none can still be
    on its way.
    """

    provider: str
    subject: str
    sid: str
    before: float
    until: float

    def covers(self, session: Session) -> bool:
        """Whether ``session`` ends."""
        vouched = session.vouched
        if vouched is None or vouched.provider != self.provider or self.subject not in ("", vouched.subject):
            return False
        return vouched.sid == self.sid if self.sid else session.created <= self.before

    def merged(self, other: EndedVouched | None) -> EndedVouched:
        """One change with the effect of this and of an earlier end of the same."""
        if other is None:
            return self
        return attrs.evolve(self, before=max(self.before, other.before), until=max(self.until, other.until))


def digest_of(cookie: bytes) -> bytes:
    """What is kept in place of a cookie's value: 32 bytes."""
    return sha256(cookie).digest()


@attrs.frozen(slots=True)
class Origin:
    """Where a session came from besides the browser: see `Session`. ``secret`` is what is sealed under the cookie."""

    parent: str = ""
    vouched: Vouched | None = None
    secret: bytes = attrs.field(default=b"", repr=False)
    renewal: Renewal | None = None


HERE: Final = Origin()
"""A sign-in at the gateway itself."""


def mint(
    owner: Principal,
    now: float,
    expires: float,
    idle: float,
    proved: tuple[Proof, ...],
    address: str,
    agent: str,
    origin: Origin = HERE,
    *,
    check: Check | None = None,
) -> tuple[str, Session]:
    """A new session: the value of its cookie, 43 characters of base64url, and what is kept.

    Without ``check`` the cookie has none.
    """
    cookie = _value(check)
    value = cookie.encode("ascii")
    kept = Session(
        secrets.token_hex(8),
        digest_of(value),
        attrs.evolve(owner, grant=None),
        now,
        expires,
        idle,
        proved,
        address,
        agent,
        origin.parent,
        origin.vouched,
        seal(value, origin.secret) if origin.secret else b"",
        origin.renewal,
    )
    return cookie, kept


def _value(check: Check | None) -> str:
    return secrets.token_urlsafe(32) if check is None else check.make()


def renewed(
    cookie: bytes, session: Session, now: float, proved: tuple[Proof, ...], check: Check | None = None
) -> tuple[str, Session]:
    """The session of ``cookie`` again, from ``now`` on, with other proofs, and with a new id and cookie: what `mint` returns."""
    fresh = _value(check)
    value = fresh.encode("ascii")
    sealed = seal(value, unseal(cookie, session.sealed)) if session.sealed else b""
    kept = attrs.evolve(session, id=secrets.token_hex(8), digest=digest_of(value), created=now, proved=proved, sealed=sealed)
    return fresh, kept


def grant_of(session: Session, use: SessionUse) -> Grant:
    """The grant of a request by this session."""
    return Grant(session.id, session.created, session.expires, GrantKind.SESSION, use=use, second=session.second)
