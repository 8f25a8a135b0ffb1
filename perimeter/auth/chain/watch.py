"""Who counts authentications: the words for how one ended, and the measuring of it.

The words are Auth-o-tron's where it has one, so that its dashboards go on working. What becomes of the figures is
`perimeter.metrics`'s.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from twisted.internet.defer import CancelledError
from zope.interface import implementer

from perimeter.errors import Refusal, TooManyAttempts, Unavailable
from perimeter.model import AuthenticationRequest, Principal
from perimeter.plugin.augmenter import IAugmenter

SUCCESS = "success"
#: wrong, or not known to it
ERROR = "error"
TIMEOUT = "timeout"
#: could not tell
UNAVAILABLE = "unavailable"
#: of the chain: nobody vouched
ALL_FAILED = "all_failed"
TOO_MANY = "too_many_attempts"

#: the realm of whoever was not found
UNKNOWN = "unknown"


class TimedOut(Unavailable):
    """An authenticator took longer than it may."""


class Paused(Unavailable):
    """An authenticator was not asked at all: it is down, and left alone for the moment."""


class Watch(Protocol):
    """Takes the figures. ``name`` is that of the section; ``seconds`` how long it took."""

    def decided(self, result: str, realm: str, seconds: float) -> None:
        """The chain has come to an end: SUCCESS, ALL_FAILED, UNAVAILABLE or TOO_MANY."""

    def asked(self, name: str, result: str, seconds: float) -> None:
        """An authenticator has answered: SUCCESS, ERROR, TIMEOUT or UNAVAILABLE."""

    def augmented(self, name: str, result: str, seconds: float) -> None:
        """An augmenter has worked: SUCCESS or ERROR."""


def result_of(error: BaseException) -> str:
    """How an authenticator's refusal is called."""
    if isinstance(error, TimedOut):
        return TIMEOUT
    return UNAVAILABLE if isinstance(error, Unavailable) else ERROR


async def decide(watch: Watch, seconds: Callable[[], float], asking: Awaitable[Principal]) -> Principal:
    """Await the chain's verdict and tell ``watch`` of it; of one that nobody waited for it hears nothing."""
    began = seconds()
    try:
        principal = await asking
    except CancelledError:
        raise
    except Refusal as error:
        result = ALL_FAILED
        if isinstance(error, Unavailable):
            result = UNAVAILABLE
        elif isinstance(error, TooManyAttempts):
            result = TOO_MANY
        watch.decided(result, UNKNOWN, seconds() - began)
        raise
    watch.decided(SUCCESS, principal.realm, seconds() - began)
    return principal


@implementer(IAugmenter)
class WatchedAugmenter:
    """``inner``, and ``watch`` is told how it fared."""

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
            self._watch.augmented(self.name, ERROR, self._seconds() - began)
            raise
        self._watch.augmented(self.name, SUCCESS, self._seconds() - began)
        return augmented

    def stop(self) -> None:
        """See `IAugmenter`."""
        self._inner.stop()
