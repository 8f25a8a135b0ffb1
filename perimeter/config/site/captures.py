"""Texts with parts of a request in them: ``/new/$1``, ``https://other.example.com%{uri}``. Pure.

``$1`` to ``$9`` are the groups of the route's regular expression, and ``$$`` is a dollar sign. ``%{path}`` and the like are parts
of the request.
"""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import Final

import attrs

from perimeter.config.language.datatypes import BadValue, Datatype, closest
from perimeter.config.language.net_types import URL_PATH


class Part(StrEnum):
    """A part of a request. ``QUERY`` begins with its question mark, or is empty; ``URI`` is path and query; ``REST`` is what
    follows the path of the route, and is empty or begins with a slash."""

    URI = "uri"
    PATH = "path"
    QUERY = "query"
    REST = "rest"
    HOST = "host"


_PIECES: Final = re.compile(r"\$([0-9$])|%\{([^}]*)\}")
_LOOSE = re.compile(r"\$|%\{")


@attrs.frozen
class Captures:
    """``parts`` are literal bytes, numbers of groups, and parts of the request, to be joined."""

    text: str
    parts: tuple[bytes | int | Part, ...]

    @property
    def groups(self) -> int:
        """The highest number of a group."""
        return max((part for part in self.parts if isinstance(part, int)), default=0)


def captures(text: str) -> Captures:
    """``text``, taken apart. Raises `BadValue`."""
    if any(_LOOSE.search(literal) for literal in _PIECES.split(text)[::3]):
        raise BadValue("expected $1 to $9, $$ for a dollar sign, or %{uri}")
    parts: list[bytes | int | Part] = []
    at = 0
    for match in _PIECES.finditer(text):
        parts.append(text[at : match.start()].encode("ascii"))
        at = match.end()
        number, word = match.groups()
        if word is not None:
            if word not in tuple(Part):
                raise BadValue(f"expected one of {', '.join(f'%{{{one}}}' for one in Part)}", closest(word, tuple(Part)))
            parts.append(Part(word))
        elif number == "$":
            parts.append(b"$")
        elif number == "0":
            raise BadValue("expected the number of a group, from $1 to $9")
        else:
            parts.append(int(number))
    parts.append(text[at:].encode("ascii"))
    return Captures(text, tuple(part for part in parts if part != b""))


def rewrite_parts(text: str) -> tuple[bytes | int, ...]:
    """The parts of the option ``rewrite``: literal bytes and numbers of groups. Raises `BadValue`."""
    return tuple(part if isinstance(part, bytes | int) else b"%%{%b}" % part.encode("ascii") for part in captures(text).parts)


def _rewrite(text: str, base: Path) -> str:
    if "$" not in text:
        return URL_PATH.convert(text, base)
    sample = "".join("x" if isinstance(part, int) else part.decode("ascii") for part in rewrite_parts(text))
    if sample != "/":
        URL_PATH.convert(sample.rstrip("/") or "/", base)
    return text


REWRITE: Datatype[str] = Datatype("URL path", _rewrite, "")
