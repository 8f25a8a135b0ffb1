"""What login modules work on: one login, what is found out of its user, and the usual way to take part in it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import attrs
from zope.interface import implementer

from perimeter.errors import Rejected
from perimeter.interfaces import ILogin
from perimeter.model import AuthenticationRequest, BasicCredentials


class UnknownUser(Rejected):
    """A login module knows nobody of this name. Where that is all that is known, the next authenticator is asked."""

    def __init__(self, detail: str = "nobody knows this user", *, retry_after: int | None = None) -> None:
        super().__init__(detail, retry_after=retry_after)


@attrs.define
class Subject:
    """What the modules say of the user in their commit phase. ``username`` is "" while none of them has named him."""

    username: str = ""
    roles: list[str] = attrs.field(factory=list)
    attributes: dict[str, str] = attrs.field(factory=dict)


@attrs.define
class LoginAttempt:
    """One login. ``shared`` is for modules to leave each other notes in, for as long as it lasts."""

    credentials: BasicCredentials
    request: AuthenticationRequest
    subject: Subject = attrs.field(factory=Subject)
    shared: dict[str, Any] = attrs.field(factory=dict, repr=False)


@attrs.frozen
class Known:
    """What a module knows of a user whose password was right."""

    username: str
    roles: tuple[str, ...] = ()
    attributes: Mapping[str, str] = attrs.field(factory=dict)


@implementer(ILogin)
class VerifiedLogin:
    """The part of a module that asks once, ``verify``, and remembers the answer from login to commit.

    ``verify`` gives what is `Known`, or None for "none of my business", and raises what `ILogin.login` may raise.
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
        """Add what is known; the first module that names the user does so for all."""
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
