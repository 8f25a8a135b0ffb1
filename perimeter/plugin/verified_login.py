"""The usual way for a login module to take part in a login: one question, whose answer is kept from login to commit."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

import attrs
from zope.interface import implementer

from perimeter.plugin.login_module import ILogin, LoginAttempt


@attrs.frozen
class Known:
    """What a module knows about a user whose password is right."""

    username: str
    roles: tuple[str, ...] = ()
    attributes: Mapping[str, str] = attrs.field(factory=dict)


@implementer(ILogin)
class VerifiedLogin:
    """The part of a module that asks once, ``verify``, and remembers the answer from login to commit.

    ``verify`` returns what is `Known`, or None for "not responsible", and raises what `ILogin.login` may raise.
    """

    def __init__(self, attempt: LoginAttempt, verify: Callable[[LoginAttempt], Awaitable[Known | None]]) -> None:
        self._attempt = attempt
        self._verify = verify
        self._known: Known | None = None

    async def login(self) -> bool:
        """Ask."""
        self._known = await self._verify(self._attempt)
        return self._known is not None

    async def commit(self) -> bool:
        """Add what is known; the first module that knows the user's name sets it."""
        known, subject = self._known, self._attempt.subject
        if known is None:
            return False
        subject.username = subject.username or known.username
        subject.roles += [role for role in known.roles if role not in subject.roles]
        subject.attributes = {**known.attributes, **subject.attributes}
        return True

    async def abort(self) -> bool:
        """Forget."""
        known, self._known = self._known, None
        return known is not None
