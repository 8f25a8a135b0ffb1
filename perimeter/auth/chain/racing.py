"""All authenticators asked at once: the first that vouches wins, and the others are told that nobody waits any more.

Where nobody vouches, everybody is waited for, since the slowest may be the one that would have. "Could not tell" then
weighs more than "wrong", and that more than "not mine": a password is never called wrong while somebody who may know it is
down (attack 41). In what order they are asked otherwise is `perimeter.auth.chain.chain`'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from perimeter.auth.chain.asking import Asked
from perimeter.errors import InvalidToken, Refusal, Rejected, Unavailable
from perimeter.model import AuthenticationRequest, Credentials, Principal

_WRONG = (Rejected, InvalidToken)


class Contradicted(Unavailable):
    """Wrong to one authenticator, while another could not tell, or had not told yet when the client left.

    The client is not told "wrong", but it did learn something, so that it counts as a wrong password. Otherwise passwords could
    be guessed without end while one directory of several is down, or by leaving before the slowest one answers (attack 30).
    """


def race(asked: Sequence[Asked], credentials: Credentials, request: AuthenticationRequest) -> Deferred[Principal | None]:
    """The principal of whoever is first to give one, or None where all say that the user is none of theirs.

    Fails with what `perimeter.auth.chain.asking` raises where one of them did. Cancelling it cancels everybody.
    """
    return _Race(asked).run(credentials, request)


class _Race:
    def __init__(self, asked: Sequence[Asked]) -> None:
        self._asked = asked
        self._verdict: Deferred[Principal | None] = Deferred(lambda _: self._left())
        self._over = False
        self._waiting = 0
        #: everybody's question; what each was refused with, by its place in the order
        self._questions: list[Deferred[Any]] = []
        self._refusals: dict[int, Failure] = {}

    def run(self, credentials: Credentials, request: AuthenticationRequest) -> Deferred[Principal | None]:
        self._waiting = len(self._asked)
        if not self._asked:
            self._verdict.callback(None)
        for place, one in enumerate(self._asked):
            if self._over:  # somebody knew at once: the password need not go any further
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
        self._over = True
        refusals = [self._refusals[place] for place in sorted(self._refusals)]
        undecided = [one for one in refusals if not one.check(*_WRONG)]
        if not refusals:
            self._verdict.callback(None)
        elif not undecided:
            self._verdict.errback(refusals[0])
        elif len(undecided) < len(refusals) and isinstance(undecided[0].value, Refusal):
            told = undecided[0].value
            self._verdict.errback(Failure(Contradicted(told.detail, retry_after=told.retry_after)))
        else:
            self._verdict.errback(undecided[0])

    def _left(self) -> None:
        self._abandon()
        if any(refusal.check(*_WRONG) for refusal in self._refusals.values()):
            self._verdict.errback(Failure(Contradicted("wrong, and the client left")))

    def _abandon(self) -> None:
        self._over = True
        for question in self._questions:
            question.cancel()
