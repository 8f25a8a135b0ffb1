"""Checks what a service says about a user before it becomes a name, a role or an attribute. Pure (attacks 15 and 17)."""

from __future__ import annotations

import json

from perimeter.auth.text import unfit_for_name

MAX_NAME = 256
MAX_ROLES = 1000
MAX_ATTRIBUTE = 1024


class Unfit(Exception):
    """A value has the wrong shape; the text names it and never quotes it."""


def username(value: object, what: str) -> str:
    """A user name. Raises `Unfit`."""
    if not isinstance(value, str) or not value.strip() or len(value) > MAX_NAME or unfit_for_name(value):
        raise Unfit(f"{what} is no name of a user")
    return value


def roles(value: object, what: str) -> tuple[str, ...]:
    """Roles, each once: a list of texts, or one text, or nothing (None). Raises `Unfit` if it is anything else.

    An entry that is not text, or holds control characters, is left out: a rule of the configuration could not name it either, to
    allow or to deny it. A longer list or role than any that is known refuses the user, since a role that is denied may be in it.
    """
    if value is None:
        return ()
    listed = [value] if isinstance(value, str) else value
    if not isinstance(listed, list) or len(listed) > MAX_ROLES:
        raise Unfit(f"{what} is no list of roles")
    found = [role for role in listed if isinstance(role, str) and role and not unfit_for_name(role)]
    if any(len(role) > MAX_NAME for role in found):
        raise Unfit(f"{what} holds a role of more than {MAX_NAME} characters")
    return tuple(dict.fromkeys(found))


def attribute(value: object) -> str | None:
    """Any JSON value as the text of an attribute, without control characters; None if it is too long to be passed on."""
    text = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    text = "".join(character for character in text if not unfit_for_name(character))
    return text if len(text) <= MAX_ATTRIBUTE else None
