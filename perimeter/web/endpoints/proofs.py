"""What users show on the page of the second factor, counted and then checked: a code, a passkey, or a first factor.

Every attempt is counted before it is checked, by the sign-in or session and by the user's name (attack B3).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Protocol

import attrs

from perimeter.errors import Refusal, WrongFactor
from perimeter.factors.challenges import Bound
from perimeter.factors.factor import FactorKind
from perimeter.factors.pending import PendingSignIn
from perimeter.factors.pending_book import PendingBook
from perimeter.model import Principal
from perimeter.sessions.session import Session
from perimeter.web.endpoints.account.factors import KINDS, FactorParts
from perimeter.web.passkeys import ANSWER

EVENT: Final = "login_factor"
"""The event in the audit log, and the purpose of the form's token."""

_OPERATORS_CODE: Final = "operators_code"
"""The field with the operator's code for a first factor."""


class CodeThrottle(Protocol):
    """What the page needs of `perimeter.auth.chain.throttle.Throttle`."""

    async def learn_code(self, realm: str, username: str) -> None:
        """Ask the other machines for their counts first."""

    def admit_code(self, realm: str, username: str) -> Attempt:
        """Let a code be checked. Raises `TooManyAttempts`."""


class Attempt(Protocol):
    """See `perimeter.auth.chain.throttle.Attempt`."""

    def failed(self) -> Awaitable[object]:
        """The code was wrong."""

    def succeeded(self, realm: str) -> None:
        """The code was right."""

    def undecided(self) -> None:
        """It could not be found out."""


@attrs.frozen(eq=False)
class SecondFactorParts:
    """What the page works on besides `FactorParts`: sign-ins that wait, and the count of wrong codes."""

    pending: PendingBook
    throttle: CodeThrottle


@attrs.frozen
class Asked:
    """Whom the page asks: by the value of a cookie, a sign-in that waits or a session. ``to`` is where they want to go.

    ``registered``: they have a second factor.
    """

    user: Principal
    cookie: bytes = attrs.field(repr=False)
    to: str
    registered: bool
    pending: PendingSignIn | None = None
    session: Session | None = None

    @property
    def id(self) -> str:
        """The id of the session; "" before there is one."""
        return "" if self.session is None else self.session.id

    @property
    def bound(self) -> Bound:
        """What a challenge of the page is bound to."""
        return Bound(self.cookie, self.id, EVENT)


class Proofs:
    """Checks what the form of the page holds. ``count`` takes the kind and the outcome of each attempt."""

    def __init__(self, parts: FactorParts, more: SecondFactorParts, count: Callable[[str, str], None] | None = None) -> None:
        self._parts = parts
        self._pending = more.pending
        self._throttle = more.throttle
        self._count = count

    async def shown(self, asked: Asked, fields: Mapping[str, str]) -> str:
        """The method by which the user has shown a factor that they have.

        Raises `WrongFactor`, `TooManyAttempts` if it was not checked, and `Unavailable`.
        """
        return await self._checked(asked, _kind(fields), lambda: self._check(asked, fields))

    async def registered(self, asked: Asked, fields: Mapping[str, str]) -> str:
        """The kind of the first factor that the user has registered. Raises as `shown`, and `TooManyFactors`."""
        return await self._checked(asked, _kind(fields), lambda: self._register(asked, fields))

    async def _checked(self, asked: Asked, kind: FactorKind, check: Callable[[], Awaitable[str]]) -> str:
        """The result of ``check``, which was counted before. Raises what it raises, and `TooManyAttempts`."""
        user = asked.user
        await self._throttle.learn_code(user.realm, user.username)
        attempt = self._throttle.admit_code(user.realm, user.username)
        try:
            if asked.pending is not None:
                await self._pending.count_try(asked.pending)
            else:
                await self._pending.count_try_of_session(asked.id)
            method = await check()
        except WrongFactor:
            await attempt.failed()
            self._note(kind, "wrong")
            raise
        except BaseException:
            attempt.undecided()
            self._note(kind, "failed")
            raise
        attempt.succeeded(user.realm)
        self._note(method, "success")
        return method

    async def _check(self, asked: Asked, fields: Mapping[str, str]) -> str:
        """The method that was shown. Raises `WrongFactor` and `Unavailable`."""
        user, passkeys = asked.user, self._parts.passkeys
        if not fields.get(ANSWER):
            return await self._parts.book.use_code(user.realm, user.username, fields.get("code", ""))
        if passkeys is None:
            raise WrongFactor("an answer of a passkey, and [second_factor] methods has no webauthn")
        await passkeys.prove(user, fields, asked.bound)
        return FactorKind.WEBAUTHN

    async def _register(self, asked: Asked, fields: Mapping[str, str]) -> str:
        """The kind of a factor that was registered. Raises `WrongFactor`, `TooManyFactors` and `Unavailable`."""
        parts, user, passkeys = self._parts, asked.user, self._parts.passkeys
        if parts.by_code:
            await parts.book.check_enroll_code(user.realm, user.username, fields.get(_OPERATORS_CODE, ""))
        if fields.get(ANSWER) and passkeys is not None:
            factor = await passkeys.add(user, fields, asked.bound, KINDS[FactorKind.WEBAUTHN])
        elif parts.apps:
            secrets, code = parts.book.proposed_secrets(asked.cookie), fields.get("code", "")
            factor = await parts.book.add_totp(user.realm, user.username, KINDS[FactorKind.TOTP], secrets, code)
        else:
            raise WrongFactor("a code, and [second_factor] methods has no totp")
        if parts.by_code:
            try:  # only now: a mistyped code of the app must not use up the operator's
                await parts.book.use_enroll_code(user.realm, user.username, fields.get(_OPERATORS_CODE, ""))
            except Refusal:
                await parts.book.remove(user.realm, user.username, factor.id)
                raise
        return factor.kind

    def _note(self, kind: str, outcome: str) -> None:
        if self._count is not None:
            self._count(kind, outcome)


def _kind(fields: Mapping[str, str]) -> FactorKind:
    """What the form is for."""
    return FactorKind.WEBAUTHN if fields.get(ANSWER) else FactorKind.TOTP
