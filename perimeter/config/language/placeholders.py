"""Texts with placeholders, such as ``user=%{user}``: read with the configuration, filled for each request. Pure.

``%{NAME}`` stands for a value of the request, and ``%%`` for a percent sign. A value is inserted and never read again: a user who
is called ``%{roles}`` has that name, and no roles.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import StrEnum
from typing import Final

import attrs

from perimeter.config.language.datatypes import BadValue, closest


class Word(StrEnum):
    """What a placeholder stands for."""

    USER = "user"
    REALM = "realm"
    ROLES = "roles"
    ATTRIBUTE = "attribute"
    REQUEST_ID = "request_id"
    ADDRESS = "address"
    HOST = "host"
    SCHEME = "scheme"


OF_USER: Final = frozenset((Word.USER, Word.REALM, Word.ROLES, Word.ATTRIBUTE))
"""The words that say who the user is."""

_PART = re.compile(r"%%|%\{([^{}]*)\}|%|[^%]+")
_ATTRIBUTE = re.compile(r"[A-Za-z0-9_.-]{1,64}")


@attrs.frozen
class Placeholder:
    """One placeholder. ``argument`` is the name of the attribute of `Word.ATTRIBUTE`, and "" for all other words."""

    word: Word
    argument: str = ""

    def __str__(self) -> str:
        return f"%{{{self.word}:{self.argument}}}" if self.argument else f"%{{{self.word}}}"


@attrs.frozen
class Template:
    """A text with placeholders, in its parts. Two texts never follow each other."""

    parts: tuple[str | Placeholder, ...] = ()

    def __str__(self) -> str:
        return "".join(part.replace("%", "%%") if isinstance(part, str) else str(part) for part in self.parts)

    @property
    def placeholders(self) -> tuple[Placeholder, ...]:
        """Its placeholders, in order."""
        return tuple(part for part in self.parts if isinstance(part, Placeholder))

    @property
    def of_user(self) -> bool:
        """Whether it says who the user is."""
        return any(one.word in OF_USER for one in self.placeholders)

    @property
    def text(self) -> str:
        """Its text without the placeholders, which is all of it if there are none."""
        return "".join(part for part in self.parts if isinstance(part, str))

    def fill(self, value: Callable[[Placeholder], str | None]) -> str | None:
        """The text with the value of each placeholder in its place; None if one of them has no value."""
        filled = []
        for part in self.parts:
            found = part if isinstance(part, str) else value(part)
            if found is None:
                return None
            filled.append(found)
        return "".join(filled)


def literal(text: str) -> Template:
    """``text`` without placeholders, whatever characters it has."""
    return Template((text,) if text else ())


def template(text: str) -> Template:
    """``text`` as a template. Raises `BadValue` for an unknown placeholder, and for a percent sign that begins none."""
    parts: list[str | Placeholder] = []
    for match in _PART.finditer(text):
        part: str | Placeholder
        if match[1] is not None:
            part = _placeholder(match[1])
        elif match[0] == "%":
            raise BadValue("expected a placeholder such as %{user} after a percent sign; %% stands for the sign itself")
        else:
            part = "%" if match[0] == "%%" else match[0]
        if isinstance(part, str) and parts and isinstance(parts[-1], str):
            parts[-1] += part
        else:
            parts.append(part)
    return Template(tuple(parts))


def _placeholder(text: str) -> Placeholder:
    word, colon, argument = text.partition(":")
    if word not in list(Word):
        known = ", ".join(f"%{{{one}}}" for one in Word if one is not Word.ATTRIBUTE)
        raise BadValue(f"expected one of the placeholders {known} and %{{attribute:NAME}}", _meant(word, colon + argument))
    if word != Word.ATTRIBUTE:
        if colon:
            raise BadValue(f"expected nothing after the word of %{{{word}}}", f"%{{{word}}}")
        return Placeholder(Word(word))
    if not _ATTRIBUTE.fullmatch(argument):
        raise BadValue("expected the name of an attribute, such as %{attribute:mail}")
    return Placeholder(Word.ATTRIBUTE, argument)


def _meant(word: str, rest: str) -> str:
    near = {"username": "user", "role": "roles", "groups": "roles", "id": "request_id", "ip": "address"}.get(word.lower(), "")
    near = near or closest(word, tuple(Word))
    return f"%{{{near}{rest}}}" if near else ""
