"""Values of options of ``[upstream NAME]``: balancing and health checks."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path

import attrs

from perimeter.config.language.datatypes import BadValue, Datatype, closest, duration
from perimeter.config.language.net_types import HEADER_NAME


class Method(StrEnum):
    """How the server of a request is chosen."""

    ROUND_ROBIN = "round-robin"
    LEAST_CONNECTIONS = "least-connections"
    HASH = "hash"


class HashOf(StrEnum):
    """The part of a request that is hashed: requests with the same value get the same server."""

    USER = "user"
    ADDRESS = "address"
    HEADER = "header"


@attrs.frozen
class Balance:
    """How the server of a request is chosen. ``of`` and ``header`` (in lower case) are for `Method.HASH`."""

    method: Method = Method.ROUND_ROBIN
    of: HashOf = HashOf.ADDRESS
    header: bytes = b""

    def __str__(self) -> str:
        if self.method is not Method.HASH:
            return str(self.method)
        return f"hash({self.of}{':' + self.header.decode('ascii') if self.header else ''})"


@attrs.frozen
class HealthCheck:
    """A request that is sent to each server every ``interval`` seconds, with ``timeout`` seconds for the answer.

    A server passes if the status of its answer is from ``lowest`` to ``highest``. ``target`` is the path, with its query.
    """

    method: str
    target: str
    lowest: int
    highest: int
    interval: float
    timeout: float

    def __str__(self) -> str:
        return f"{self.method} {self.target}"


_BALANCE = "expected round-robin, least-connections, hash(user), hash(address) or hash(header:NAME)"
_HASH = re.compile(r"hash\(\s*([a-z]+)\s*(?::\s*([^)\s]+)\s*)?\)")
_HEALTH = re.compile(
    r"(?P<method>[A-Z]+)\s+(?P<target>\S+)(?:\s+(?P<lowest>[0-9]{3})(?:-(?P<highest>[0-9]{3}))?)?"
    r"(?:\s+every\s+(?P<every>\S+))?(?:\s+within\s+(?P<within>\S+))?"
)
_TARGET = re.compile(r"/[A-Za-z0-9._~!$&'()*+,;=:@%/?-]*")
_SHORTEST = 0.1
"""Seconds between two checks, at least."""
_EVERY = 5.0
"""Seconds between two checks of a server."""
_LONGEST_TIMEOUT = 5.0
"""Seconds for the answer to a check, at most the time between two checks."""


def _balance(text: str, base: Path) -> Balance:
    found = _HASH.fullmatch(text)
    if found is None:
        if text not in (Method.ROUND_ROBIN, Method.LEAST_CONNECTIONS):
            raise BadValue(_BALANCE, closest(text, (Method.ROUND_ROBIN, Method.LEAST_CONNECTIONS, "hash(user)", "hash(address)")))
        return Balance(Method(text))
    word, name = found[1], found[2]
    if word not in tuple(HashOf) or (name is not None) != (word == HashOf.HEADER):
        raise BadValue(_BALANCE)
    header = b"" if name is None else HEADER_NAME.convert(name, base).lower().encode("ascii")
    return Balance(Method.HASH, HashOf(word), header)


def _health(text: str, base: Path) -> HealthCheck:
    found = _HEALTH.fullmatch(text)
    if found is None or found["method"] not in ("GET", "HEAD", "OPTIONS") or not _TARGET.fullmatch(found["target"]):
        raise BadValue("expected METHOD PATH STATUS-STATUS every DURATION, such as GET /health 200-399 every 5s within 2s")
    lowest = int(found["lowest"] or 200)
    highest = int(found["highest"] or (found["lowest"] or 399))
    if not 200 <= lowest <= highest <= 599:
        raise BadValue("expected statuses from 200 to 599, such as 200-399")
    seconds = duration()
    interval = seconds.convert(found["every"], base) if found["every"] else _EVERY
    if interval < _SHORTEST:
        raise BadValue(f"expected at least {_SHORTEST:g}s between two checks")
    timeout = seconds.convert(found["within"], base) if found["within"] else min(interval, _LONGEST_TIMEOUT)
    if timeout > interval:
        raise BadValue("expected a time after `within` that is not longer than the one after `every`")
    return HealthCheck(found["method"], found["target"], lowest, highest, interval, timeout)


BALANCE: Datatype[Balance] = Datatype(
    "round-robin \\| least-connections \\| hash(user\\|address\\|header:NAME)", _balance, Balance()
)
HEALTH: Datatype[HealthCheck | None] = Datatype("METHOD PATH STATUS-STATUS every DURATION", _health, None)


def _percent(text: str, base: Path) -> float:
    found = re.fullmatch(r"([0-9]{1,3}(?:\.[0-9]{1,3})?)\s*%", text)
    if found is None or float(found[1]) > 100:
        raise BadValue("expected a percentage from 0% to 100%", f"{text}%" if re.fullmatch(r"[0-9]{1,2}", text) else "")
    return float(found[1]) / 100


PERCENT: Datatype[float] = Datatype("percentage", _percent, 0.0)
"""A part of a whole, from 0.0 to 1.0."""
