"""Values of the options of ``[route NAME]`` that limit clients: how often, how many at a time, and how fast."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable
from enum import StrEnum
from pathlib import Path

import attrs

from perimeter.config.language.datatypes import SIZE, BadValue, Datatype, closest, integer, list_of


class Per(StrEnum):
    """Who has a limit of their own: each user, each address, or all clients of the route together.

    A client without a user counts by its address; all addresses of an IPv6 network with 64 bits are one.
    """

    USER = "user"
    ADDRESS = "address"
    ROUTE = "route"


class Unit(StrEnum):
    """The time of a rate."""

    SECOND = "s"
    MINUTE = "m"
    HOUR = "h"
    DAY = "d"


_SECONDS = {Unit.SECOND: 1, Unit.MINUTE: 60, Unit.HOUR: 3600, Unit.DAY: 86400}
MOST = 1_000_000
"""The largest number of requests in a rate, a burst, or at a time."""


@attrs.frozen
class Rate:
    """``amount`` requests, or bytes, in a ``unit`` of time, and up to ``burst`` of them at once."""

    amount: int
    unit: Unit
    per: Per
    burst: int
    #: the amount as it was written
    written: str = attrs.field(default="", eq=False)

    @property
    def seconds(self) -> int:
        """The time for ``amount``."""
        return _SECONDS[self.unit]

    @property
    def name(self) -> str:
        """The limit without its burst, for metrics and messages."""
        return f"{self.written or self.amount}/{self.unit} per {self.per}"

    def __str__(self) -> str:
        return self.name if self.burst == self.amount else f"{self.name} burst {self.burst}"


@attrs.frozen
class AtOnce:
    """At most ``most`` requests at a time."""

    most: int
    per: Per

    def __str__(self) -> str:
        return f"{self.most} per {self.per}"


_RATE = re.compile(
    r"(?P<amount>[0-9.]+\s*[A-Za-z]*?)\s*/\s*(?P<unit>[a-z]+)(?:\s+per\s+(?P<per>[a-z]+))?(?:\s+burst\s+(?P<burst>[0-9.]+\s*[A-Za-z]*))?"
)
_AT_ONCE = re.compile(r"(?P<most>[0-9]+)\s+per\s+(?P<per>[a-z]+)")
_REQUESTS = integer(1, MOST)


def _per(found: re.Match[str], expected: str) -> Per:
    """Whose limit the option ``found`` is. Raises `BadValue`."""
    word = found["per"]
    if word in tuple(Per):
        return Per(word)
    near = closest(word, tuple(Per)) if word else ""
    text = found.string
    raise BadValue(expected, near and f"{text[: found.start('per')]}{near}{text[found.end('per') :]}")


def _rate_of(amounts: Datatype[int], example: str) -> Datatype[Rate]:
    expected = f"expected a rate such as {example}: per user, per address or per route"

    def convert(text: str, base: Path) -> Rate:
        found = _RATE.fullmatch(text)
        if found is None or found["unit"] not in tuple(Unit):
            raise BadValue(f"{expected}, in a unit of s, m, h or d")
        written = found["amount"].strip()
        amount = amounts.convert(written, base)
        burst = amount if found["burst"] is None else amounts.convert(found["burst"], base)
        return Rate(amount, Unit(found["unit"]), _per(found, expected), burst, written)

    return Datatype("rate", convert, Rate(1, Unit.SECOND, Per.USER, 1))


def _at_once(text: str, base: Path) -> AtOnce:
    expected = "expected a number of requests such as 10 per user, 20 per address or 100 per route"
    found = _AT_ONCE.fullmatch(text)
    if found is None:
        raise BadValue(expected)
    return AtOnce(_REQUESTS.convert(found["most"], base), _per(found, expected))


def _different(keys: Iterable[Hashable], what: str) -> None:
    seen = list(keys)
    if len(set(seen)) != len(seen):
        raise BadValue(what)


def _rates(rates: tuple[Rate, ...]) -> tuple[Rate, ...]:
    _different(((one.per, one.unit) for one in rates), "two rates have the same unit and are per the same")
    return rates


def _limits(limits: tuple[AtOnce, ...]) -> tuple[AtOnce, ...]:
    _different((one.per for one in limits), "two numbers are per the same")
    return limits


_WHOSE = "per user\\|address\\|route"

RATES = list_of(_rate_of(_REQUESTS, "5/s per user burst 20"), label=f"list of NUMBER/UNIT {_WHOSE} burst NUMBER", whole=_rates)
"""Requests in a time."""

BODY_RATES = list_of(_rate_of(SIZE, "1MiB/s per user burst 4MiB"), label=f"list of SIZE/UNIT {_WHOSE} burst SIZE", whole=_rates)
"""Bytes in a time."""

IN_FLIGHT = list_of(Datatype(f"NUMBER {_WHOSE}", _at_once, AtOnce(1, Per.USER)), label=f"list of NUMBER {_WHOSE}", whole=_limits)
"""Requests at a time."""
