"""Asks one authenticator safely: the result is an answer within the timeout, or a refusal, and nothing else.

A timeout, an unforeseen exception, and an answer that is not a principal of the authenticator's realm mean "could not decide"
(attack 41). `perimeter.auth.chain.chain` decides what an answer means for the next authenticator.
"""

from __future__ import annotations

import traceback
import unicodedata
from collections.abc import Awaitable, Callable
from contextlib import suppress
from hashlib import blake2b
from typing import Any

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from perimeter.auth.chain.breaker import CircuitBreaker
from perimeter.auth.chain.throttle import address_block
from perimeter.auth.chain.watch import Outcome, Paused, TimedOut, Watch, result_of
from perimeter.auth.text import unfit_for_name
from perimeter.errors import InvalidToken, Overloaded, Refusal, Rejected, StartupError, Unavailable, Undecided
from perimeter.fair_queue import CLIENT, WAIT, StillWaiting, Wait
from perimeter.model import (
    AuthenticationRequest,
    BasicCredentials,
    BearerCredentials,
    ConnectionCredentials,
    Credentials,
    NegotiateCredentials,
    Principal,
    Recollection,
    VouchedCredentials,
)
from perimeter.plugin.authenticator import IAuthenticator, ICanonicalNames, IDecoyLogin, ISchemes, Scheme

_log = Logger()

_LONGEST_NAME = 256

QUEUE_TIMEOUT = 120.0
"""Seconds for which work of one question may wait for threads."""


class Abandoned(CancelledError):
    """The request was cancelled by its client: not a cancellation that an authenticator raised."""


