"""Asks the provider of a session about its user again, beside the requests of the session.

A provider gives the gateway a secret at the sign-in, such as a refresh token (RFC 6749, section 6). Only the cookie of the
session opens it, so the question can be asked only while the browser sends requests. The first request after it is due goes
through, and begins it; the roles that the answer brings are those of the next request. If the provider does not answer, the
session goes on for a grace time. After that, requests wait for the answer, and are refused without one.

A question is asked once, also if many requests come to several processes or machines at the same time: most providers accept a
refresh token once, and take a second use for a theft. So a process claims the time for the question, which is longer than the
question takes. The number of this time is a fence: what a process writes that was paused until a later question changes nothing.
The new secret is written before it counts.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from enum import Enum, auto
from typing import Any, Final, Protocol

import attrs
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from perimeter.errors import (
    InvalidToken,
    NotAllowedHere,
    ProviderDenied,
    ProviderUnavailable,
    Rejected,
    SessionExpired,
    Unavailable,
)
from perimeter.model import AuthenticationRequest, Principal
from perimeter.plugin.redirect import IRenews
from perimeter.recent import Expiring, Recent
from perimeter.sessions.opened import key_for
from perimeter.sessions.renewable import LONGEST, Renewable, ask, is_same
from perimeter.sessions.sealing import Unsealable, seal_under, unseal_under
from perimeter.sessions.session import Renewal, Renewed, Session
from perimeter.sessions.stored import StoredSessions
from perimeter.state.once import Claims
from perimeter.tokens.owners import decode_owner, encode_owner

_log = Logger()

INTERVAL: Final = 60.0
"""Seconds between two questions about one session, at least."""

_ELSEWHERE: Final = 10.0
"""Seconds that a request waits for a question of another process."""

_SKEW: Final = 5.0
"""Seconds by which the clocks of machines may differ."""

_MOST_QUIET: Final = 10_000


class _Asked(Enum):
    """Who has asked: this process, or perhaps another one."""

    HERE = auto()
    ELSEWHERE = auto()


class Augmenting(Protocol):
    """What the chain of authenticators adds to a user for whom a provider has vouched."""

    def __call__(self, provider: str, principal: Principal, request: AuthenticationRequest) -> Awaitable[Principal]:
        """The user with the roles of the augmenters of the realm. Raises `Unavailable`."""


class Renewals:
    """Renews sessions of ``providers``, which are by their configured names. ``augmented`` adds what augmenters know of a user.
    ``count`` takes the provider and the outcome of each question: ``renewed``, ``ended`` or ``unavailable``."""

    def __init__(
        self,
        stored: StoredSessions,
        claims: Claims,
        providers: Mapping[str, Renewable],
        augmented: Augmenting,
        clock: IReactorTime,
        count: Callable[[str, str], None] | None = None,
    ) -> None:
        self._stored = stored
        self._claims = claims
        self._providers = providers
        self._augmented = augmented
        self._clock = clock
        self._count = count
        #: by id of a session: those who wait for the question that this process asks
        self._under_way: dict[str, list[Deferred[_Asked]]] = {}
        #: by id of a session: a question has just failed, so none is asked for a while
        self._quiet: Expiring[str, bool] = Expiring(_MOST_QUIET, INTERVAL, clock.seconds)
        #: by id of a session: an answer that could not be written
        self._unwritten: Recent[str, Renewed] = Recent(_MOST_QUIET)

    def owner_of(self, session: Session, cookie: bytes, request: AuthenticationRequest) -> Principal | Awaitable[Principal]:
        """The user of ``session``, which came from a sign-in at a provider; ``cookie`` is its value. Augmenters get ``request``.

        Raises `InvalidToken` if the provider is not configured any more. An awaitable also raises `SessionExpired` if the
        provider has ended the session, `ProviderUnavailable` if it has not answered for too long, and `Unavailable` if an
        augmenter could not decide.
        """
        root = self._stored.root(session)
        if root is None or root.vouched is None:
            raise InvalidToken("the session of the sign-in has ended")
        provider = self._providers.get(root.vouched.provider)
        if provider is None or provider.authenticator.realm != session.owner.realm:
            raise InvalidToken("the provider of this session is not in the configuration any more")
        now, renewal = self._clock.seconds(), root.renewal
        if renewal is not None and now >= renewal.due and IRenews.providedBy(provider.authenticator):
            if now >= renewal.due + provider.grace:
                return self._overdue(root, session, cookie, provider, request)
            self._ask(root, session, cookie, provider)
        return self._augmented_now(root, session, provider, request)

    def _augmented_now(
        self, root: Session, session: Session, provider: Renewable, request: AuthenticationRequest
    ) -> Principal | Awaitable[Principal]:
        vouched = root.vouched
        if not provider.augmented or vouched is None or not vouched.said:
            return session.owner
        said = decode_owner(session.owner.realm, session.owner.username, vouched.said)
        return self._augmented(vouched.provider, said, request)

    async def _overdue(
        self, root: Session, session: Session, cookie: bytes, provider: Renewable, request: AuthenticationRequest
    ) -> Principal:
        """The user after the question, for which the request waits."""
        if self._quiet.get(root.id) is None:
            asked = await self._join(root, session, cookie, provider)
            if asked is _Asked.ELSEWHERE and self._stored.with_id(root.id) is root:
                waiting = self._stored.changes.of(root.id).addTimeout(_ELSEWHERE, self._clock)
                await waiting.addErrback(lambda failure: failure.trap(TimeoutError) and None)
        found, now = self._stored.root(session), self._clock.seconds()
        current = self._stored.with_id(session.id)
        if found is None or current is None:
            self._stored.check_kept(session)
            raise SessionExpired("the provider has ended the session")
        if found.renewal is not None and now >= found.renewal.due + provider.grace:
            self._quiet.keep(root.id, True)
            raise ProviderUnavailable(f"the provider {provider.authenticator.name} has not confirmed the user for too long")
        owner = self._augmented_now(found, current, provider, request)
        return owner if isinstance(owner, Principal) else await owner

    # -- asking once

    def _ask(self, root: Session, session: Session, cookie: bytes, provider: Renewable) -> None:
        """Begin the question, unless it is under way or has just failed."""
        if root.id not in self._under_way and self._quiet.get(root.id) is None:
            self._join(root, session, cookie, provider)

    def _join(self, root: Session, session: Session, cookie: bytes, provider: Renewable) -> Deferred[_Asked]:
        """Wait for the question, which begins if it is not under way. It goes on if all who wait leave. Never fails."""
        waiting: Deferred[_Asked] = Deferred()
        if root.id in self._under_way:
            self._under_way[root.id].append(waiting)
            return waiting
        self._under_way[root.id] = [waiting]

        def over(asked: _Asked) -> None:
            for one in self._under_way.pop(root.id):
                if not one.called:
                    one.callback(asked)

        def failed(failure: Any) -> _Asked:
            _log.failure("a session cannot be renewed", failure=failure)
            return _Asked.HERE

        asking = Deferred.fromCoroutine(self._question(root, session, cookie, provider))
        asking.addErrback(failed).addCallback(over)
        return waiting

    async def _question(self, root: Session, session: Session, cookie: bytes, provider: Renewable) -> _Asked:
        try:
            fence = await self._claim(root)
            if not fence:
                return _Asked.ELSEWHERE
            current = self._stored.with_id(root.id)
            if current is None or current.renewal != root.renewal:  # another process has just renewed or ended it
                return _Asked.HERE
            unwritten = self._unwritten.pop(root.id, None)
            if unwritten is not None:
                await self._keep(attrs.evolve(unwritten, renewal=attrs.evolve(unwritten.renewal, fence=fence)))
                return _Asked.HERE
            key = key_for(session, cookie)
            await self._answered(current, fence, key, provider, unseal_under(key, current.sealed))
        except Unavailable as error:
            self._failed(root, provider, error.detail)
        except Unsealable as error:
            self._failed(root, provider, str(error))
        return _Asked.HERE

    async def _claim(self, root: Session) -> int:
        """The fence of the question if this process may ask now, or else 0.

        Two claims of times that follow each other: at the end of one, the question may still be under way in the next.
        """
        assert root.renewal is not None
        now = self._clock.seconds()
        turn = int(now // INTERVAL)
        for one in (turn, turn + 1):
            name = f"renewal {root.id} {root.renewal.due!r} {one}"
            if not await self._claims.claim(name.encode("ascii"), now + 3 * INTERVAL):
                return 0
        # A process that was paused for longer than the question may take does not ask: the next time may be that of another one.
        return turn if self._clock.seconds() < (turn + 2) * INTERVAL - LONGEST - _SKEW else 0

    async def _answered(self, root: Session, fence: int, key: bytes, provider: Renewable, secret: bytes) -> None:
        """Ask, and keep the answer. Raises `Unavailable`."""
        assert root.vouched is not None
        try:
            found = await ask(provider.authenticator, secret, root.vouched.subject, self._clock)
        except (Rejected, NotAllowedHere, ProviderDenied) as error:
            if isinstance(error, Rejected) and self._doubts(root, provider):
                raise ProviderUnavailable(
                    "it refuses the refresh token, which may have been replaced by an answer that was lost"
                ) from None
            await self._end(root, provider, error.detail)
            return
        except Unavailable:
            if root.renewal is not None and not root.renewal.unsure:
                doubt = Renewed(root.id, root.owner, root.vouched, root.sealed, Renewal(root.renewal.due, True, fence))
                await self._stored.renew(doubt)
            raise
        if not is_same(found, root):
            await self._end(root, provider, "it names another user now")
            return
        sealed, renewal = seal_under(key, found.secret), Renewal(found.renew_after or root.expires, fence=fence)
        try:
            owner = await self._augmented(root.vouched.provider, found.principal, AuthenticationRequest(root.address))
        except Unavailable:
            assert root.renewal is not None
            still_due = Renewal(root.renewal.due, fence=fence)
            await self._keep(Renewed(root.id, root.owner, root.vouched, sealed, still_due))  # the new secret is not lost
            raise
        vouched = attrs.evolve(root.vouched, said=encode_owner(found.principal))
        await self._keep(Renewed(root.id, owner, vouched, sealed, renewal))
        self._note(provider, "renewed")

    async def _keep(self, answer: Renewed) -> None:
        """Write an answer, or remember it for the next attempt: its secret is the only one that the provider still accepts."""
        try:
            await self._stored.renew(answer)
        except Unavailable:
            self._unwritten.keep(answer.id, answer)
            raise

    def _doubts(self, root: Session, provider: Renewable) -> bool:
        """Whether a refused secret says nothing yet about the user: it may have been replaced, and the grace time is not over."""
        renewal = root.renewal
        return renewal is not None and renewal.unsure and self._clock.seconds() < renewal.due + provider.grace

    async def _end(self, root: Session, provider: Renewable, why: str) -> None:
        name, owner = provider.authenticator.name, root.owner
        _log.info(
            "session {id} of {user} ends: the provider {name} does not confirm it: {why}",
            id=root.id,
            user=owner.username,
            name=name,
            why=why,
        )
        self._note(provider, "ended")
        await self._stored.end(root)

    def _failed(self, root: Session, provider: Renewable, why: str) -> None:
        name = provider.authenticator.name
        _log.warn("sessions of the provider {name} cannot be renewed: {why}", name=name, why=why)
        self._quiet.keep(root.id, True)
        self._note(provider, "unavailable")

    def _note(self, provider: Renewable, outcome: str) -> None:
        if self._count is not None:
            self._count(provider.authenticator.name, outcome)
