"""The users of a realm file, ``username: password[,role ...]``: the whole file is read and checked at once."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from perimeter.auth.passwords.formats import PasswordFormatError, take
from perimeter.auth.passwords.properties import PropertiesError, decode, parse
from perimeter.auth.passwords.schemes import Cost, PasswordHash
from perimeter.auth.text import trim, unfit_for_name
from perimeter.errors import Problem, StartupError
from perimeter.model import Principal

_NAMES_SHOWN = 5


class RealmFileError(StartupError):
    """A realm file that cannot be used. The message has one line, with the file and the line in it."""

    def __init__(self, file: str, line: int, message: str) -> None:
        super().__init__(f"{file}:{line}: {message}" if line else f"{file}: {message}")
        self.problem = Problem(file, line, "", "", message)


@attrs.frozen
class User:
    """One line of the file; ``line`` is its number."""

    name: str
    password: PasswordHash
    roles: tuple[str, ...]
    line: int


@attrs.frozen
class Users:
    """All users of a realm file. ``warnings`` are for the operator; ``decoys`` has one hash for each cost in the file."""

    by_name: Mapping[str, User] = attrs.field(repr=False)
    decoys: tuple[tuple[Cost, PasswordHash], ...] = attrs.field(repr=False)
    warnings: tuple[str, ...] = ()

    def recall(self, username: str, realm: str, authenticator: str) -> Principal | None:
        """The user as the file has it now, without a password; None if there is none."""
        user = self.by_name.get(username)
        return None if user is None else Principal(user.name, realm, user.roles, authenticator)

    def check(self, user: User | None, password: str) -> bool:
        """Whether ``password`` is the user's. Slow: call it in a thread.

        Every answer takes one hash of each cost that occurs in the file (attacks 29, 47): with cheap and dear hashes in one file,
        the time shows neither which users exist nor whose hash is of which kind nor, before the answer, whether it was right.
        """
        own = user.password if user is not None else None
        matched = own.verify(password) if own is not None else False
        for cost, decoy in self.decoys:
            if own is None or own.cost != cost:
                decoy.verify(password)
        return matched


def read_users(data: bytes, file: str) -> Users:
    """The users in the contents of a realm file; ``file`` is its name in messages. Raises `RealmFileError`."""
    users: dict[str, User] = {}
    try:
        for entry in parse(decode(data)):
            user = _user(entry.key, entry.value, entry.line)
            if user.name in users:
                raise RealmFileError(file, entry.line, f"user {user.name!r} is in line {users[user.name].line} already")
            users[user.name] = user
    except PropertiesError as error:
        raise RealmFileError(file, error.line, str(error)) from None
    except _BadLine as error:
        raise RealmFileError(file, error.line, str(error)) from None
    costs = {user.password.cost: user.password for user in users.values()}
    decoys = tuple((cost, password.decoy()) for cost, password in costs.items())
    return Users(users, decoys, _warnings(users, file))


class _BadLine(Exception):
    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


def _user(name: str, value: str, line: int) -> User:
    if not name:
        raise _BadLine(line, "a user name is missing before the separator")
    if unfit_for_name(name):
        raise _BadLine(line, f"control characters in the user name {name!r}")
    # Reactor trims the value and each of its parts.
    value = trim(value)
    if not value or value.startswith(","):
        raise _BadLine(line, f"user {name!r} has no password (expected `username: password[,role ...]`)")
    try:
        password, rest = take(value)
    except PasswordFormatError as error:
        raise _BadLine(line, f"the password of user {name!r} is {error}") from None
    if unfit_for_name(rest):
        raise _BadLine(line, f"control characters in the roles of user {name!r}")
    roles = (trim(role) for role in rest.split(","))
    return User(name, password, tuple(dict.fromkeys(role for role in roles if role)), line)


def _warnings(users: Mapping[str, User], file: str) -> tuple[str, ...]:
    if not users:
        return (f"{file}: no users",)
    warnings = []
    legacy: dict[str, list[str]] = {}
    for user in users.values():
        if user.password.legacy:
            legacy.setdefault(user.password.scheme, []).append(user.name)
    for scheme, names in legacy.items():
        shown = ", ".join(repr(name) for name in names[:_NAMES_SHOWN]) + (", …" if len(names) > _NAMES_SHOWN else "")
        warnings.append(
            f"{file}: {len(names)} password(s) kept as {scheme}, which protects them too little; "
            f"`perimeter password` makes better ones: {shown}"
        )
    colons = [name for name in users if ":" in name]
    if colons:
        warnings.append(
            f"{file}: user names with a colon cannot log in with HTTP Basic: {', '.join(map(repr, colons[:_NAMES_SHOWN]))}"
        )
    good = {user.password.cost for user in users.values() if not user.password.legacy}
    if len(good) > 1:
        warnings.append(f"{file}: hashes of {len(good)} different costs; every wrong password costs all of them")
    return tuple(warnings)