class GuardedAuthenticator:
    """An authenticator with the ``timeout`` of its answers (seconds) and its circuit breaker. ``watch`` counts the outcomes.

    The time for which work waits for a thread is not a part of ``timeout``: it is ``queue_timeout`` at most.

    Raises `StartupError` if its ``schemes`` are not those of `Scheme`.
    """

    def __init__(
        self,
        authenticator: IAuthenticator,
        timeout: float,
        clock: IReactorTime,
        watch: Watch | None = None,
        queue_timeout: float = QUEUE_TIMEOUT,
    ) -> None:
        self.authenticator = authenticator
        self.name = authenticator.name
        self.realm = authenticator.realm
        self.timeout = timeout
        self._queue_timeout = queue_timeout
        self.schemes: frozenset[str] = frozenset((Scheme.BASIC,))
        if ISchemes.providedBy(authenticator):
            self.schemes = frozenset(authenticator.schemes)
            if not self.schemes <= set(Scheme):
                raise StartupError(f"authenticator {self.name} names schemes other than {', '.join(Scheme)}")
        self.breaker = CircuitBreaker(authenticator.name, clock)
        self._clock = clock
        self._watch = watch

    def wants(self, credentials: Credentials, request: AuthenticationRequest) -> bool:
        """Whether this authenticator can judge ``credentials``. Which realms the client named is not asked here."""
        if isinstance(credentials, BasicCredentials):
            return Scheme.BASIC in self.schemes
        if isinstance(credentials, BearerCredentials):
            return Scheme.BEARER in self.schemes
        if isinstance(credentials, NegotiateCredentials):
            return Scheme.NEGOTIATE in self.schemes
        if isinstance(credentials, Recollection | VouchedCredentials):
            return False  # only one authenticator is asked (`AuthenticatorChain.recall`, `perimeter.auth.chain.vouching`)
        return (Scheme.CERTIFICATE in self.schemes and request.certificate is not None) or Scheme.HEADER in self.schemes

    def canonical_name(self, username: str) -> str:
        """The spelling by which wrong passwords for ``username`` are counted (attack 30)."""
        if ICanonicalNames.providedBy(self.authenticator):
            name = self.authenticator.canonical_name(username)
        else:
            name = plain_name(username, self.realm)
        return name if len(name) <= _LONGEST_NAME else blake2b(name.encode("utf-8", "replace"), digest_size=16).hexdigest()

    async def spend(self, request: AuthenticationRequest) -> None:
        """Cost as much as the refusal of an unknown user does, if the authenticator can (`IDecoyLogin`). Never fails."""
        authenticator = self.authenticator
        if not IDecoyLogin.providedBy(authenticator):
            return
        with suppress(Refusal):  # the verdict stands already, and the cause is in the log
            await self._guarded(lambda: authenticator.decoy(request), request)

    async def ask(self, credentials: Credentials, request: AuthenticationRequest) -> Principal | None:
        """The answer: a principal, None, `Rejected`, `InvalidToken` or `Unavailable`."""
        watch = self._watch
        if watch is None:
            return await self._ask(credentials, request)
        began = self._clock.seconds()
        try:
            principal = await self._ask(credentials, request)
        except (Abandoned, Paused):  # no request waits for the answer, or it was not asked
            raise
        except Exception as error:
            watch.asked(self.name, result_of(error), self._clock.seconds() - began)
            raise
        if principal is not None:
            watch.asked(self.name, Outcome.SUCCESS, self._clock.seconds() - began)
        elif not isinstance(credentials, ConnectionCredentials):  # asked with every request, mostly in vain
            watch.asked(self.name, Outcome.ERROR, self._clock.seconds() - began)
        return principal

    async def _ask(self, credentials: Credentials, request: AuthenticationRequest) -> Principal | None:
        answer = await self._guarded(lambda: self.authenticator.authenticate(credentials, request), request)
        if answer is None:
            return None
        if not isinstance(answer, Principal) or answer.realm != self.realm or not answer.username:
            _log.error("Authenticator {name} returned no principal of its realm; the request is refused", name=self.name)
            raise Unavailable(f"authenticator {self.name} returned no principal of its realm")
        if unfit_for_name(answer.username):
            # Neither a token nor the state could hold it, and other tokens could then not be written either (attack 15).
            _log.error(
                "Authenticator {name} returned a user name with control characters; the request is refused", name=self.name
            )
            raise Unavailable(f"authenticator {self.name} returned a user name with control characters")
        return answer if answer.authenticator else attrs.evolve(answer, authenticator=self.name)

    async def _guarded(self, question: Callable[[], Awaitable[Any]], request: AuthenticationRequest) -> Any:
        """The answer to ``question`` within the timeout and as the circuit breaker permits. Raises a `Refusal` or `Abandoned`."""
        trying = self.breaker.admit()
        began = self._clock.seconds()
        try:
            answer: Any = await self._within(question, _line(request.address))
        except (Rejected, InvalidToken):
            self.breaker.answered()
            raise
        except Undecided:  # it did answer: one strange account must not shut out all other users
            self.breaker.answered()
            raise
        except Overloaded:  # the gateway is busy, which says nothing about the backend
            self.breaker.undecided(trying)
            raise
        except Unavailable as error:
            self.breaker.failed(trying, self._clock.seconds() - began, error.detail)
            raise
        except Abandoned:
            self.breaker.undecided(trying)
            raise
        except Exception as error:
            # A bug, which a certain name may trigger: it must not shut out all other users.
            self.breaker.undecided(trying)
            raise self._unforeseen(error) from None
        self.breaker.answered()
        return answer

    def _unforeseen(self, error: Exception) -> Unavailable:
        # Only the place: the text of an unforeseen exception may contain the password.
        where = "".join(traceback.format_tb(error.__traceback__))
        kind = type(error).__qualname__
        _log.error(
            "Authenticator {name} failed with {kind}; the request is refused\n{where}", name=self.name, kind=kind, where=where
        )
        return Unavailable(f"authenticator {self.name} failed with {kind}")

    def _within(self, question: Callable[[], Awaitable[Any]], client: str) -> Deferred[Any]:
        """The authenticator's answer, or `Unavailable` after the timeout, even if it ignores its cancellation.

        Its slow work waits in the line of ``client`` (`perimeter.fair_queue.CLIENT`).
        """
        late = False
        began = self._clock.seconds()

        async def ask() -> Any:
            CLIENT.set(client)
            WAIT.set(wait)
            return await question()

        def abandon(_: Deferred[Any]) -> None:
            settle(Failure(Abandoned()))
            inner.cancel()

        def left() -> float:
            """Seconds until the time is up that counts now: in the queue, or for the answer."""
            if wait.now:
                return max(0.0, self._queue_timeout - wait.seconds)
            return max(0.0, self.timeout - (self._clock.seconds() - began - wait.seconds))

        def waited_or_began() -> None:
            if timer.active():
                timer.reset(left())

        def time_out() -> None:
            nonlocal late
            late = True
            inner.cancel()
            settle(None)

        def settle(result: Any) -> None:
            if late:
                queued = result.value if isinstance(result, Failure) and isinstance(result.value, StillWaiting) else None
                result = Failure(self._timed_out() if queued is None else self._queued_too_long(queued))
            if timer.active():
                timer.cancel()
            if not answer.called:
                answer.callback(result)

        answer: Deferred[Any] = Deferred(abandon)
        wait = Wait(self._clock.seconds, waited_or_began)
        timer = self._clock.callLater(self.timeout, time_out)
        inner: Deferred[Any] = Deferred.fromCoroutine(ask())
        inner.addBoth(settle)
        return answer

    def _timed_out(self) -> TimedOut:
        return TimedOut(f"authenticator {self.name} took longer than {self.timeout:g} s")

    def _queued_too_long(self, queued: StillWaiting) -> Overloaded:
        """The job was not begun in time: the gateway is busy, and the authenticator is not down."""
        detail = f"authenticator {self.name} had no free thread for {self._queue_timeout:g} s"
        return Overloaded(detail, retry_after=queued.retry_after)


def _line(address: str) -> str:
    """The line in which slow work for a client at ``address`` waits: one for all addresses that the client can choose from."""
    try:
        return address_block(address)
    except ValueError:
        return address


def plain_name(username: str, realm: str) -> str:
    """``username`` as most directories compare it: without case, without surplus blanks, and without its own realm."""
    name = " ".join(unicodedata.normalize("NFKC", username).casefold().split())
    realm = realm.casefold()
    domain, backslash, rest = name.partition("\\")
    if backslash and domain == realm:
        name = rest
    local, at, domain = name.rpartition("@")
    return local if at and domain == realm else name
