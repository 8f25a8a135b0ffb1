"""Walks a stack of login modules as `javax.security.auth.login.Configuration` defines it. Pure.

* ``required``: must succeed; whether it does or not, the walk goes on.
* ``requisite``: must succeed; if it does not, the walk ends there.
* ``sufficient``: need not succeed; if it does, the walk ends there.
* ``optional``: need not succeed; the walk goes on.

The login succeeds if all required and requisite modules on the way succeed, and at least one module of any kind. A module that is
"not responsible" has neither succeeded nor failed. After a successful walk with `ILogin.login`, the modules that took part are
walked again in the same way with `ILogin.commit`. If either walk fails, all of them get `ILogin.abort`.
"""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from enum import Enum

import attrs
from twisted.internet.defer import CancelledError
from twisted.logger import Logger

from perimeter.errors import Refusal, Rejected, Unavailable
from perimeter.model import AuthenticationRequest
from perimeter.plugin.authenticator import IDecoyLogin
from perimeter.plugin.login_module import ILogin, ILoginModule, LoginAttempt, UnknownUser

_log = Logger()


class Flag(Enum):
    """JAAS's control flags."""

    REQUIRED = "required"
    REQUISITE = "requisite"
    SUFFICIENT = "sufficient"
    OPTIONAL = "optional"

    @property
    def must(self) -> bool:
        """Whether the login fails with the module."""
        return self in (Flag.REQUIRED, Flag.REQUISITE)


@attrs.frozen
class StackedModule:
    """A module of the stack; ``name`` is for messages."""

    name: str
    flag: Flag
    module: ILoginModule


@attrs.define
class _Walk:
    """The results of one walk so far."""

    succeeded: bool = False
    needed: list[Refusal] = attrs.field(factory=list)
    others: list[Refusal] = attrs.field(factory=list)

    def add(self, flag: Flag, error: Refusal) -> None:
        (self.needed if flag.must else self.others).append(error)

    def verdict(self) -> None:
        """Return if the walk succeeded; otherwise raise its failure.

        Of several failures the most certain one counts: a wrong password if it decides alone, otherwise "could not decide".
        """
        if self.succeeded and not self.needed:
            return
        for error in (*_wrong(self.needed), *_unsure(self.needed)):
            raise error  # a required module decides, no matter what the others answer
        if not self.needed:
            for error in _unsure(self.others):
                raise error  # it might have succeeded, and one success would have been enough
        for error in _wrong(self.others):
            raise error
        raise UnknownUser


def _wrong(errors: Sequence[Refusal]) -> list[Refusal]:
    return [error for error in errors if isinstance(error, Rejected) and not isinstance(error, UnknownUser)]


def _unsure(errors: Sequence[Refusal]) -> list[Refusal]:
    return [error for error in errors if isinstance(error, Unavailable)]


async def log_in(stack: Sequence[StackedModule], attempt: LoginAttempt) -> None:
    """Both phases; the result is in ``attempt.subject``.

    Raises `UnknownUser` if no module knows the user (or all of them are not responsible), `Rejected` and
    `Unavailable`.
    """
    parts: list[tuple[StackedModule, ILogin]] = []
    try:
        walk = _Walk()
        for entry in stack:
            part = _begin(entry, attempt)
            parts.append((entry, part))
            if await _step(walk, entry, part, attempt, "login"):
                break
        await spend(stack[len(parts) :], attempt.request)
        walk.verdict()
        walk = _Walk()
        for entry, part in parts:
            if await _step(walk, entry, part, attempt, "commit"):
                break
        if not (walk.succeeded or walk.needed or walk.others):
            raise Unavailable("login modules succeeded, but none of them committed")
        walk.verdict()
    except BaseException:
        for entry, part in parts:
            await _abort(entry, part)
        raise


async def spend(entries: Sequence[StackedModule], request: AuthenticationRequest) -> None:
    """Spend what the modules of ``entries`` cost, those of them that provide `IDecoyLogin`. Never fails."""
    for entry in entries:
        if IDecoyLogin.providedBy(entry.module):
            try:
                await entry.module.decoy(request)
            except CancelledError:
                raise
            except Refusal:  # no answer depends on it
                pass
            except Exception as error:
                _unforeseen(entry, error)


def _begin(entry: StackedModule, attempt: LoginAttempt) -> ILogin:
    try:
        return entry.module.begin(attempt)
    except Exception as error:
        raise _unforeseen(entry, error) from None


async def _step(walk: _Walk, entry: StackedModule, part: ILogin, attempt: LoginAttempt, phase: str) -> bool:
    """One module in one phase; True if the walk ends with it."""
    said = f"module {entry.name} ({entry.flag.value}), {phase}: "
    try:
        done = await (part.login() if phase == "login" else part.commit())
    except (Rejected, Unavailable) as error:
        failure: Refusal = error
    except CancelledError:
        raise
    except Exception as error:
        failure = _unforeseen(entry, error)
    else:
        if done is not True:
            attempt.request.explain(f"{said}not responsible")
            return False
        attempt.request.explain(f"{said}succeeded")
        walk.succeeded = True
        return entry.flag is Flag.SUFFICIENT
    attempt.request.explain(f"{said}{failure.reason} ({failure.detail})")
    walk.add(entry.flag, failure)
    return entry.flag is Flag.REQUISITE


async def _abort(entry: StackedModule, part: ILogin) -> None:
    try:
        await part.abort()
    except Exception as error:
        # The login has failed already, and that is the result.
        _unforeseen(entry, error)


def _unforeseen(entry: StackedModule, error: Exception) -> Unavailable:
    """A bug of a module counts as "could not decide". Only its place is logged: its text may contain the password."""
    where = "".join(traceback.format_tb(error.__traceback__))
    kind = type(error).__qualname__
    _log.error("Login module {name} failed with {kind}\n{where}", name=entry.name, kind=kind, where=where)
    return Unavailable(f"login module {entry.name} failed with {kind}")
