"""What a section of the operator's page is: what it shows, and what may be done there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from math import isinf
from typing import Any, Final

import attrs

from perimeter.model import Principal
from perimeter.web.endpoints.operator.gateway import Gateway

VIEW: Final = "operator_view"
"""The event in the audit log of a look at a section that has no event of its own."""

PAGE: Final = 100
"""Rows of a long list on one page."""


@attrs.frozen
class Asked:
    """A look at a section, or an action: the running gateway, the parameters of the URL, and the operator."""

    gateway: Gateway
    fields: Mapping[str, str]
    user: Principal

    def field(self, name: str) -> str:
        """A parameter without white space around it; "" if it is not there."""
        return self.fields.get(name, "").strip()


class Refused(Exception):
    """An action cannot be done. The text says why, to the operator."""


@attrs.frozen
class Action:
    """What a form of a section does: the event in the audit log, and ``do``, which returns a sentence about what it did.

    ``do`` raises `Refused`, or a `perimeter.errors.Refusal`.
    """

    event: str
    do: Callable[[Asked], Awaitable[str]]


@attrs.frozen
class Section:
    """``path`` is its last part of the URL ("" for the overview). ``show`` returns the values for ``template``."""

    path: str
    title: str
    template: str
    show: Callable[[Asked], Awaitable[Mapping[str, Any]]]
    event: str = VIEW
    actions: Mapping[str, Action] = attrs.field(factory=dict)


def moment(seconds: float) -> str:
    """A time (epoch seconds) in UTC, to the second; a dash for none."""
    if not seconds or isinf(seconds):
        return "-"
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")


def duration(seconds: float) -> str:
    """A time span in its two largest units: ``3 d 4 h``, ``12 min 5 s``."""
    rest = max(0, int(seconds))
    parts: list[str] = []
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, rest = divmod(rest, size)
        if count or (unit == "s" and not parts):
            parts.append(f"{count} {unit}")
        if len(parts) == 2 or (parts and not count):
            break
    return " ".join(parts)


def first_of(asked: Asked) -> int:
    """Where a page of a long list begins, by ``first`` in the URL."""
    text = asked.field("first")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 8 else 0
