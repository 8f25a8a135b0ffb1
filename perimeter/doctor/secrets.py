"""Weak secrets: guessable secrets of site.ini, and common passwords of users in realm files.

A message never contains a secret, nor its length.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from perimeter.auth.kinds.realm_file import RealmFileSettings, contents
from perimeter.auth.passwords.users import RealmFileError, User, read_users
from perimeter.doctor.finding import Finding, Grade, Name
from perimeter.doctor.subject import Subject

COMMON: Final = frozenset(
    (
        *(
            "password",
            "passw0rd",
            "password1",
            "passwort",
            "secret",
            "changeme",
            "change-me",
            "changeit",
            "admin",
            "administrator",
        ),
        *("root", "test", "guest", "default", "letmein", "welcome", "qwerty", "123456", "12345678", "123456789", "0000", "1234"),
        *("ldap", "example", "demo", "user", "perimeter", "wonderland", "builder"),
    )
)
"""Passwords that attackers try first, with the passwords of the examples in the documentation."""

LEAST_BITS: Final = 24.0
"""A secret with fewer bits, estimated from its letters, can be guessed."""

LEAST: Final = 8
"""A secret with fewer characters can be guessed at once."""

SECONDS: Final = 2.5
"""Time for guessing passwords of users."""

_GUESSES = ("{name}", "password", "secret", "changeme", "admin")


def bits(text: str) -> float:
    """An upper bound of the information in ``text``: its length times the entropy of its letters."""
    length = len(text)
    return sum(-count * math.log2(count / length) for count in Counter(text).values()) if length else 0.0


def is_weak(text: str) -> bool:
    """Whether a program guesses ``text`` quickly."""
    return text.lower() in COMMON or len(text) < LEAST or bits(text) < LEAST_BITS


def configured(subject: Subject) -> Iterator[Finding]:
    """The secrets of the sections."""
    for secret in subject.document.secrets():
        if secret.option.endswith("keystore_password") or secret.option.endswith("private_key_password"):
            continue  # the mode of the file protects the key; Java's keystores have `changeit` by custom
        if is_weak(secret.text):
            message = f"{secret.option} is a secret that can be guessed: it is short or common"
            remedy = "make a new one, such as with openssl rand -base64 24, and set it on both sides"
            yield Finding(Name.SECRET_WEAK, Grade.OPEN, f"[{secret.header}]", message, remedy)


def of_users(subject: Subject, seconds: float = SECONDS) -> Iterator[Finding]:
    """Users in realm files whose password is their name, or a common one. Tries for a limited time."""
    for one in subject.config.authenticators:
        if isinstance(one.settings, RealmFileSettings):
            yield from _guessed(f"[authenticator {one.name}]", one.settings.path, seconds)


def _guessed(place: str, path: Path, seconds: float) -> Iterator[Finding]:
    try:
        users = read_users(contents(path), str(path)).by_name.values()
    except (OSError, RealmFileError):
        return  # a fault of the configuration
    found, tried = [], 0
    deadline = time.monotonic() + seconds
    # fast hashes first: of these most can be tried, and they are the weakest
    for user in sorted(users, key=lambda user: not user.password.legacy):
        if time.monotonic() > deadline:
            break
        tried += 1
        if _guess(user):
            found.append(user.name)
    if found:
        names = ", ".join(found[:8]) + (f" and {len(found) - 8} more" if len(found) > 8 else "")
        message = (
            f"{path}: the password of {names} is the name, or one that is tried first ({tried} of {len(users)} users were tried)"
        )
        remedy = f"perimeter password --replace --user {found[0]} -o {path}"
        yield Finding(Name.PASSWORD_GUESSED, Grade.OPEN, place, message, remedy)


def _guess(user: User) -> bool:
    return any(user.password.verify(guess.format(name=user.name)) for guess in _GUESSES)
