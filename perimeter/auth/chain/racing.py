"""Asks all authenticators at once: the first that vouches wins, and the questions to the others are cancelled.

If none vouches, all answers are awaited, since the slowest authenticator may be the one that vouches. "Could not decide" then
has priority over "wrong", and "wrong" over "not mine": a password is never called wrong while an authenticator that may know it
is down (attack 41). `perimeter.auth.chain.chain` asks one after another.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from perimeter.auth.chain.asking import GuardedAuthenticator
from perimeter.errors import InvalidToken, Refusal, Rejected, Unavailable
from perimeter.model import AuthenticationRequest, Credentials, Principal

_WRONG = (Rejected, InvalidToken)


class Contradicted(Unavailable):
    """Wrong to one authenticator, while another could not decide.

    The answer is not "wrong", but it counts as a wrong password. Otherwise passwords could be guessed without end while one
    directory of several is down (attack 30).
    """


def race(
    authenticators: Sequence[GuardedAuthenticator], credentials: Credentials, request: AuthenticationRequest
) -> Deferred[Principal | None]:
    """The first principal that an authenticator returns, or None if all of them answer "not mine".

    Fails with what `perimeter.auth.chain.asking` raises. Cancelling it cancels all questions.
    """
    return _Race(authenticators).run(credentials, request)


class _Race:
    def __init__(self, authenticators: Sequence[GuardedAuthenticator]) -> None:
        self._authenticators = authenticators
        self._verdict: Deferred[Principal | None] = Deferred(lambda _: self._abandon())
        self._over = False
        self._waiting = len(authenticators)
        #: the question to each authenticator; its refusal, by its place in the order
        self._questions: list[Deferred[Any]] = []
        self._refusals: dict[int, Failure] = {}

    def run(self, credentials: Credentials, request: AuthenticationRequest) -> Deferred[Principal | None]:
        if not self._authenticators:
            self._verdict.callback(None)
        for place, one in enumerate(self._authenticators):
            if self._over:  # one vouched at once: the password need not go any further
                break
            question: Deferred[Any] = Deferred.fromCoroutine(one.ask(credentials, request))
            self._questions.append(question)
            question.addCallbacks(self._answered, self._refused, errbackArgs=(place,))
        return self._verdict

    def _answered(self, principal: Principal | None) -> None:
        if principal is None:
            self._one_less()
        elif not self._over:
            self._abandon()
            self._verdict.callback(principal)

    def _refused(self, failure: Failure, place: int) -> None:
        if not self._over:
            self._refusals[place] = failure
        self._one_less()

    def _one_less(self) -> None:
        self._waiting -= 1
        if self._waiting or self._over:
            return
        refusals = [self._refusals[place] for place in sorted(self._refusals)]
        undecided = [one for one in refusals if not one.check(*_WRONG)]
        if not refusals:
            self._verdict.callback(None)
        elif not undecided:
            self._verdict.errback(refusals[0])
        elif len(undecided) < len(refusals) and isinstance(undecided[0].value, Refusal):
            refusal = undecided[0].value
            self._verdict.errback(Failure(Contradicted(refusal.detail, retry_after=refusal.retry_after)))
        else:
            self._verdict.errback(undecided[0])

    def _abandon(self) -> None:
        self._over = True
        for question in self._questions:
            question.cancel()
