"""Reads named members of the beginning of a JSON text, for a log: the rest may be any length, and is never needed. Pure.

This decides nothing, and refuses nothing: `perimeter.strict_json` is for that. What follows a mistake in the text is not read. A
member that is named twice has both values.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Final

Pointer = tuple[str, ...]
"""A JSON Pointer (RFC 6901) as its reference tokens, unescaped."""

LONGEST: Final = 100
"""Characters of a value that are kept."""

_MOST_VALUES: Final = 4
_DEEPEST: Final = 64
# the rest of a string or a number that is cut off at the end of the text does not match, or reaches the end
_TOKEN = re.compile(r'[ \t\r\n]*+(?:([{}\[\],:])|("(?:[^"\\]++|\\.)*")|([-+.0-9A-Za-z]++))')


def pointer(text: str) -> Pointer:
    """``/a/b~1c`` as a pointer. Raises `ValueError` if it is none; the empty one, which is the whole text, counts as none."""
    if not text.startswith("/") or re.search("~(?![01])", text):
        raise ValueError("not a JSON Pointer")
    return tuple(token.replace("~1", "/").replace("~0", "~") for token in text[1:].split("/"))


def members(data: bytes, pointers: Sequence[Pointer]) -> list[list[str]]:
    """The values at each of ``pointers`` in ``data``, the beginning of a JSON text: strings, numbers and literals, as text."""
    found: list[list[str]] = [[] for _ in pointers]
    text = data.decode("utf-8", "replace")
    path: list[str] = []  # the name or the index of the value, in each array and object around it
    objects: list[bool] = []
    named = True
    at = 0
    while (match := _TOKEN.match(text, at)) is not None and len(objects) <= _DEEPEST:
        at = match.end()
        mark, string, word = match.groups()
        if mark is None:
            value = _string(string) if string is not None else word
            if value is None or (word is not None and at == len(text)):
                break
            if not named:
                path[-1] = value
                named = True
                continue
            for values, wanted in zip(found, pointers, strict=True):
                if len(path) == len(wanted) and tuple(path) == wanted and len(values) < _MOST_VALUES:
                    values.append(value[:LONGEST])
        elif mark in "{[":
            objects.append(mark == "{")
            path.append("0")
            named = mark == "["
        elif not objects:
            break
        elif mark == ",":
            named = not objects[-1]
            if named:
                path[-1] = str(int(path[-1]) + 1)
        elif mark in "}]":
            objects.pop()
            path.pop()
            named = True
    return found


def _string(text: str) -> str | None:
    try:
        value: str = json.loads(text)
    except ValueError:
        return None
    return value
