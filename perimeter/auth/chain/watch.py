"""Measures authentications: how they end and how long they take.

Where Auth-o-tron has a word for an outcome, it is used, so that its dashboards go on working. `perimeter.metrics` counts.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Protocol

from twisted.internet.defer import CancelledError
from zope.interface import implementer

from perimeter.errors import Refusal, TooManyAttempts, Unavailable
from perimeter.model import AuthenticationRequest, Principal
from perimeter.plugin.augmenter import IAugmenter


class Outcome(StrEnum):
    """How an authentication, or an authenticator's part in it, ended."""

    SUCCESS = "success"
    #: of an authenticator: the credential is wrong, or the user is not known to it
    ERROR = "error"
    TIMEOUT = "timeout"
    #: it could not be found out
    UNAVAILABLE = "unavailable"
    #: of the chain: no authenticator vouched for the user
    ALL_FAILED = "all_failed"
    TOO_MANY = "too_many_attempts"


UNKNOWN = "unknown"
"""The realm of a user who was not found."""


class TimedOut(Unavailable):
    """An authenticator took longer than it may."""


class Paused(Unavailable):
    """An authenticator was not asked, because its circuit breaker is open."""


class Watch(Protocol):
    """Takes the figures. ``name`` is the name of a section, ``seconds`` a duration."""

    def decided(self, result: Outcome, realm: str, seconds: float) -> None:
        """The chain has decided: SUCCESS, ALL_FAILED, UNAVAILABLE or TOO_MANY."""

    def asked(self, name: str, result: Outcome, seconds: float) -> None:
        """An authenticator has answered: SUCCESS, ERROR, TIMEOUT or UNAVAILABLE."""

    def augmented(self, name: str, result: Outcome, seconds: float) -> None:
        """An augmenter has worked: SUCCESS or ERROR."""


def result_of(error: BaseException) -> Outcome:
    """The outcome that an authenticator's refusal stands for."""
    if isinstance(error, TimedOut):
        return Outcome.TIMEOUT
    return Outcome.UNAVAILABLE if isinstance(error, Unavailable) else Outcome.ERROR


async def decide(watch: Watch, seconds: Callable[[], float], asking: Awaitable[Principal]) -> Principal:
    """Await the chain's verdict and report it to ``watch``. Cancelled requests are not reported."""
    began = seconds()
    try:
        principal = await asking
    except CancelledError:
        raise
    except Refusal as error:
        result = Outcome.ALL_FAILED
        if isinstance(error, Unavailable):
            result = Outcome.UNAVAILABLE
        elif isinstance(error, TooManyAttempts):
            result = Outcome.TOO_MANY
        watch.decided(result, UNKNOWN, seconds() - began)
        raise
    watch.decided(Outcome.SUCCESS, principal.realm, seconds() - began)
    return principal


@implementer(IAugmenter)
class WatchedAugmenter:
    """``inner``, with its outcomes reported to ``watch``."""

    def __init__(self, inner: IAugmenter, watch: Watch, seconds: Callable[[], float]) -> None:
        self.name = inner.name
        self.realm = inner.realm
        self._inner = inner
        self._watch = watch
        self._seconds = seconds

    async def augment(self, principal: Principal, request: AuthenticationRequest) -> Principal:
        """See `IAugmenter`."""
        began = self._seconds()
        try:
            augmented: Principal = await self._inner.augment(principal, request)
        except CancelledError:
            raise
        except Exception:
            self._watch.augmented(self.name, Outcome.ERROR, self._seconds() - began)
            raise
        self._watch.augmented(self.name, Outcome.SUCCESS, self._seconds() - began)
        return augmented

    def stop(self) -> None:
        """See `IAugmenter`."""
        self._inner.stop()
