"""Asks the authenticators in their order, and remembers the users whom they verified.

A request is admitted only by a principal that an authenticator returns. Everything else ends in a refusal: "wrong" ends the chain
at once, and so does "could not decide" (`perimeter.auth.chain.asking`). Only after "not mine" is the next authenticator asked. A
site that prefers speed asks all of them at once (`perimeter.auth.chain.racing`).

Realms that a client names (``X-Auth-Realm``) exclude users and spare no question: a credential that is refused without them is
refused with them.

A verified Basic header is remembered for a while, so that a slow hash is not computed for each request. The client's address is
not part of it: an authenticator must not decide by the address (routes have ``networks`` for that).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import ceil, inf
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from perimeter.auth.chain.asking import QUEUE_TIMEOUT, GuardedAuthenticator
from perimeter.auth.chain.attempts import Attempts, Key
from perimeter.auth.chain.flights import Flights
from perimeter.auth.chain.memory import CAPACITY, NOT_NARROWED, CredentialMemory, spell, spell_realms
from perimeter.auth.chain.racing import Contradicted, race
from perimeter.auth.chain.throttle import Throttle
from perimeter.auth.chain.watch import Watch, decide
from perimeter.errors import InvalidToken, Refusal, Rejected, StartupError
from perimeter.model import (
    AuthenticationRequest,
    BasicCredentials,
    BearerCredentials,
    ConnectionCredentials,
    Credentials,
    Principal,
    Recollection,
)
from perimeter.plugin.authenticator import IAuthenticator, IRunningAuthenticator, Scheme

_log = Logger()


def _do_nothing() -> None:
    """No part needs to know."""


def _never(principal: Principal) -> float:
    """Nothing is ever revoked."""
    return -inf


_LONGEST_DETAIL = 300
"""Characters of what several authenticators say about one token."""


def _both(*takers: Callable[[str], None]) -> Callable[[str], None]:
    """A function that gives its argument to all ``takers``."""

    def take(text: str) -> None:
        for taker in takers:
            taker(text)

    return take


def _stop(authenticator: Any) -> None:
    try:
        authenticator.stop()
    except Exception:
        _log.failure("authenticator {name} cannot be stopped", name=authenticator.name)


class AuthenticatorChain:
    """Asks ``authenticators`` in their order, each for at most ``timeout`` seconds, or what ``timeouts`` has for its name.

    A verified Basic credential is remembered for ``remember`` seconds (0: never), until an authenticator reports that its users
    have changed. ``clock`` is for the timeouts. ``throttle`` counts wrong passwords, if there is one. With ``at_once`` all
    authenticators are asked at the same time (`perimeter.auth.chain.racing`). ``watch`` counts outcomes. Work may wait for a
    thread for ``queue_timeout`` seconds, besides the timeout. ``digest_key`` is the key of `CredentialMemory`: all worker
    processes have the same one, so that each recognises a guess that was already counted. Call `start` before use and `stop`
    after it.
    """

    def __init__(
        self,
        authenticators: Sequence[IAuthenticator],
        timeout: float,
        remember: float,
        clock: IReactorTime,
        capacity: int = CAPACITY,
        *,
        timeouts: Mapping[str, float] | None = None,
        throttle: Throttle | None = None,
        at_once: bool = False,
        watch: Watch | None = None,
        queue_timeout: float = QUEUE_TIMEOUT,
        digest_key: bytes | None = None,
    ) -> None:
        self.authenticators: tuple[IAuthenticator, ...] = tuple(authenticators)
        times = timeouts or {}
        self.guarded = tuple(
            GuardedAuthenticator(one, times.get(one.name, timeout), clock, watch, queue_timeout) for one in authenticators
        )
        self._seconds = clock.seconds
        self.throttle = throttle
        self._at_once = at_once
        self._watch = watch
        self._memory = CredentialMemory(remember, clock.seconds, capacity, digest_key)
        #: verifications of passwords: one that has begun is counted, even if its client has left by then (attack 47)
        self._logins = Flights(finish=True)
        self._recollections = Flights()
        #: called after an authenticator has reported that its users have changed
        self.users_changed: Callable[[], None] = _do_nothing
        #: when a user's tokens and sessions were last revoked as a whole (seconds of the clock); 0 for never
        self.revoked_at: Callable[[Principal], float] = _never
        self._doubting = False
        schemes = frozenset[str]().union(*(one.schemes for one in self.guarded))
        #: whether an authenticator takes tokens that the gateway has not issued
        self.takes_tokens = Scheme.BEARER in schemes
        #: whether an authenticator takes tokens of SPNEGO or Kerberos
        self.takes_negotiate = Scheme.NEGOTIATE in schemes
        #: whether an authenticator needs nothing but the connection
        self.takes_connections = bool(schemes & {Scheme.CERTIFICATE, Scheme.HEADER})

    def start(self) -> None:
        """Start the authenticators that have something to do between logins: all of them, or none.

        Raises `StartupError` if one cannot be started; those before it are stopped again.
        """
        started: list[IAuthenticator] = []
        for authenticator in self.authenticators:
            if not IRunningAuthenticator.providedBy(authenticator):
                continue
            try:
                authenticator.start(self._changed)
            except Exception as error:
                for one in reversed(started):
                    _stop(one)
                if isinstance(error, StartupError):
                    raise
                _log.failure("authenticator {name} cannot be started", name=authenticator.name)
                raise StartupError(f"[authenticator {authenticator.name}] cannot be started: {type(error).__name__}") from error
            started.append(authenticator)

    def stop(self) -> None:
        """Stop the authenticators, and forget. An authenticator that fails to stop is logged, and keeps no other one running."""
        for authenticator in self.authenticators:
            if IRunningAuthenticator.providedBy(authenticator):
                _stop(authenticator)
        self.forget()

    def forget(self) -> None:
        """Remember nothing from before now: users, passwords or roles may have changed."""
        self._memory.forget()
        # Verifications against the old users still answer the requests that wait for them; no further request joins them.
        self._logins.forget()
        self._recollections.forget()

    def _changed(self) -> None:
        self.forget()
        self.users_changed()

    def doubt_users(self) -> None:
        """Users were revoked: their remembered passwords do not count until `forget_revoked` has removed them from the memory."""
        self._doubting = True

    def forget_revoked(self) -> None:
        """Remember no password of a user who was revoked: the operator may have removed it first."""
        self._doubting = False
        self._memory.forget_users(lambda principal: self.revoked_at(principal) > 0)

    def challenges(self) -> tuple[tuple[str, str], ...]:
        """Scheme and realm of each credential that a client may use, in addition to the gateway's own tokens."""
        words = (Scheme.BEARER, Scheme.BASIC, Scheme.NEGOTIATE)
        found = {(word, one.realm): None for one in self.guarded for word in words if word in one.schemes}
        return tuple(found)

    # -- what is remembered

    def lookup_basic(self, raw: bytes, realms: frozenset[str] = frozenset()) -> Principal | None:
        """The user who was verified by this Authorization value with this narrowing, if remembered.

        Called for every request, so it must be quick. The same object for as long as the verdict lasts.
        """
        found = self._memory.find((spell_realms(realms) if realms else NOT_NARROWED) + raw)
        return None if self._doubting and found is not None and self.revoked_at(found) > 0 else found

    def remembered_until(self, raw: bytes, realms: frozenset[str] = frozenset()) -> float:
        """When what `lookup_basic` returns ends (seconds of the clock); 0 if it returns None."""
        return self._memory.until(spell_realms(realms) + raw)

    # -- asking

    async def authenticate(self, credentials: Credentials, request: AuthenticationRequest, raw: bytes | None = None) -> Principal:
        """The holder of ``credentials``; ``raw`` is the Authorization value with them, by which the verdict is remembered.

        Raises `Rejected` (or `InvalidToken` for a token) if no authenticator vouches, `Unavailable` if one could not decide, and
        `TooManyAttempts` if none was asked.
        """
        asking = self._authenticate(credentials, request, raw)
        return await (asking if self._watch is None else decide(self._watch, self._seconds, asking))

    async def _authenticate(self, credentials: Credentials, request: AuthenticationRequest, raw: bytes | None) -> Principal:
        if not isinstance(credentials, BasicCredentials):
            return await self._ask_all(credentials, request)
        try:
            return await self._log_in(credentials, request, raw)
        except Refusal as refusal:
            refusal.attempted_user = credentials.username
            raise

    async def _log_in(self, credentials: BasicCredentials, request: AuthenticationRequest, raw: bytes | None) -> Principal:
        if not credentials.username or not credentials.password:
            # RFC 4513, section 5.1.2: a directory takes an empty password for an anonymous bind, and says "fine" (attack 32).
            raise Rejected("an empty user name or password")
        began = self._memory.begin()
        principal = await self._verify(credentials, request)
        if raw is not None and self.revoked_at(principal) < began.at:
            self._memory.keep(self._memory.digest(spell_realms(request.realms) + raw), principal, began)
        return principal

    async def identify_connection(self, request: AuthenticationRequest) -> Principal | None:
        """The user of a request without credentials: by its certificate, or by the headers of a trusted peer.

        None if no authenticator knows. Raises `Rejected` and `Unavailable`.
        """
        return await self._first(ConnectionCredentials(), request)

    def recall(self, owner: Principal, request: AuthenticationRequest) -> Principal | Deferred[Principal]:
        """The token owner's current principal; the one stored with the token if its authenticator cannot look users up.

        Raises `InvalidToken` if the owner or its authenticator no longer exists; the Deferred also fails with `Unavailable`.
        """
        one = next((one for one in self.guarded if (one.name, one.realm) == (owner.authenticator, owner.realm)), None)
        if one is None:
            raise InvalidToken("the authenticator of this API token's owner is not in the configuration any more")
        if Scheme.RECALL not in one.schemes:
            return owner
        question = Recollection(owner.username)
        return self._recollections.join((one.name, owner.username), lambda: self._recall(one, question, request))

    @staticmethod
    async def _recall(one: GuardedAuthenticator, question: Recollection, request: AuthenticationRequest) -> Principal:
        try:
            found = await one.ask(question, request)
        except Rejected as error:
            raise InvalidToken(error.detail) from None
        if found is None or found.username != question.username:
            raise InvalidToken("the owner of this API token does not exist any more")
        return found

    def _verify(self, credentials: BasicCredentials, request: AuthenticationRequest) -> Deferred[Principal]:
        """One verification, shared by all requests with the same credentials at the same time.

        It goes on if its clients leave: a guess is counted, and costs the same, whether or not its answer is waited for.
        """
        spelled = spell(
            spell_realms(request.realms),
            credentials.username.encode("utf-8", "surrogatepass"),
            credentials.password.encode("utf-8", "surrogatepass"),
        )
        digest = self._memory.digest(spelled)
        return self._logins.join(digest, lambda: self._attempt(credentials, request, digest))

    async def _attempt(self, credentials: BasicCredentials, request: AuthenticationRequest, digest: bytes) -> Principal:
        """One verification, counted."""
        # The names at all authenticators that may be asked, not at those that were: which one knows it must not show (attack 29).
        concerned = self.concerned(credentials, request)
        if self.throttle is None or not concerned:
            return await self._ask_all(credentials, request)
        names = [(one.realm, one.canonical_name(credentials.username)) for one in concerned]
        await self.throttle.learn(names, request.address)
        attempt = self.throttle.admit(names, request.address, digest)
        try:
            principal = await self._ask_all(credentials, request)
        except (Rejected, Contradicted):
            await attempt.failed()
            raise
        except BaseException:
            attempt.undecided()
            raise
        attempt.succeeded(principal.realm)
        return principal

    async def _ask_all(self, credentials: Credentials, request: AuthenticationRequest) -> Principal:
        steps: list[str] = []
        if isinstance(credentials, BearerCredentials):
            # an authenticator that says "not mine" has explained why
            request = attrs.evolve(request, explain=_both(request.explain, steps.append))
        principal = await self._first(credentials, request)
        if principal is not None:
            return principal
        if isinstance(credentials, BearerCredentials):
            raise InvalidToken("; ".join(("no authenticator knows this token", *dict.fromkeys(steps)))[:_LONGEST_DETAIL])
        raise Rejected("no authenticator knows this user")

    async def _first(self, credentials: Credentials, request: AuthenticationRequest) -> Principal | None:
        concerned = self.concerned(credentials, request)
        by_connection = isinstance(credentials, ConnectionCredentials)
        if self._at_once and not by_connection:  # by the connection: judged here, and quickly
            return await race(concerned, credentials, request)
        excluded = False
        for place, one in enumerate(concerned, 1):
            try:
                principal = await one.ask(credentials, request)
            except Rejected:
                await self._spend_the_rest(concerned[place:], credentials, request)
                raise
            if principal is None:
                continue
            if not request.realms or one.realm in request.realms:
                await self._spend_the_rest(concerned[place:], credentials, request)
                return principal
            excluded = True
        if excluded and by_connection:  # they are known, so they are not anonymous
            raise Rejected("the client excluded the realm of its user")
        return None

    def concerned(self, credentials: Credentials, request: AuthenticationRequest) -> list[GuardedAuthenticator]:
        """Those to ask about ``credentials``, in their order.

        Realms that the client names exclude users, and no authenticator whose "wrong" would end the chain (attack 49): those in
        front of a named realm are asked as well. At once, a "wrong" ends nothing, so only the named realms are asked. Whom the
        connection itself identifies cannot become anonymous by a header, so then all are asked.
        """
        wanted = [one for one in self.guarded if one.wants(credentials, request)]
        realms = request.realms
        if not realms or isinstance(credentials, ConnectionCredentials):
            return wanted
        if self._at_once:
            return [one for one in wanted if one.realm in realms]
        return wanted[: max((place for place, one in enumerate(wanted, 1) if one.realm in realms), default=0)]

    @staticmethod
    async def _spend_the_rest(
        rest: Sequence[GuardedAuthenticator], credentials: Credentials, request: AuthenticationRequest
    ) -> None:
        """Spend what the authenticators that need not be asked would have cost.

        The time of an answer shows neither which authenticator knows a name nor whether its password was right (attack 52).
        """
        if isinstance(credentials, BasicCredentials):
            for one in rest:
                await one.spend(request)

    # -- for the operator

    def refused(self) -> list[tuple[Key, Attempts, int]]:
        """Names and addresses that are locked out, with the seconds that they still have to wait."""
        if self.throttle is None:
            return []
        now = self._seconds()
        return [(key, one, max(0, ceil(one.until - now))) for key, one in self.throttle.refused()]

    async def release(self, text: str) -> list[Key]:
        """Forget the wrong passwords for the user name, or from the address, ``text``. Returns what was forgotten."""
        if self.throttle is None:
            return []
        names = self._names(text)
        await self.throttle.learn_named(text, names)
        return self.throttle.release(text, names)

    def _names(self, username: str) -> Sequence[tuple[str, str]]:
        return [(one.realm, one.canonical_name(username)) for one in self.guarded if Scheme.BASIC in one.schemes]
