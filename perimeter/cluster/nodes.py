"""What each gateway of a cluster says about itself, for the operator. Pure.

A node writes its record every `EVERY` seconds. Nothing is decided by these records: they are shown, and compared.
"""

from __future__ import annotations

import json
from math import isfinite
from typing import Any, Final

import attrs

from perimeter import strict_json
from perimeter.config.site.node import NODE_NAME

EVERY: Final = 10.0
"""Seconds between two records of a node."""

SILENT: Final = 30.0
"""A node whose last record is older than this many seconds has stopped, or cannot reach Redis."""

KEPT: Final = 86400.0
"""Seconds for which a node that has become silent is still shown."""

MOST_NODES: Final = 2000
"""Nodes that are known."""

_LONGEST: Final = 200
_MOST_BYTES: Final = 4096


@attrs.frozen
class Node:
    """One gateway.

    ``instance`` is a random text that the start of a gateway has made. ``configuration`` is the hash of its configuration.
    ``address`` is that of its connection to Redis. ``started`` is in epoch seconds. ``heard`` are the seconds since it last
    heard an entry of the log, and ``clock`` those that its clock is ahead of Redis', both when it wrote this. ``written`` is
    when, in epoch seconds by Redis' clock.
    """

    name: str
    instance: str
    version: str
    configuration: str
    address: str
    started: float
    heard: float
    clock: float
    written: float

    def age(self, now: float) -> float:
        """Seconds since the node wrote this, at the time ``now`` of Redis' clock."""
        return max(0.0, now - self.written)

    def silent(self, now: float) -> bool:
        """Whether the node is overdue at the time ``now`` of Redis' clock."""
        return self.age(now) > SILENT


def encoded(node: Node) -> bytes:
    """The record of a node."""
    return json.dumps(attrs.asdict(node), separators=(",", ":")).encode()


def decoded(data: bytes) -> Node:
    """The node of a record. Raises ValueError if it is none; members that this version does not know are ignored."""
    if len(data) > _MOST_BYTES:
        raise ValueError("the record of a node is too long")
    members = strict_json.decode(data)
    if not isinstance(members, dict):
        raise ValueError("the record of a node is no object")
    return Node(**{one.name: _member(members, one.name, one.type) for one in attrs.fields(Node)})


def _member(members: dict[str, Any], name: str, wanted: object) -> Any:
    value = members.get(name)
    if wanted in (str, "str"):
        good = isinstance(value, str) and len(value) <= _LONGEST and value.isprintable()
        if name == "name":
            good = good and NODE_NAME.fullmatch(str(value)) is not None
    else:
        good = isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
    if not good:
        raise ValueError(f"the record of a node has no good {name}")
    return value
