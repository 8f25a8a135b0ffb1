"""The users of a realm file, ``username: password[,role ...]``: the whole file is read and checked at once."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping

import attrs

from perimeter.auth.passwords.formats import PasswordFormatError, take
from perimeter.auth.passwords.properties import PropertiesError, Property, decode, escape_key, escape_value, parse, replace_lines
from perimeter.auth.passwords.schemes import Cost, PasswordHash
from perimeter.auth.text import trim, unfit_for_name
from perimeter.errors import Problem, StartupError
from perimeter.model import Principal

_NAMES_SHOWN = 5
_LINES_SHOWN = 20


class RealmFileError(StartupError):
    """A realm file that cannot be used. The message has one line, with the file and the line in it."""

    def __init__(self, file: str, line: int, message: str) -> None:
        super().__init__(f"{file}:{line}: {message}" if line else f"{file}: {message}")
        self.problem = Problem(file, line, "", "", message)


@attrs.frozen
class User:
    """One line of the file, ``line``; it may continue to ``last_line``."""

    name: str
    password: PasswordHash
    roles: tuple[str, ...]
    line: int
    last_line: int


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
            spent = own.rounds if own is not None and own.cost == cost else -1
            if spent < decoy.rounds:
                (decoy if spent < 0 else decoy.decoy(decoy.rounds - spent)).verify(password)
        return matched


def _decoys(hashes: Iterable[PasswordHash]) -> tuple[tuple[Cost, PasswordHash], ...]:
    """One for each cost, with as many rounds as each answer takes: what is missing to it can be made up for by a decoy."""
    most: dict[Cost, PasswordHash] = {}
    differing = set()
    for one in hashes:
        known = most.setdefault(one.cost, one)
        if known.rounds != one.rounds:
            differing.add(one.cost)
        if known.rounds < one.rounds:
            most[one.cost] = one
    return tuple(
        (cost, one.decoy(one.rounds + one.least_rounds if cost in differing else one.rounds)) for cost, one in most.items()
    )


def read_users(data: bytes, file: str, *, in_file: bool = True) -> Users:
    """The users in the contents of a realm file; ``file`` is its name in messages. Raises `RealmFileError`.

    Unless ``in_file``, the lines are the value of an option, which no command changes.
    """
    users: dict[str, User] = {}
    try:
        for entry in parse(decode(data)):
            user = _user(entry)
            if user.name in users:
                raise RealmFileError(file, entry.line, f"user {user.name!r} is in line {users[user.name].line} already")
            users[user.name] = user
    except PropertiesError as error:
        raise RealmFileError(file, error.line, str(error)) from None
    except _BadLine as error:
        raise RealmFileError(file, error.line, str(error)) from None
    return Users(users, _decoys(user.password for user in users.values()), _warnings(users, file, in_file))


def realm_line(username: str, hashed: str, roles: tuple[str, ...]) -> str:
    """The line ``username: hash[,role ...]``, escaped for a .properties file.

    Raises ValueError for a name or a role that is not possible in the line or in a login.
    """
    if not username or ":" in username or unfit_for_name(username):
        raise ValueError("a user name cannot be empty or hold a colon or control characters")
    for role in roles:
        if not role or "," in role or role != trim(role) or unfit_for_name(role):
            raise ValueError("a role cannot be empty or hold a comma, control characters or blanks at its ends")
    return f"{escape_key(username)}: {escape_value(','.join((hashed, *roles)))}"


def with_passwords(data: bytes, file: str, hashes: Mapping[str, str]) -> bytes:
    """The contents ``data`` of a realm file with a new hash for each of the users ``hashes``; the rest of it does not change.

    Raises `RealmFileError` for contents that cannot be read, KeyError for a user who is not there, ValueError for a user whose
    line cannot be written.
    """
    users = read_users(data, file).by_name
    for user in sorted((users[name] for name in hashes), key=lambda user: -user.line):
        data = replace_lines(data, user.line, user.last_line, realm_line(user.name, hashes[user.name], user.roles))
    after = read_users(data, file).by_name
    if [(one.name, one.roles) for one in users.values()] != [(one.name, one.roles) for one in after.values()] or any(
        one.password != after[one.name].password for one in users.values() if one.name not in hashes
    ):
        raise ValueError("the new line would change another one")
    return data


class _BadLine(Exception):
    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


def _user(entry: Property) -> User:
    name, line = entry.key, entry.line
    if not name:
        raise _BadLine(line, "a user name is missing before the separator")
    if unfit_for_name(name):
        raise _BadLine(line, f"control characters in the user name {name!r}")
    # Reactor trims the value and each of its parts.
    value = trim(entry.value)
    if not value or value.startswith(","):
        raise _BadLine(line, f"user {name!r} has no password (expected `username: password[,role ...]`)")
    try:
        password, rest = take(value)
    except PasswordFormatError as error:
        advice = f"`perimeter password --user {shlex.quote(name)}` makes a line with a good one"
        raise _BadLine(line, f"the password of user {name!r} is {error}; {advice}") from None
    if unfit_for_name(rest):
        raise _BadLine(line, f"control characters in the roles of user {name!r}")
    roles = (trim(role) for role in rest.split(","))
    return User(name, password, tuple(dict.fromkeys(role for role in roles if role)), line, entry.last_line)


def _weak(user: User, file: str, in_file: bool) -> str:
    """The warning about one line, with the command that mends it, as a shell reads it."""
    found = (
        f"{file}:{user.line}: the password of user {user.name!r} is kept as {user.password.scheme}, which protects it too little"
    )
    name = shlex.quote(user.name)
    if not in_file:
        return f"{found}; `perimeter password --user {name}` makes a line that replaces this one"
    command = f"perimeter password --replace --user {name} --output {shlex.quote(file)}"
    return f"{found}; `{command}` replaces it, and so does `rehash = yes` at the next login"


def _warnings(users: Mapping[str, User], file: str, in_file: bool) -> tuple[str, ...]:
    if not users:
        return (f"{file}: no users",)
    weak = [user for user in users.values() if user.password.legacy]
    warnings = [_weak(user, file, in_file) for user in weak[:_LINES_SHOWN]]
    if len(weak) > _LINES_SHOWN:
        kinds = sorted({user.password.scheme for user in weak[_LINES_SHOWN:]})
        warnings.append(f"{file}: {len(weak) - _LINES_SHOWN} more passwords like these, kept as {', '.join(kinds)}")
    colons = [name for name in users if ":" in name]
    if colons:
        warnings.append(
            f"{file}: user names with a colon cannot log in with HTTP Basic: {', '.join(map(repr, colons[:_NAMES_SHOWN]))}"
        )
    good = {user.password.cost for user in users.values() if not user.password.legacy}
    if len(good) > 1:
        warnings.append(f"{file}: hashes of {len(good)} different costs; every wrong password costs all of them")
    return tuple(warnings)
